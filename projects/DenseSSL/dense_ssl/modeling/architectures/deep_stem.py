"""FPNs on ResNets whose stem is three 3x3 convolutions (ResNet-50c).

Importing detectron2's DeepLab project registers the network, build_resnet_deeplab_backbone. This
file adds build_resnet_deeplab_fpn_backbone and build_retinanet_resnet_deeplab_fpn_backbone.
"""

from .fpn import register_fpn_builders

try:
    from detectron2.projects.deeplab.resnet import build_resnet_deeplab_backbone
except ImportError:  # a detectron2 without its projects
    build_resnet_deeplab_backbone = None


def _build(cfg, input_shape):
    depth = cfg.MODEL.RESNETS.DEPTH
    if depth < 50:
        raise ValueError(
            f"MODEL.RESNETS.DEPTH is {depth}, but {cfg.MODEL.BACKBONE.NAME} has only bottleneck "
            "blocks: set it to 50, 101 or 152, or use build_resnet_fpn_backbone."
        )
    return build_resnet_deeplab_backbone(cfg, input_shape)


if build_resnet_deeplab_backbone is not None:
    register_fpn_builders("resnet_deeplab", _build)
