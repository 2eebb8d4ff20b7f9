"""FPN builders for any network, and the checks that its builders share."""

from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7


def register_fpn_builders(name, build):
    """Register build_<name>_fpn_backbone and build_retinanet_<name>_fpn_backbone.

    The first adds p6 by subsampling p5; the second makes p6 and p7 from res5, for RetinaNet.

    Args:
        name: family of networks.
        build: function (cfg, input_shape) -> Backbone with maps named "res2" to "res5".
    """

    def fpn(cfg, input_shape):
        network = build(cfg, input_shape)
        _check_levels(cfg, network, cfg.MODEL.FPN.IN_FEATURES)
        return _build_fpn(cfg, network, LastLevelMaxPool())

    def retinanet_fpn(cfg, input_shape):
        network = build(cfg, input_shape)
        _check_levels(cfg, network, [*cfg.MODEL.FPN.IN_FEATURES, "res5"])
        channels = network.output_shape()["res5"].channels
        return _build_fpn(cfg, network, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))

    register_builder(f"build_{name}_fpn_backbone", fpn)
    register_builder(f"build_retinanet_{name}_fpn_backbone", retinanet_fpn)


def register_builder(name, build):
    """Register a function (cfg, input_shape) -> Backbone under ``name``."""
    build.__name__ = name
    BACKBONE_REGISTRY.register(build)


def _build_fpn(cfg, network, top_block):
    node = cfg.MODEL.FPN
    return FPN(
        bottom_up=network,
        in_features=node.IN_FEATURES,
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=top_block,
        fuse_type=node.FUSE_TYPE,
    )


def _check_levels(cfg, network, names):
    maps = network.output_shape()
    if not names or not set(names) <= set(maps):
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {list(cfg.MODEL.FPN.IN_FEATURES)}, but "
            f"{cfg.MODEL.BACKBONE.NAME} has the maps {sorted(maps)}: set MODEL.FPN.IN_FEATURES and "
            "MODEL.RESNETS.OUT_FEATURES to the same maps, such as ['res2', 'res3', 'res4', 'res5'] "
            "(RetinaNet: ['res3', 'res4', 'res5'])."
        )


def refuse_c4(cfg):
    """Raise if a C4 detector would run the res5 of a ResNet on top of another backbone."""
    heads = cfg.MODEL.ROI_HEADS.NAME
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" and heads.startswith("Res5ROIHeads"):
        raise ValueError(
            f"MODEL.ROI_HEADS.NAME is {heads!r}: it runs res5 of a ResNet on every region, which "
            f"{cfg.MODEL.BACKBONE.NAME} does not have. Set it to 'StandardROIHeads' with "
            "MODEL.ROI_HEADS.IN_FEATURES and MODEL.RPN.IN_FEATURES ['res4'] or ['res5'], or use "
            "the builder with an FPN."
        )
