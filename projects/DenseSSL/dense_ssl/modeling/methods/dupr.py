"""DUPR (Ding et al. 2021): image and patch re-identification at several depths of the network."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.layers import ROIAlign
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from ...utils.checks import require_positive
from ..backbones import require_feature
from ..geometry import boxes as box_ops
from ..geometry.random_numbers import uniform
from ..heads import MLPHead
from ..memory_bank import MemoryBank, resolve_queue_size
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer
from ..queue_contrast import QueueContrast


@OBJECTIVE_REGISTRY.register()
class DUPRObjective(Objective):
    """Eq. 2: per level m, alpha_m times the image loss (Eq. 6) and beta_m times the patch loss.

    The first view is the query, the second the key. Patches are the S x S bins of the part of the
    image that both views show; equal bins are positives (Eq. 5), and the negatives come from the
    queue of that level. An image whose views hardly overlap has weight 0 in the patch loss alone.
    """

    online_views, target_views = (0,), (1,)
    node, label = "DUPR", "dupr"

    @configurable
    def __init__(
        self, *, alpha, beta, head, contrast, poolers, roi_size, smallest_side, keys_per_image
    ):
        """
        Args:
            alpha, beta: {level: weight of its image loss}, {level: weight of its patch loss}; a
                level is the name of a feature map.
            head: ModuleDict of heads, "image_<level>" and "patch_<level>".
            contrast: ModuleDict of :class:`~dense_ssl.modeling.queue_contrast.QueueContrast`, by
                the same names.
            poolers: ModuleDict, {level: detectron2's ROIAlign with output size S}.
            roi_size: {level: S}.
            smallest_side: smallest usable side of the overlap, in view pixels.
            keys_per_image: patch keys that an image puts into a queue.
        """
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.roi_size = roi_size
        self.keys_per_image = keys_per_image
        self.smallest_side = smallest_side
        self.head = head
        self.contrast = contrast
        self.add_target("head")
        self.poolers = poolers

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.DUPR = CN()
        # Feature maps, from fine to coarse, and for each the weight of its image loss (alpha), of
        # its patch loss (beta) and the patches along each axis of the overlap (S). A branch of
        # weight 0 is not built.
        node.IN_FEATURES = ("res2", "res3", "res4", "res5")
        node.ALPHA = (0.1, 0.4, 0.7, 1.0)
        node.BETA = (0.0, 0.0, 1.0, 1.0)
        node.ROI_SIZE = (14, 14, 14, 7)
        node.OUT_DIM = 128
        node.TEMPERATURE = 0.2
        # Keys in each image queue and in each patch queue; 0 (auto) as in MODEL.MOCO.QUEUE_SIZE.
        node.QUEUE_SIZE = 65536
        node.PATCH_QUEUE_SIZE = 65536
        node.QUEUE_DTYPE = "float32"
        # Patches of an image that enter a patch queue.
        node.KEYS_PER_IMAGE = 4

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.DUPR
        _check_levels(node)
        require_positive(cfg, "MODEL.DUPR.TEMPERATURE")
        levels = {x: require_feature(shapes, x, "MODEL.DUPR.IN_FEATURES") for x in node.IN_FEATURES}
        alpha = {name: x for name, x in zip(levels, node.ALPHA) if x > 0}
        beta = {name: x for name, x in zip(levels, node.BETA) if x > 0}
        roi_size = dict(zip(levels, node.ROI_SIZE))
        head, contrast = nn.ModuleDict(), nn.ModuleDict()
        for kind, names in (("image", alpha), ("patch", beta)):
            size = node.QUEUE_SIZE if kind == "image" else node.PATCH_QUEUE_SIZE
            for name in names:
                width = levels[name].channels
                head[f"{kind}_{name}"] = MLPHead(width, width, node.OUT_DIM, output_bias=True)
                bank = MemoryBank(size, node.OUT_DIM, node.QUEUE_DTYPE)
                contrast[f"{kind}_{name}"] = QueueContrast(bank, node.TEMPERATURE)
        return {
            "alpha": alpha,
            "beta": beta,
            "head": head,
            "contrast": contrast,
            "poolers": nn.ModuleDict(
                {x: ROIAlign(roi_size[x], 1.0 / levels[x].stride, 0) for x in beta}
            ),
            "roi_size": roi_size,
            # the overlap must hold a cell of the coarsest map whose patches are used
            "smallest_side": max((float(levels[x].stride) for x in beta), default=0.0),
            "keys_per_image": node.KEYS_PER_IMAGE,
        }

    @classmethod
    def resolve(cls, cfg, num_images):
        node = cfg.MODEL.DUPR
        if any(node.ALPHA):  # only queues that will be built
            resolve_queue_size(cfg, "MODEL.DUPR.QUEUE_SIZE", num_images)
        if any(node.BETA):
            keys = node.KEYS_PER_IMAGE
            resolve_queue_size(cfg, "MODEL.DUPR.PATCH_QUEUE_SIZE", num_images, keys)

    def feature_names(self):
        return tuple(dict.fromkeys((*self.alpha, *self.beta)))

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
        self.log_overlap(usable)
        return losses

    def _image_loss(self, name, query_map, key_map):
        """Eq. 6."""
        branch = f"image_{name}"
        query = self.head[branch](query_map.mean(dim=(2, 3)))
        with torch.no_grad():
            key = self.target_head[branch](key_map.mean(dim=(2, 3)))
        self.contrast[branch].bank.push(key)
        return self.contrast[branch](query, key, f"{self.label}/{branch}")

    def _patch_loss(self, name, query_map, key_map, views, boxes, usable):
        """Eq. 5, as a mean over the patches of the usable images of all processes."""
        branch = f"patch_{name}"
        query = self.head[branch](self._pool(name, query_map, views[0], boxes[0]))
        with torch.no_grad():
            key = self.target_head[branch](self._pool(name, key_map, views[1], boxes[1]))
        patches = self.roi_size[name] ** 2
        # a few patches of each image, so that the queue does not turn over too fast
        order = uniform(views[0].seeds, (patches,), stream=1).argsort(dim=1)
        picked = order[:, : self.keys_per_image]  # (N, keys per image)
        rows = torch.arange(len(usable), device=key.device)[:, None] * patches + picked
        valid = usable[:, None].expand_as(picked)
        self.contrast[branch].bank.push(key[rows.flatten()], valid.flatten())
        weights = usable.repeat_interleave(patches).float()
        return self.contrast[branch](query, key, f"{self.label}/{branch}", weights)

    def _pool(self, name, feature_map, view, boxes):
        """RoIAlign of Eq. 3 and Eq. 4: (N, C, H, W), (N, 4) -> (N * S * S, C).

        The bins are in the order of the image, also where the view is flipped.
        """
        size = self.roi_size[name]
        pooled = box_ops.pool_boxes(self.poolers[name], feature_map, boxes[:, None])
        pooled = pooled.view(len(boxes), size, size, -1)  # (N, S, S, C)
        flipped = (view.scale[:, 0] < 0)[:, None, None, None]
        return torch.where(flipped, pooled.flip(2), pooled).flatten(0, 2)

    @torch.no_grad()
    def sample(self, views):
        """Return the part of the image that both views show, in each of them.

        Returns:
            ({0: (N, 4), 1: (N, 4)} in view pixels, (N,) bool: True if it is large enough).
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
        cells = box_ops.split_boxes(views[0].overlap(views[1]), size)  # (N, S * S, 4)
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
    """Images and patches are re-identified at several depths of the network."""

    objective_names = ("DUPRObjective",)
