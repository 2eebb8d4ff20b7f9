"""Builders of earlier versions: using one raises an error that names its replacement."""

from detectron2.modeling import BACKBONE_REGISTRY

# Removed family: networks of timm (MODEL.TIMM.NAME) to use instead.
_REPLACEMENTS = {
    "regnet": ("regnety_040", "regnetx_040"),
    "swin": ("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224"),
}
_BUILDERS = ("build_{}_backbone", "build_{}_fpn_backbone", "build_retinanet_{}_fpn_backbone")


def _register(removed, builder, networks):
    def build(cfg, input_shape):
        raise ValueError(
            f"MODEL.BACKBONE.NAME is {removed!r}, which was removed. Use {builder!r} and set "
            f"MODEL.TIMM.NAME, for example to {' or '.join(map(repr, networks))} "
            "(docs/backbones.md)."
        )

    build.__name__ = removed
    BACKBONE_REGISTRY.register(build)


for _family, _networks in _REPLACEMENTS.items():
    for _name in _BUILDERS:
        _register(_name.format(_family), _name.format("timm"), _networks)
