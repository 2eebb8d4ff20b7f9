"""DUPR (Ding et al. 2021): image and patch re-identification at several depths of the network."""

import torch
from detectron2.config import configurable
from detectron2.layers import ROIAlign
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from ...losses.precision import at_least_float32
from ...structures import overlap
from ...utils.events import is_logged, put_scalar
from ..backbones import feature_shape
from ..geometry import boxes as box_ops
from ..geometry.random_numbers import uniform
from ..heads import MLPHead
from ..memory_bank import MemoryBank, resolve_queue_size
from ..objective import OBJECTIVE_REGISTRY, Objective, require_positive
from ..pretrainer import Pretrainer
from ..queue_contrast import QueueContrast


@OBJECTIVE_REGISTRY.register()
class DUPRObjective(Objective):
    """Eq. 2: per level m, alpha_m times the image loss (Eq. 6) and beta_m times the patch loss.

    The first view is the query, the second the key. Patches are the S x S bins of the part of the
    image that both views show; equal bins are positives (Eq. 5), the negatives come from the queue
    of that level. An image whose views hardly overlap has weight 0 in the patch loss alone.
    """

    online_views, target_views = (0,), (1,)
    node, label = "DUPR", "dupr"

    @configurable
    def __init__(
        self,
        *,
        levels,
        alpha,
        beta,
        roi_sizes,
        out_dim,
        queue_sizes,
        queue_dtype,
        temperature,
        keys_per_image,
        aligned,
        sampling_ratio,
    ):
        """
        Args:
            levels: {name of a feature map: its ShapeSpec}, from fine to coarse.
            alpha, beta: weights of the image and of the patch loss of each level; at 0 there is
                neither head nor queue.
            roi_sizes: S of each level.
            out_dim: of the heads, whose hidden width is that of the map.
            queue_sizes: (of an image queue, of a patch queue). queue_dtype: their type.
            temperature: of InfoNCE.
            keys_per_image: patch keys that an image puts into the queue.
            aligned, sampling_ratio: of RoIAlign.
        """
        super().__init__()
        self.alpha = {name: x for name, x in zip(levels, alpha) if x > 0}
        self.beta = {name: x for name, x in zip(levels, beta) if x > 0}
        self.roi_size = dict(zip(levels, roi_sizes))
        self.keys_per_image = keys_per_image
        # the overlap shall hold a cell of the coarsest map whose patches are used
        self.smallest_side = max((float(levels[x].stride) for x in self.beta), default=0.0)
        branches = [("image", x) for x in self.alpha] + [("patch", x) for x in self.beta]
        self.head = nn.ModuleDict()
        self.contrast = nn.ModuleDict()
        for kind, name in branches:
            width, size = levels[name].channels, queue_sizes[kind == "patch"]
            branch = f"{kind}_{name}"
            self.head[branch] = MLPHead(width, width, out_dim, output_bias=True)
            self.contrast[branch] = QueueContrast(
                MemoryBank(size, out_dim, queue_dtype), temperature
            )
        self.add_target("head")
        self.poolers = nn.ModuleDict({
            x: ROIAlign(self.roi_size[x], 1.0 / levels[x].stride, sampling_ratio, aligned)
            for x in self.beta
        })  # fmt: skip

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.DUPR
        _check_levels(node)
        require_positive(cfg, "MODEL.DUPR.TEMPERATURE")
        return {
            "levels": {
                x: feature_shape(shapes, x, "MODEL.DUPR.IN_FEATURES") for x in node.IN_FEATURES
            },
            "alpha": node.ALPHA,
            "beta": node.BETA,
            "roi_sizes": node.ROI_SIZE,
            "out_dim": node.OUT_DIM,
            "queue_sizes": (node.QUEUE_SIZE, node.PATCH_QUEUE_SIZE),
            "queue_dtype": node.QUEUE_DTYPE,
            "temperature": node.TEMPERATURE,
            "keys_per_image": node.KEYS_PER_IMAGE,
            "aligned": node.ALIGNED,
            "sampling_ratio": node.SAMPLING_RATIO,
        }

    @classmethod
    def resolve(cls, cfg, num_images):
        node = cfg.MODEL.DUPR
        if any(node.ALPHA):  # only queues that will be built
            resolve_queue_size(cfg, "MODEL.DUPR.QUEUE_SIZE", num_images)
        if any(node.BETA):
            keys = node.KEYS_PER_IMAGE
            resolve_queue_size(cfg, "MODEL.DUPR.PATCH_QUEUE_SIZE", num_images, keys)

    def forward(self, views, passes):
        query_maps, key_maps = passes.online(0), passes.target(1)
        losses = {}
        for name, weight in self.alpha.items():
            losses[f"loss_image_{name}"] = weight * self._image_loss(
                name, query_maps[name], key_maps[name]
            )
        boxes, usable = self.sample(views)
        for name, weight in self.beta.items():
            losses[f"loss_patch_{name}"] = weight * self._patch_loss(
                name, query_maps[name], key_maps[name], views, boxes, usable
            )
        if is_logged():
            put_scalar(f"{self.label}/overlap_rate", usable.float().mean())
        return losses

    def _image_loss(self, name, query_map, key_map):
        """Eq. 6."""
        branch = f"image_{name}"
        query = self.head[branch](query_map.mean(dim=(2, 3)))
        with torch.no_grad():
            key = self.target_head[branch](key_map.mean(dim=(2, 3)))
        self.contrast[branch].hold(key)
        return self.contrast[branch](query, key, f"{self.label}/{branch}")

    def _patch_loss(self, name, query_map, key_map, views, boxes, usable):
        """Eq. 5, as a mean over the patches of the usable images of all processes."""
        branch = f"patch_{name}"
        query = self.head[branch](self._pool(name, query_map, views[0], boxes[0]))
        with torch.no_grad():
            key = self.target_head[branch](self._pool(name, key_map, views[1], boxes[1]))
        patches = self.roi_size[name] ** 2
        # some patches of each image, so that the queue does not turn over too fast
        order = uniform(views[0].seeds, (patches,), stream=1).argsort(dim=1)
        picked = order[:, : self.keys_per_image]  # (N, keys per image)
        rows = torch.arange(len(usable), device=key.device)[:, None] * patches + picked
        valid = usable[:, None].expand_as(picked)
        self.contrast[branch].hold(key[rows.flatten()], valid.flatten())
        weights = usable.repeat_interleave(patches).float()
        return self.contrast[branch](query, key, f"{self.label}/{branch}", weights)

    def _pool(self, name, feature_map, view, boxes):
        """(N, C, H, W), (N, 4) -> (N * S * S, C), bins in the order of the image."""
        size = self.roi_size[name]
        # ROIAlign would cast the boxes to the type of the features: keep both in float32
        pooled = box_ops.pool_boxes(
            self.poolers[name], at_least_float32(feature_map), boxes[:, None]
        )
        pooled = pooled.view(len(boxes), size, size, -1)  # (N, S, S, C)
        # a flipped view shows the columns in reverse
        flipped = (view.scale[:, 0] < 0)[:, None, None, None]
        return torch.where(flipped, pooled.flip(2), pooled).flatten(0, 2)

    @torch.no_grad()
    def sample(self, views):
        """The part of the image that both views show, in each of them.

        Returns:
            ({0: (N, 4), 1: (N, 4)} in view pixels, (N,) bool: is it large enough).
        """
        region, _, usable = box_ops.shared_region(*views[:2], self.smallest_side)
        return {
            index: box_ops.clip_boxes(view.boxes_to_view(region[:, None]), view.size)[:, 0]
            for index, view in enumerate(views[:2])
        }, usable

    def matches(self, views):
        """The patches of the coarsest level, cut in the image: an independent look at `_pool`."""
        if not self.beta:
            return {}
        size = min(self.roi_size[x] for x in self.beta)
        _, usable = self.sample(views)
        cells = box_ops.split_boxes(overlap(*views[:2]), size)  # (N, S * S, 4)
        return {
            index: view.boxes_to_view(cells) * usable[:, None, None]
            for index, view in enumerate(views[:2])
        }


def _check_levels(node):
    """Raise where the lists of MODEL.DUPR do not fit together."""
    count = len(node.IN_FEATURES)
    for key in ("ALPHA", "BETA", "ROI_SIZE"):
        if len(node[key]) != count:
            raise ValueError(
                f"MODEL.DUPR.{key} has {len(node[key])} entries for the {count} levels of "
                f"MODEL.DUPR.IN_FEATURES {tuple(node.IN_FEATURES)}: give one each."
            )
    if min(*node.ALPHA, *node.BETA) < 0 or max(*node.ALPHA, *node.BETA) == 0:
        raise ValueError("MODEL.DUPR.ALPHA and BETA must not be negative, nor all of them 0.")
    for name, beta, size in zip(node.IN_FEATURES, node.BETA, node.ROI_SIZE):
        if beta > 0 and size**2 < node.KEYS_PER_IMAGE:
            raise ValueError(
                f"MODEL.DUPR.ROI_SIZE is {size} for {name}: it must give at least the "
                f"MODEL.DUPR.KEYS_PER_IMAGE {node.KEYS_PER_IMAGE} patches of the queue."
            )


@META_ARCH_REGISTRY.register()
class DUPR(Pretrainer):
    """Images and patches are found again, at several depths of the network."""

    objective_names = ("DUPRObjective",)
