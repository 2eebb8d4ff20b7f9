"""The pre-training model: an online encoder, its momentum copy, and objectives on their passes."""

import torch
from detectron2.config import configurable
from detectron2.modeling import build_backbone
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from ..losses.attention_kernels import products_in
from ..utils.events import is_drawn, iteration_or_none
from .activation_checkpoints import checkpoint_activations
from .architectures.zero_init import zero_init_residual
from .backbones import extract_features, feature_shapes, pixel_values
from .composition import (
    build_objectives,
    check_divisibility,
    check_losses,
    check_sizes,
    check_views,
    objective_class,
    weights_of,
)
from .gather_views import gather_views
from .memory_bank import MemoryBank
from .momentum import momentum_copy, update_momentum
from .passes import ObjectivePasses, Passes

# Pictures enlarge small views to about this many pixels.
_DRAWN_SIDE = 224


class Pretrainer(nn.Module):
    """Pre-train ``backbone`` with some objectives.

    ``backbone`` is the online encoder, the one that is exported; ``target_backbone`` follows it.
    :meth:`after_step` must be called after each optimizer step: it moves the target and the queues.
    :class:`~dense_ssl.engine.UpdateTarget` is the hook that does it in detectron2's trainers.

    A named method is a subclass that fixes the objectives.

    Attributes:
        objective_names: tuple of names in OBJECTIVE_REGISTRY; None: those of the config.
        objective_scales: tuple of the factors that the paper's loss has in front of each
            objective's mean; None: all 1. BYOL's loss sums two directions: (2.0,).
    """

    objective_names = None
    objective_scales = None

    @configurable
    def __init__(
        self,
        *,
        backbone,
        objectives,
        weights,
        pixel_mean,
        pixel_std,
        concatenate_views=False,
        shuffle_target=False,
        channels_last=False,
        checkpointed=False,
        loss_products=torch.float32,
        vis_period=0,
        input_format="RGB",
    ):
        """
        Args:
            backbone: a backbone of detectron2.
            objectives: {entry of MODEL.SSL.OBJECTIVES:
                :class:`~dense_ssl.modeling.methods.Objective`}.
            weights: {entry: weight of the objective's losses}.
            pixel_mean, pixel_std: per channel, in the order of ``input_format``.
            concatenate_views: run the views of one size as one batch.
            shuffle_target: shuffle the images over all processes for the target encoder.
            channels_last: run convolutions in channels-last memory format.
            checkpointed: compute the blocks of ``backbone`` again in the backward pass.
            loss_products: type of the products of contrastive losses on GPUs.
            vis_period: draw a picture every so many iterations; 0 for none.
            input_format: "RGB" or "BGR", for drawing.
        """
        super().__init__()
        self.backbone = backbone
        self.target_backbone = momentum_copy(backbone)
        if checkpointed:
            checkpoint_activations(backbone)
        self.objectives = nn.ModuleDict(objectives)
        self.weights = weights
        self.concatenate_views = concatenate_views
        self.shuffle_target = shuffle_target
        self.channels_last = channels_last
        self.loss_products = loss_products
        self.vis_period = vis_period
        self._drawn_at = None
        self._is_followed = False  # True once `after_step` has been called
        self._first_version = None  # of the weights, at the first step
        self.register_load_state_dict_post_hook(_forget_version)
        self.input_format = input_format
        self.register_buffer("pixel_mean", pixel_values(pixel_mean), False)
        self.register_buffer("pixel_std", pixel_values(pixel_std), False)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg):
        backbone = build_backbone(cfg)
        if cfg.MODEL.RESNETS.ZERO_INIT_RESIDUAL:
            zero_init_residual(backbone)
        shapes = feature_shapes(backbone)
        weights = weights_of(cls, cfg)
        objectives = build_objectives(cfg, shapes, weights)
        check_views(objectives, cfg.INPUT.VIEWS.NUM)
        check_sizes(objectives, shapes, cfg.INPUT.VIEWS)
        check_divisibility(objectives, backbone, cfg.INPUT.VIEWS)
        return {
            "backbone": backbone,
            "objectives": objectives,
            "weights": weights,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "concatenate_views": cfg.MODEL.SSL.CONCATENATE_VIEWS,
            "shuffle_target": cfg.MODEL.SSL.SHUFFLE_TARGET,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "checkpointed": cfg.MODEL.SSL.CHECKPOINT_ACTIVATIONS,
            "loss_products": getattr(torch, cfg.MODEL.SSL.LOSS_PRODUCTS),
            "vis_period": cfg.VIS_PERIOD,
            "input_format": cfg.INPUT.FORMAT,
        }

    @classmethod
    def own_weights(cls, cfg):
        """Return the objectives' weights where a method has keys of its own for them; else ()."""
        return ()

    @classmethod
    def resolve(cls, cfg, num_images):
        """Turn the keys of the objectives that depend on the data into numbers, in place."""
        kinds = [objective_class(x) for x in weights_of(cls, cfg)]
        # an automatic queue that several share must suit the one that fills it least
        for kind in sorted(kinds, key=lambda x: x.queue_keys(cfg)):
            kind.resolve(cfg, num_images)

    @property
    def device(self):
        return self.pixel_mean.device

    @property
    def num_views(self):
        """How many views the objectives use; further ones of INPUT.VIEWS need not be made."""
        views = [(*x.online_views, *x.target_views) for x in self.objectives.values()]
        return 1 + max(i for x in views for i in x)

    def forward(self, batched_inputs):
        """One step.

        Args:
            batched_inputs: a list of dicts with ``"views": [{"image": uint8 (3, H, W), "affine":
                float (4,)}, ...]`` and optionally ``"seed": int``, ``"width"`` and ``"height"`` of
                the image and in each view ``"regions": uint8 (R, R)``; or the same stacked by
                :func:`~dense_ssl.data.views.batch.stack_samples`.

        Returns:
            In training a dict of scalar losses named ``loss_*``; otherwise a list with one dict
            per image, ``{"features": {name: (C, H, W)}}`` of its first view.
        """
        views = self.gather_views(batched_inputs)
        if not self.training:
            features = extract_features(self.backbone, views[0].images)
            return [
                {"features": {k: x[i] for k, x in features.items()}} for i in range(len(views[0]))
            ]
        check_views(self.objectives, len(views))
        self._require_after_step()
        passes = Passes(
            (self.backbone, self.target_backbone),
            views,
            [i for x in self.objectives.values() for i in x.online_views],
            [i for x in self.objectives.values() for i in x.target_views],
            self.concatenate_views,
            self.shuffle_target,
        )
        with products_in(self.loss_products):
            losses = self._losses(views, passes)
        if is_drawn(self.vis_period) and self._drawn_at != iteration_or_none():
            self._drawn_at = iteration_or_none()  # once per iteration, whatever SOLVER.ACCUMULATE
            self._draw(views, passes)
        return losses

    def _losses(self, views, passes):
        losses = {}
        for name, objective in self.objectives.items():
            suffix = name.partition("@")[2]  # the level that tells two of a kind apart
            found = objective(views, ObjectivePasses(passes, objective))
            check_losses(objective, found)
            for key, loss in found.items():
                key = f"{key}_{suffix}" if suffix else key
                if key in losses:
                    raise ValueError(f"{name} and another objective both call a loss {key!r}.")
                losses[key] = loss * self.weights[name]
        return losses

    def gather_views(self, batched_inputs):
        """The views of a batch, normalised, on the device of the model."""
        return gather_views(
            batched_inputs,
            self.pixel_mean,
            self.pixel_std,
            self.channels_last,
            self.input_format,
        )

    def after_step(self, momentum):
        """Move the target towards the online network and the queues by one step.

        To be called after each optimizer step.

        Args:
            momentum: of the target, see :func:`~dense_ssl.modeling.momentum.momentum_at`.
        """
        self.update_target(momentum)
        for module in self.modules():
            if isinstance(module, MemoryBank):
                module.advance()
        self._is_followed = True

    def update_target(self, momentum):
        """Move the target encoder and the target heads towards the online ones."""
        update_momentum(self.backbone, self.target_backbone, momentum)
        for objective in self.objectives.values():
            for online, target in objective.momentum_pairs():
                update_momentum(online, target, momentum)

    def _require_after_step(self):
        """Raise if an optimizer has moved the weights and nobody has ever called `after_step`."""
        if self._is_followed:
            return
        # torch counts the in-place changes of a tensor; a copy of the model starts its own count
        version = id(self.backbone), sum(x._version for x in self.backbone.parameters())
        if self._first_version is None or self._first_version[0] != version[0]:
            self._first_version = version
        elif version != self._first_version:
            raise RuntimeError(
                f"The weights of {type(self).__name__} have changed since the first step, but its "
                "target and its queues have not moved. After each optimizer step call "
                "model.after_step(momentum), or register the hook dense_ssl.engine.UpdateTarget."
            )

    @torch.no_grad()
    def _draw(self, views, passes):
        images = [(x.images[:4] * self.pixel_std + self.pixel_mean).cpu() for x in views]
        if self.input_format == "BGR":
            images = [x.flip(1) for x in images]
        scale = max(1, _DRAWN_SIDE // max(x.size[0] for x in views))
        with torch.autocast(self.device.type, enabled=False):
            for name, objective in self.objectives.items():
                # drawn by every process, since passes may be collective; kept by the main one
                own = ObjectivePasses(passes, objective)
                for kind, picture in objective.pictures(views, images, own, scale).items():
                    if comm.is_main_process():
                        get_event_storage().put_image(f"{kind}/{name}", picture)


def _forget_version(model, incompatible_keys):
    """Loading changes the weights without a step."""
    model._first_version = None
