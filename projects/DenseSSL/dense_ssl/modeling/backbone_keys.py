"""Which config keys describe the backbone that MODEL.BACKBONE.NAME builds."""

# Part of a builder's name, the node of MODEL it reads, and the keys there that weights depend on.
_FAMILIES = (
    ("resnet_deeplab", "RESNETS", ("DEPTH", "STRIDE_IN_1X1", "NORM", "STEM_TYPE")),
    ("resnet", "RESNETS", ("DEPTH", "STRIDE_IN_1X1", "NORM")),
    ("timm", "TIMM", ("NAME", "ARGUMENTS", "OUT_NORM", "NORM")),
    ("regnet", "REGNETS", ("DEPTH", "W_A", "W_0", "W_M", "GROUP_WIDTH", "SE_RATIO", "NORM")),
    ("swin", "SWIN", ("EMBED_DIM", "DEPTHS", "NUM_HEADS", "WINDOW_SIZE", "APE")),
    ("vit", "VIT", ("PATCH_SIZE", "EMBED_DIM", "DEPTH", "NUM_HEADS", "WINDOW_SIZE",
                    "WINDOW_BLOCKS", "REL_POS", "IMAGE_SIZE")),
)  # fmt: skip

# Those of them that are norms.
NORM_KEYS = ("MODEL.RESNETS.NORM", "MODEL.TIMM.NORM", "MODEL.REGNETS.NORM")


def weight_keys(cfg):
    """The keys that must be the same where weights are made and where they are used.

    Those of the backbone itself, not of an FPN; none for a builder that is not known here.
    """
    for part, node, keys in _FAMILIES:
        if part in cfg.MODEL.BACKBONE.NAME:
            return tuple(f"MODEL.{node}.{key}" for key in keys)
    return ()


def norm_key(cfg):
    """The key of the backbone's norm, or None where it has no such key."""
    return next((key for key in weight_keys(cfg) if key in NORM_KEYS), None)


def value_of(cfg, key):
    """The value of a key such as "MODEL.TIMM.NAME"."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg
