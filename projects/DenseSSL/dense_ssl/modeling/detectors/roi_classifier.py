"""RoI linear evaluation: one linear layer on a frozen backbone classifies ground-truth boxes."""

import torch
from detectron2.config import configurable
from detectron2.layers import ROIAlign
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch.nn import functional as F

from ...utils.distributed import weigh_by_count
from ...utils.events import put_scalar
from ..backbones import feature_shapes, require_feature
from ..geometry.boxes import pool_box_lists
from .frozen_features import FrozenFeatures, linear_layer


@META_ARCH_REGISTRY.register()
class RoIClassifier(FrozenFeatures):
    """Classifies given boxes by a linear layer on their pooled features.

    The protocol is that of SCRL (Roh et al. 2021, section 4.2.5 and appendix B): RoIAlign on the
    frozen backbone, the maps of a pyramid concatenated, and batch norms that use the statistics of
    the batch while the layer learns and track running ones, from the start, for the test.

    The size of RoIAlign is not stated there: 1 x 1 here, as in SCRL's pre-training. Larger ones
    are averaged over their bins.
    """

    classifies_regions = True

    @configurable
    def __init__(self, *, backbone, in_features, num_classes, resolution, sampling_ratio,
                 pixel_mean, pixel_std):  # fmt: skip
        """
        Args:
            backbone: of detectron2; it gets no gradient.
            in_features: names of the maps that are concatenated.
            num_classes: of the boxes.
            resolution, sampling_ratio: of RoIAlign.
            pixel_mean, pixel_std: per channel, in the order of INPUT.FORMAT.
        """
        super().__init__(backbone, pixel_mean, pixel_std)
        shapes = feature_shapes(backbone)
        shapes = {x: require_feature(shapes, x, "MODEL.ROI_HEADS.IN_FEATURES") for x in in_features}
        self.poolers = {
            k: ROIAlign(resolution, 1.0 / x.stride, sampling_ratio, True) for k, x in shapes.items()
        }
        self.classifier = linear_layer(sum(x.channels for x in shapes.values()), num_classes)

    @classmethod
    def from_config(cls, cfg):
        return {
            "backbone": build_backbone(cfg),
            "in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "resolution": cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION,
            "sampling_ratio": cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs):
        """
        Args:
            batched_inputs: dicts of :class:`~dense_ssl.data.finetune.region_mapper.RegionMapper`:
                images of one size, with "instances" that have gt_boxes and gt_classes.

        Returns:
            {"loss_cls": mean over the boxes} in training; otherwise a list with {"classes": (K,)
            the predicted class of each box} per image.
        """
        instances = [x["instances"].to(self.device) for x in batched_inputs]
        vectors = self.pool(batched_inputs, [x.gt_boxes.tensor for x in instances])
        logits = self.classifier(vectors)
        if not self.training:
            counts = [len(x) for x in instances]
            return [{"classes": x.argmax(dim=1)} for x in logits.split(counts)]
        classes = torch.cat([x.gt_classes for x in instances])
        if len(classes):
            put_scalar("roi/accuracy", (logits.argmax(dim=1) == classes).float().mean())
            loss = F.cross_entropy(logits.float(), classes)
        else:
            loss = logits.sum() * 0
        # processes with few boxes must not count as much as those with many
        return {"loss_cls": weigh_by_count(loss, logits.new_tensor(float(len(classes))))}

    @torch.no_grad()
    def pool(self, batched_inputs, boxes):
        """Return the concatenated features (boxes of all images, channels).

        Args:
            batched_inputs: see :meth:`forward`.
            boxes: list of (K, 4), in pixels of the images.
        """
        features = self.maps(batched_inputs)
        pooled = []
        for level, pooler in self.poolers.items():
            bins = pool_box_lists(pooler, features[level], boxes)  # (boxes * bins, C)
            pooled.append(bins.unflatten(0, (-1, pooler.output_size**2)).mean(dim=1))
        return torch.cat(pooled, dim=1)
