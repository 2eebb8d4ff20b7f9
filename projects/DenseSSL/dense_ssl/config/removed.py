"""Keys of earlier versions. Older runs have them in their config.yaml; they are ignored there."""

# The error of a removed builder (modeling/architectures/removed.py) says what replaces it.
_REMOVED = {
    "MODEL.REGNETS": "NORM STEM_WIDTH DEPTH W_A W_0 W_M GROUP_WIDTH SE_RATIO",
    "MODEL.SWIN": "EMBED_DIM DEPTHS NUM_HEADS WINDOW_SIZE APE DROP_PATH",
    "MODEL.DUPR": "ALIGNED SAMPLING_RATIO",
    "MODEL.SELF_EMD": "TOLERANCE",
}


def register_removed_keys(cfg):
    """Let yacs ignore removed keys, with a warning, instead of refusing the file."""
    for node, keys in _REMOVED.items():
        for key in (node, *(f"{node}.{x}" for x in keys.split())):
            cfg.register_deprecated_key(key)
