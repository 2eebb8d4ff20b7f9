"""detectron2's plain Vision Transformer from yacs keys (MODEL.VIT), alone and under ViTDet's FPN.

Registers build_vit_backbone (one map, "last_feat", of stride 16), build_vit_fpn_backbone and
build_retinanet_vit_fpn_backbone (SimpleFeaturePyramid). detectron2 v0.6 has no ViT.
"""

import warnings
from functools import partial

from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import nn

from .fpn import refuse_c4, register_builder

try:
    from detectron2.modeling.backbone.vit import SimpleFeaturePyramid, ViT
except ImportError:  # detectron2 v0.6
    ViT = None

MAP = "last_feat"


def build_vit(cfg, input_shape):
    """Return a ViT without class token."""
    node = cfg.MODEL.VIT
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {cfg.MODEL.BACKBONE.FREEZE_AT}, but a ViT has no stages: "
            "set it to 0, or freeze the whole backbone by MODEL.FREEZE_BACKBONE True."
        )
    with warnings.catch_warnings():  # detectron2 imports timm.models.layers, an old name
        warnings.simplefilter("ignore", FutureWarning)
        return PaddedViT(
            img_size=node.IMAGE_SIZE,
            patch_size=node.PATCH_SIZE,
            in_chans=input_shape.channels,
            embed_dim=node.EMBED_DIM,
            depth=node.DEPTH,
            num_heads=node.NUM_HEADS,
            drop_path_rate=node.DROP_PATH,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=node.REL_POS,
            window_size=node.WINDOW_SIZE,
            window_block_indexes=tuple(node.WINDOW_BLOCKS),
            out_feature=MAP,
        )


def build_vit_backbone(cfg, input_shape):
    """Return the ViT without a pyramid."""
    refuse_c4(cfg)
    return build_vit(cfg, input_shape)


def build_vit_fpn_backbone(cfg, input_shape):
    """Return ViTDet's pyramid: p2 to p6, each computed from the one map of the ViT."""
    return _build_pyramid(cfg, input_shape, (4.0, 2.0, 1.0, 0.5), LastLevelMaxPool())


def build_retinanet_vit_fpn_backbone(cfg, input_shape):
    """Return the same pyramid for RetinaNet: p3 to p7."""
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    top_block = LastLevelP6P7(channels, channels, "p5")
    return _build_pyramid(cfg, input_shape, (2.0, 1.0, 0.5), top_block)


def _build_pyramid(cfg, input_shape, scale_factors, top_block):
    if cfg.MODEL.VIT.PATCH_SIZE != 16:
        raise ValueError(
            f"MODEL.VIT.PATCH_SIZE is {cfg.MODEL.VIT.PATCH_SIZE}; the pyramid has strides 4 to 32 "
            "only with 16."
        )
    if not cfg.MODEL.FPN.NORM:
        raise ValueError("MODEL.FPN.NORM is empty, but this pyramid needs one: ViTDet has 'LN'.")
    return PaddedPyramid(
        net=build_vit(cfg, input_shape),
        in_feature=MAP,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        scale_factors=scale_factors,
        top_block=top_block,
        norm=cfg.MODEL.FPN.NORM,
        square_pad=cfg.MODEL.VIT.SQUARE_PAD,
    )


if ViT is not None:

    class PaddedViT(ViT):
        """detectron2's ViT for images of any size."""

        @property
        def size_divisibility(self):
            return self._out_feature_strides[MAP]

        def forward(self, images):
            """{"last_feat": (N, C, ceil(H / 16), ceil(W / 16))} of images (N, 3, H, W)."""
            height, width = images.shape[-2:]
            step = self.size_divisibility
            if height % step or width % step:
                images = nn.functional.pad(images, (0, -width % step, 0, -height % step))
            return super().forward(images)

    class PaddedPyramid(SimpleFeaturePyramid):
        """detectron2's SimpleFeaturePyramid, which tells detectors how to pad their images."""

        @property
        def size_divisibility(self):
            return self._size_divisibility

    for _build in (build_vit_backbone, build_vit_fpn_backbone, build_retinanet_vit_fpn_backbone):
        register_builder(_build.__name__, _build)
