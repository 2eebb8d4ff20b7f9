"""Linear classification of whole images on a frozen backbone, on one or several feature maps."""

import torch
from detectron2.config import configurable
from detectron2.layers import get_norm
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import nn
from torch.nn import functional as F

from ...utils.events import put_scalar
from ..backbones import feature_shapes, require_feature
from .frozen_features import FrozenFeatures, linear_layer

_MAPS = "MODEL.IMAGE_CLASSIFIER.IN_FEATURES"


def classifier_parts(in_features, grids):
    """Return {name of a classifier: (map, side of its grid)}.

    The name is that of the map, with the grid behind it ("res5_2", "res5_all") where a map has
    several classifiers.

    Args:
        in_features: names of maps. grids: side of the grid of each, or one for all.
    """
    if len(grids) not in (1, len(in_features)) or min(grids) < 0:
        raise ValueError(
            f"MODEL.IMAGE_CLASSIFIER.GRIDS is {tuple(grids)}: give one side for all maps, or one "
            f"for each of the {len(in_features)} of {_MAPS}; 0 takes all cells."
        )
    grids = list(grids) * (len(in_features) if len(grids) == 1 else 1)
    parts = {}
    for name, grid in zip(in_features, grids):
        key = name if list(in_features).count(name) == 1 else f"{name}_{grid or 'all'}"
        if key in parts:
            raise ValueError(f"{_MAPS} has {name!r} twice with the same grid.")
        parts[key] = name, grid
    return parts


@META_ARCH_REGISTRY.register()
class ImageClassifier(FrozenFeatures):
    """One linear layer on each of some feature maps; they learn side by side.

    A map is averaged to a grid of cells, whose features are joined: 1 is global average pooling
    (MoCo and BYOL); (12, 6, 4, 3, 2) for conv1 to conv5 of a ResNet-50 is about 9000 numbers each
    (Goyal et al. 2019); 0 takes all cells ("unpool" in Table 4 of DUPR). A norm, without weight and
    bias of its own, comes before the layer, except where all cells are taken.
    """

    classifies_images = True

    @configurable
    def __init__(self, *, backbone, in_features, grids, norm, num_classes, side, pixel_mean,
                 pixel_std):  # fmt: skip
        """
        Args:
            backbone: of detectron2; it gets no gradient.
            in_features: names of maps, one for each classifier.
            grids: side of the grid of each, or one for all.
            norm: name of a norm of detectron2; "": none.
            num_classes: of the images.
            side: of the images, in pixels.
            pixel_mean, pixel_std: per channel, in the order of INPUT.FORMAT.
        """
        super().__init__(backbone, pixel_mean, pixel_std)
        shapes = feature_shapes(backbone)
        self.parts = classifier_parts(in_features, grids)
        self.norms, self.classifiers = nn.ModuleDict(), nn.ModuleDict()
        for key, (name, grid) in self.parts.items():
            shape = require_feature(shapes, name, _MAPS)
            use_norm = norm and grid > 0
            self.norms[key] = get_norm(norm, shape.channels) if use_norm else nn.Identity()
            cells = grid or side // shape.stride
            self.classifiers[key] = linear_layer(shape.channels * cells**2, num_classes)
        self.norms.requires_grad_(False)  # weight 1, bias 0

    @classmethod
    def from_config(cls, cfg):
        node = cfg.MODEL.IMAGE_CLASSIFIER
        return {
            "backbone": build_backbone(cfg),
            "in_features": list(node.IN_FEATURES),
            "grids": node.GRIDS,
            "norm": node.NORM,
            "num_classes": node.NUM_CLASSES,
            "side": cfg.INPUT.MIN_SIZE_TRAIN[0],
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs):
        """
        Args:
            batched_inputs: dicts of :class:`~dense_ssl.data.finetune.image_mapper.ImageMapper`.

        Returns:
            {"loss_<map>"} in training; otherwise a list with {map: the five best classes (5,), the
            best first} per image.
        """
        logits = self.logits(self.maps(batched_inputs))
        if not self.training:
            best = {k: x.topk(min(5, x.shape[1])).indices for k, x in logits.items()}
            return [{k: x[i] for k, x in best.items()} for i in range(len(batched_inputs))]
        classes = torch.tensor([x["category_id"] for x in batched_inputs], device=self.device)
        losses = {}
        for key, scores in logits.items():
            put_scalar(f"{key}/accuracy", (scores.argmax(dim=1) == classes).float().mean())
            losses[f"loss_{key}"] = F.cross_entropy(scores.float(), classes)
        return losses

    def logits(self, maps):
        """Return {classifier: (N, classes)} of {map: (N, C, h, w)}."""
        found = {}
        for key, (name, grid) in self.parts.items():
            cells = F.adaptive_avg_pool2d(maps[name], grid) if grid else maps[name]
            found[key] = self.classifiers[key](self.norms[key](cells).flatten(1))
        return found
