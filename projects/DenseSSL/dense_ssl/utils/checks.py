"""Checks of config values; every message names the key and what it may be."""

import difflib


def nearest(value, allowed):
    """Return " Did you mean 'x'?" for the names in ``allowed`` that are close to a value, or ""."""
    names = {str(x).lower(): x for x in allowed if x != ""}
    found = difflib.get_close_matches(str(value).lower(), names, n=3)
    return f" Did you mean {' or '.join(repr(names[x]) for x in found)}?" if found else ""


def require_one_of(name, value, allowed):
    """Raise ValueError unless ``value`` is one of ``allowed``; ``name`` is the config key."""
    if value not in allowed:
        raise ValueError(
            f"{name} is {value!r}; it must be one of {tuple(allowed)}.{nearest(value, allowed)}"
        )


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


def refuse_non_finite(weights, path):
    """Raise where a file has filled a model with NaN or infinite numbers: it is the file's fault.

    Args:
        weights: {name: tensor} of the model, which has been loaded.
        path: of the file.
    """
    broken = non_finite(weights)
    if broken:
        raise ValueError(
            f"{path} has NaN or infinite numbers in {len(broken)} of its tensors, the first one "
            f"{broken[0]}: the training that wrote it diverged, or the file is damaged. Use an "
            "earlier checkpoint or another file."
        )


def non_finite(weights):
    """Return the names of the tensors of a state dict that have NaN or infinite numbers."""
    return [k for k, x in weights.items() if x.is_floating_point() and not x.isfinite().all()]
