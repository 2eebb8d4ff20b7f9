"""Which config keys describe the backbone that MODEL.BACKBONE.NAME builds."""

# Part of a builder's name, the node of MODEL it reads, and the keys there that weights depend on.
_FAMILIES = (
    ("resnet_deeplab", "RESNETS", ("DEPTH", "STRIDE_IN_1X1", "NORM", "STEM_TYPE")),
    ("resnet", "RESNETS", ("DEPTH", "STRIDE_IN_1X1", "NORM")),
    ("timm", "TIMM", ("NAME", "ARGUMENTS", "OUT_NORM", "NORM")),
    ("vit", "VIT", ("PATCH_SIZE", "EMBED_DIM", "DEPTH", "NUM_HEADS", "WINDOW_SIZE",
                    "WINDOW_BLOCKS", "REL_POS", "IMAGE_SIZE")),
)  # fmt: skip

# Those of them that set the normalisation layers.
NORM_KEYS = ("MODEL.RESNETS.NORM", "MODEL.TIMM.NORM")


def weight_keys(cfg):
    """Return the keys that must not change between making weights and using them.

    Only keys of the network itself, not of an FPN; none for a builder that is not listed here.
    """
    for part, node, keys in _FAMILIES:
        if part in cfg.MODEL.BACKBONE.NAME:
            return tuple(f"MODEL.{node}.{key}" for key in keys)
    return ()


def norm_key(cfg):
    """Return the key that sets the backbone's normalisation layers, or None if it has none."""
    return next((key for key in weight_keys(cfg) if key in NORM_KEYS), None)
