"""What an objective is: heads, sampling and a loss on the feature maps of some views."""

from fvcore.common.registry import Registry
from torch import nn

from ..utils.events import is_logged, put_scalar
from ..visualization.matches import draw_matches
from .momentum import momentum_copy

# The two directions between two views: (online view, target view).
DIRECTIONS = ((0, 1), (1, 0))


class ObjectiveRegistry(Registry):
    """Classes by name; what is registered must be a complete :class:`Objective`."""

    def _do_register(self, name, kind):
        if not (isinstance(kind, type) and issubclass(kind, Objective)):
            raise TypeError(f"{name} must be a subclass of dense_ssl.modeling.Objective.")
        for attribute, example in (("node", "BYOL"), ("label", "byol")):
            value = getattr(kind, attribute)
            if not (isinstance(value, str) and value):
                raise TypeError(
                    f"{name}.{attribute} is {value!r}: set it on the class, as in "
                    f"{attribute} = {example!r}."
                )
        if kind.forward is Objective.forward:
            raise TypeError(f"{name} has no forward(views, passes).")
        super()._do_register(name, kind)


OBJECTIVE_REGISTRY = ObjectiveRegistry("OBJECTIVE")
OBJECTIVE_REGISTRY.__doc__ = """
Objectives of pre-training by name. MODEL.SSL.OBJECTIVES and the ``objective_names`` of a
META_ARCHITECTURE refer to them. Each is built as ``kind(cfg, shapes)``, where ``shapes`` holds the
ShapeSpec of every feature map of the backbone by name.
"""


class Objective(nn.Module):
    """Base of all objectives.

    Attributes:
        online_views, target_views: tuples of the indices of the views that it passes through the
            online and the target encoder. Other passes are refused, and views of INPUT.VIEWS beyond
            the last one that an objective uses are not made. All target passes are computed,
            before the first online one.
        node: its node of the config, MODEL.<node>.
        label: the prefix of its names in the log.
        single_cell: False if a map of one cell teaches nothing, because cells of one image must be
            told from each other.
        smallest_side: in view pixels; an image is used if the overlap of its views is larger.
    """

    online_views = (0, 1)
    target_views = (0, 1)
    node = ""
    label = ""
    single_cell = True
    smallest_side = 0.0

    def __init__(self):
        super().__init__()
        self._pairs = []

    @classmethod
    def add_config(cls, cfg):
        """Add the keys of MODEL.<node> with their defaults to ``cfg``.

        A subclass that uses its parent's keys needs none of its own.
        """

    @classmethod
    def resolve(cls, cfg, num_images):
        """Turn keys that depend on the data into numbers, in place, before the model is built.

        It may be called more than once.

        Args:
            cfg: config, not frozen. num_images: images of an epoch.
        """

    @classmethod
    def queue_keys(cls, cfg):
        """Return how many keys an image puts into the queue of MODEL.MOCO; 0 without a queue."""
        return 0

    def add_target(self, name):
        """Give the head ``name`` a momentum copy, ``target_<name>``."""
        setattr(self, f"target_{name}", momentum_copy(getattr(self, name)))
        self._pairs.append((name, f"target_{name}"))

    def share_heads(self, other):
        """Use the heads of ``other``, an objective whose heads have the same names and shapes."""
        for name, target in self._pairs:
            for part in (name, target):
                shapes = [[x.shape for x in getattr(y, part).parameters()] for y in (self, other)]
                if shapes[0] != shapes[1]:
                    raise ValueError(
                        f"The heads of {type(self).__name__} and {type(other).__name__} differ in "
                        "width and cannot be shared: give both the same IN_FEATURE, HIDDEN_DIM "
                        "and OUT_DIM."
                    )
                setattr(self, part, getattr(other, part))
        self._pairs = []  # the momentum copy moves once a step, with its owner

    def momentum_pairs(self):
        """Return the (online module, target module) pairs of this objective."""
        return [(getattr(self, a), getattr(self, b)) for a, b in self._pairs]

    def feature_names(self):
        """Return the names of the feature maps that it uses."""
        return (self.in_feature,) if hasattr(self, "in_feature") else ()

    def smallest_view(self, shapes):
        """Return the smallest allowed side of a view, in pixels.

        A view must not be smaller than a cell of the coarsest map. It must be larger where the loss
        tells the cells of an image apart (``single_cell``), or compares the overlap of two views.

        Args:
            shapes: {name of a feature map: ShapeSpec}.
        """
        stride = max((shapes[x].stride for x in self.feature_names()), default=1)
        needed = stride if self.single_cell else stride + 1
        return max(needed, int(self.smallest_side) + 1)

    def join(self, objectives):
        """Inspect the other objectives of the model, once all are built.

        Args:
            objectives: {entry of MODEL.SSL.OBJECTIVES: objective}.
        """

    def forward(self, views, passes):
        """Return the losses of one step.

        Each loss is a mean over directions, images and what is drawn from them; a paper that sums
        states its factor as ``objective_scales`` of the META_ARCHITECTURE. A loss may be negative.

        Args:
            views: list of :class:`~dense_ssl.structures.Views`.
            passes: :class:`~dense_ssl.modeling.passes.ObjectivePasses`.

        Returns:
            {"loss_...": scalar tensor}; statistics go to the log, not into this dict.
        """
        raise NotImplementedError

    def log_overlap(self, usable):
        """Log the share of images whose views overlap enough; ``usable``: (N,) bool."""
        if is_logged():
            put_scalar(f"{self.label}/overlap_rate", usable.float().mean())

    def matches(self, views):
        """Return boxes to draw, {view index: (N, K, 4) in view pixels}.

        Box k shows the same thing in every view. A box without area is not drawn.
        """
        return {}

    def pictures(self, views, images, passes, scale):
        """Return pictures of a step, {name: uint8 (3, height, width)}.

        Args:
            views: list of :class:`~dense_ssl.structures.Views`.
            images: list over views of the first few images as (n, 3, H, W), RGB, 0 to 255.
            passes: :class:`~dense_ssl.modeling.passes.ObjectivePasses`.
            scale: drawing pixels per view pixel.
        """
        boxes = {k: x[: len(images[0])].cpu() for k, x in self.matches(views).items()}
        return {"views": draw_matches(images, boxes, scale)}
