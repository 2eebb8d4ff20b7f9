"""ResNets with three 3x3 convolutions as stem (ResNet-50c), from detectron2's DeepLab project.

Importing them registers build_resnet_deeplab_backbone; here it gets its FPNs:
build_resnet_deeplab_fpn_backbone and build_retinanet_resnet_deeplab_fpn_backbone.
"""

from .families import register_family

try:
    from detectron2.projects.deeplab.resnet import build_resnet_deeplab_backbone
except ImportError:  # a detectron2 without its projects
    build_resnet_deeplab_backbone = None


def _build(cfg, input_shape):
    depth = cfg.MODEL.RESNETS.DEPTH
    if depth < 50:
        raise ValueError(
            f"MODEL.RESNETS.DEPTH is {depth}, but {cfg.MODEL.BACKBONE.NAME} has bottleneck blocks "
            "only: set it to 50, 101 or 152, or use build_resnet_fpn_backbone."
        )
    return build_resnet_deeplab_backbone(cfg, input_shape)


if build_resnet_deeplab_backbone is not None:
    register_family("resnet_deeplab", _build, alone=False)
