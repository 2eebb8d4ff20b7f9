"""Handing a pre-trained backbone to a detector: export, compatibility, report.

``backbone.pkl`` is in detectron2's model zoo format: names without any prefix and
``matching_heuristics`` on, so that stock detectron2 loads it too. ``res2.0.conv1.weight`` then
finds ``backbone.res2.*`` (C4), ``backbone.bottom_up.res2.*`` (FPN), and ``res5.*`` finds
``roi_heads.res5.*`` (C4).
"""

import pickle

from ..modeling.backbone_keys import NORM_KEYS, weight_keys
from ..utils.atomic_file import atomic_file
from ..utils.checks import value_of

# Config keys that weights depend on, beside those of the backbone.
COLOUR_KEYS = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
FPN_KEYS = ("MODEL.FPN.NORM",)

# Of backbone.pkl.
AUTHOR = "DenseSSL"

# Where an FPN and a SimpleFeaturePyramid keep their network.
_BELOW_PYRAMIDS = ("bottom_up.", "net.")

# Batch norms with the same parameters and the same meaning.
BATCH_NORMS = {"BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"}


def backbone_settings(cfg):
    """Return the config values that weights depend on, by key, as plain Python objects."""
    keys = [*COLOUR_KEYS, *weight_keys(cfg)]
    if "fpn" in cfg.MODEL.BACKBONE.NAME:
        keys += FPN_KEYS
    return {key: _as_lists(value_of(cfg, key)) for key in keys}


def _as_lists(value):
    return [_as_lists(x) for x in value] if isinstance(value, (list, tuple)) else value


def mismatches(saved, current):
    """Return [(key, saved value, current value)] of the settings that differ.

    Args:
        saved, current: results of :func:`backbone_settings`.
    """
    return [
        (key, saved[key], value)
        for key, value in current.items()
        if key in saved and not _same(key, saved[key], value)
    ]


def _same(key, saved, current):
    if key in (*NORM_KEYS, *FPN_KEYS):
        return saved == current or {saved, current} <= BATCH_NORMS
    if key in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"):
        return len(saved) == len(current) and all(
            abs(a - b) <= 1e-3 * max(abs(a), 1) for a, b in zip(saved, current)
        )
    return saved == current


def check_settings(saved, current, path):
    """Raise ValueError, naming the keys, if weights do not suit this config."""
    wrong = mismatches(saved, current)
    if wrong:
        lines = [f"  {key}: the weights have {old!r}, this run {new!r}" for key, old, new in wrong]
        raise ValueError(
            f"The weights of {path} were made with other settings than this run has:\n"
            + "\n".join(lines)
            + f"\nSet {wrong[0][0]} to the value of the weights (configs/Base-Input.yaml is shared "
            "by both stages), or pre-train again. MODEL.CHECK_WEIGHTS False loads them anyway."
        )


def strip_backbone(state_dict, prefix="backbone."):
    """Return {name: tensor} of the online backbone, without the prefix that detectors have.

    Args:
        state_dict: of a :class:`~dense_ssl.modeling.Pretrainer`. Names below a pyramid lose
            ``bottom_up.`` or ``net.`` as well.
    """
    weights = {}
    for name, tensor in state_dict.items():
        if name.startswith(prefix) and not name.endswith("num_batches_tracked"):
            weights[_below_pyramid(name[len(prefix) :])] = tensor
    return weights


def _below_pyramid(name):
    for part in _BELOW_PYRAMIDS:
        name = name[len(part) :] if name.startswith(part) else name
    return name


def export_backbone(model, path, settings, **extra):
    """Write the online backbone of ``model`` as ``path`` (.pkl), completely or not at all.

    Args:
        model: a :class:`~dense_ssl.modeling.Pretrainer`.
        path: output file.
        settings: result of :func:`backbone_settings`.
        extra: further plain values to keep, such as the iteration.
    """
    write_backbone(strip_backbone(model.state_dict()), path, settings, **extra)


def write_backbone(weights, path, settings, **extra):
    """:func:`export_backbone` of weights {name of the backbone's own: tensor}."""
    weights = {k: x.cpu().numpy() for k, x in weights.items()}
    with atomic_file(path) as file:
        pickle.dump(zoo_checkpoint(weights, {"settings": settings, **extra}), file)


def zoo_checkpoint(weights, facts):
    """Return what ``backbone.pkl`` holds.

    Args:
        weights: {name: numpy array}.
        facts: plain values to keep beside them; loading compares its "settings".
    """
    return {
        "model": weights,
        "__author__": AUTHOR,
        "matching_heuristics": True,
        "dense_ssl": facts,
    }


def shape_keys(settings):
    """Return the keys to look at if tensors have other shapes, as part of a sentence."""
    if "MODEL.TIMM.NAME" in settings:
        return "MODEL.TIMM.NAME, MODEL.TIMM.ARGUMENTS"
    keys = [x for x in settings if x not in (*COLOUR_KEYS, *FPN_KEYS)]
    return f"{keys[0] if keys else 'MODEL.BACKBONE.NAME'}, its widths"


def backbone_names(state_dict):
    """Return the names of a detector's tensors that a pre-trained backbone can fill.

    Those of ``backbone``, and of the res5 that C4 detectors keep in their RoI heads, without the
    extra norm that fine-tuning adds to it.
    """
    return [
        x
        for x in state_dict
        if x.startswith(("backbone.", "roi_heads.res5."))
        and not x.startswith("roi_heads.res5.norm.")
        and not x.endswith("num_batches_tracked")
    ]


def new_parts(state_dict, absent):
    """Return {tensor: its part} of the parts of a model that a backbone's file does not have.

    They are what lies outside of the backbone, and whole parts around its network, such as an FPN;
    nothing where the network itself is incomplete, or where some tensor of a part was filled.

    Args:
        state_dict: of a detector or of a pre-training.
        absent: set of the names that loading has not filled.
    """
    backbone, parts = set(backbone_names(state_dict)), {}
    for name in state_dict:
        if not name.endswith("num_batches_tracked") and not name.startswith("target_backbone."):
            part = _pyramid_part(name) if name in backbone else "heads"
            parts.setdefault(part, []).append(name)
    if any(name in absent for name in parts.pop("", ())):
        return {}
    return {
        name: name.split(".")[0] if part == "heads" else f"backbone.{part}"
        for part, names in parts.items()
        for name in names
        if absent.issuperset(names)
    }


def _pyramid_part(name):
    """Return "fpn" or "top_block" of a tensor around the network of a pyramid, "" of its own."""
    name = name.removeprefix("backbone.")
    first = name.split(".")[0]
    if first.startswith(("fpn_", "simfp_")):
        return "fpn"
    return first if first == "top_block" else ""


def summarise(names):
    """Return the module names of tensors, each once: 'fpn_lateral2, fpn_output2, ...'."""
    names = [x[len("backbone.") :] if x.startswith("backbone.") else x for x in names]
    modules = list(dict.fromkeys(_below_pyramid(x).rsplit(".", 1)[0] for x in names))
    return ", ".join(modules[:12]) + (f" and {len(modules) - 12} more" if modules[12:] else "")
