"""What an objective is: heads, sampling and a loss on the passes of some views."""

from fvcore.common.registry import Registry
from torch import nn

from ..visualization.matches import draw_matches
from .backbone_keys import value_of
from .momentum import momentum_copy
from .queue_contrast import QueueContrast


def require_positive(cfg, *keys):
    """Raise, naming the key, where a number of the config is not above 0."""
    for key in keys:
        if value_of(cfg, key) <= 0:
            raise ValueError(f"{key} is {value_of(cfg, key)}; it must be above 0.")


OBJECTIVE_REGISTRY = Registry("OBJECTIVE")
OBJECTIVE_REGISTRY.__doc__ = """
Objectives of pre-training, as named in MODEL.SSL.OBJECTIVES. An entry is a subclass of
:class:`Objective` with ``from_config(cfg, shapes)``, where ``shapes`` holds the feature maps of the
backbone by name.
"""


class Objective(nn.Module):
    """Base of all objectives.

    Attributes:
        online_views, target_views: indices of the views it passes through the online and the
            target encoder.
        node: its node of the config, MODEL.<node>.
        label: before its names in the log.
    """

    online_views = (0, 1)
    target_views = (0, 1)
    node = ""
    label = ""

    def __init__(self):
        super().__init__()
        self._pairs = []

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
        """List of (online module, target module) of this objective."""
        return [(getattr(self, a), getattr(self, b)) for a, b in self._pairs]

    def forward(self, views, passes):
        """Losses of one step.

        Args:
            views: list of :class:`~dense_ssl.structures.Views`.
            passes: :class:`~dense_ssl.modeling.passes.Passes`.

        Returns:
            dict of scalars named ``loss_*``.
        """
        raise NotImplementedError

    @classmethod
    def resolve(cls, cfg, num_images):
        """Turn keys that depend on the data into numbers, in place, before the model is built.

        It may be called more than once.

        Args:
            cfg: config, not frozen. num_images: images of an epoch.
        """

    @classmethod
    def queue_keys(cls, cfg):
        """How many keys an image puts into the queue of MODEL.MOCO, if it has one."""
        return 0

    def join(self, objectives):
        """Look at the other objectives of the model, once all are built.

        Args:
            objectives: {entry of MODEL.SSL.OBJECTIVES: objective}.
        """

    def after_step(self):
        """What is left to do once the optimizer has moved the weights."""
        for module in self.modules():
            if isinstance(module, QueueContrast):
                module.enqueue_held()

    def matches(self, views):
        """Boxes to draw: {view index: (N, K, 4) in view pixels}, box k the same thing in all."""
        return {}

    def pictures(self, views, images, passes, scale):
        """Pictures of a step.

        Args:
            views: list of :class:`~dense_ssl.structures.Views`.
            images: list over views of the first few images as (n, 3, H, W), RGB, 0 to 255.
            passes: :class:`~dense_ssl.modeling.passes.Passes`.
            scale: drawing pixels per view pixel.

        Returns:
            {name: uint8 (3, height, width)}.
        """
        boxes = {k: x[: len(images[0])].cpu() for k, x in self.matches(views).items()}
        return {"views": draw_matches(images, boxes, scale)}
