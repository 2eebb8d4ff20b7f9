"""Checks of config values; every message names the key and what it may be."""


def require_one_of(name, value, allowed):
    """Raise ValueError unless ``value`` is one of ``allowed``; ``name`` is the config key."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {tuple(allowed)}.")


def require_positive(cfg, *keys):
    """Raise ValueError unless each number of the config is above 0, such as "MODEL.X.Y"."""
    for key in keys:
        if value_of(cfg, key) <= 0:
            raise ValueError(f"{key} is {value_of(cfg, key)}; it must be above 0.")


def value_of(cfg, key):
    """Return the value of a key such as "MODEL.TIMM.NAME"."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg
