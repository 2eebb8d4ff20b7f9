"""Builders of a backbone alone, under an FPN, and under RetinaNet's FPN."""

from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7


def register_family(name, build, alone=True):
    """Register ``build_<name>_backbone``, ``build_<name>_fpn_backbone`` and
    ``build_retinanet_<name>_fpn_backbone``, as detectron2 has them for its ResNets.

    Args:
        name: of the family.
        build: function of (cfg, input_shape) that returns a Backbone.
        alone: register the first of the three too.
    """  # noqa: D205 (three names)

    def plain(cfg, input_shape):
        refuse_c4(cfg)
        return build(cfg, input_shape)

    def with_fpn(cfg, input_shape):
        return build_fpn(cfg, build(cfg, input_shape))

    def with_retinanet_fpn(cfg, input_shape):
        return build_retinanet_fpn(cfg, build(cfg, input_shape))

    if alone:
        register_builder(f"build_{name}_backbone", plain)
    register_builder(f"build_{name}_fpn_backbone", with_fpn)
    register_builder(f"build_retinanet_{name}_fpn_backbone", with_retinanet_fpn)


def register_builder(name, build):
    """Register a function of (cfg, input_shape) as a backbone builder under ``name``."""
    build.__name__ = name
    BACKBONE_REGISTRY.register(build)


def build_fpn(cfg, bottom_up):
    """An FPN with the keys of MODEL.FPN, its last level subsampled once more (p6)."""
    _check_levels(cfg, bottom_up, cfg.MODEL.FPN.IN_FEATURES)
    return _fpn(cfg, bottom_up, LastLevelMaxPool())


def build_retinanet_fpn(cfg, bottom_up):
    """An FPN with the keys of MODEL.FPN, and p6 and p7 made of res5."""
    _check_levels(cfg, bottom_up, [*cfg.MODEL.FPN.IN_FEATURES, "res5"])
    channels = bottom_up.output_shape()["res5"].channels
    return _fpn(cfg, bottom_up, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


def _fpn(cfg, bottom_up, top_block):
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _check_levels(cfg, bottom_up, wanted):
    absent = [x for x in wanted if x not in bottom_up.output_shape()]
    if not wanted or absent:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {list(cfg.MODEL.FPN.IN_FEATURES)}, but "
            f"{cfg.MODEL.BACKBONE.NAME} has the maps {sorted(bottom_up.output_shape())}: set "
            "MODEL.FPN.IN_FEATURES and MODEL.RESNETS.OUT_FEATURES to the same maps, such as "
            "['res2', 'res3', 'res4', 'res5'] (RetinaNet: ['res3', 'res4', 'res5'])."
        )


def refuse_c4(cfg):
    """Raise where a C4 detector would put the res5 of a ResNet behind another backbone."""
    heads = cfg.MODEL.ROI_HEADS.NAME
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" and heads.startswith("Res5ROIHeads"):
        raise ValueError(
            f"MODEL.ROI_HEADS.NAME is {heads!r}: it runs res5 of a ResNet on every region, which "
            f"{cfg.MODEL.BACKBONE.NAME} does not have. Set it to 'StandardROIHeads' with "
            "MODEL.ROI_HEADS.IN_FEATURES and MODEL.RPN.IN_FEATURES ['res4'] or ['res5'], or use "
            "the builder with an FPN."
        )


def selected_maps(cfg, names):
    """MODEL.RESNETS.OUT_FEATURES, checked.

    Args:
        cfg: config.
        names: of the maps that the backbone can give, from fine to coarse.

    Returns:
        list of names, from fine to coarse.
    """
    wanted = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    if not wanted or not set(wanted) <= set(names):
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES is {wanted}: for {cfg.MODEL.BACKBONE.NAME} it must name "
            f"some of {list(names)}."
        )
    return [x for x in names if x in wanted]
