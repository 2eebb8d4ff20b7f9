"""Handing a pre-trained backbone to a detector: export, compatibility, report.

``backbone.pkl`` is in detectron2's model zoo format: names without any prefix and
``matching_heuristics`` on, so that stock detectron2 loads it too. ``res2.0.conv1.weight`` then
finds ``backbone.res2.*`` (C4), ``backbone.bottom_up.res2.*`` (FPN), and ``res5.*`` finds
``roi_heads.res5.*`` (C4).
"""

import pickle
from collections.abc import Mapping

from ..modeling.backbone_keys import NORM_KEYS, value_of, weight_keys
from ..modeling.backbones import bottom_up_of
from .files import atomic_file

# What must be the same before and after: config keys, and what goes wrong otherwise.
COLOUR_KEYS = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
FPN_KEYS = ("MODEL.FPN.NORM",)

# Where an FPN and a SimpleFeaturePyramid keep their network.
_BELOW_PYRAMIDS = ("bottom_up.", "net.")

# Norms with the same parameters and the same meaning.
_BATCH_NORMS = {"BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"}


def backbone_settings(cfg):
    """The config values that weights depend on, by key, as plain Python objects."""
    keys = [*COLOUR_KEYS, *weight_keys(cfg)]
    if "fpn" in cfg.MODEL.BACKBONE.NAME:
        keys += FPN_KEYS
    return {key: _plain(value_of(cfg, key)) for key in keys}


def _plain(value):
    return [_plain(x) for x in value] if isinstance(value, (list, tuple)) else value


def mismatches(saved, wanted):
    """Settings that weights were made with and that this config does not share.

    Args:
        saved, wanted: results of :func:`backbone_settings`.

    Returns:
        list of (key, saved value, wanted value).
    """
    return [
        (key, saved[key], wanted[key])
        for key in wanted
        if key in saved and not _same(key, saved[key], wanted[key])
    ]


def _same(key, saved, wanted):
    if key in (*NORM_KEYS, *FPN_KEYS):
        return saved == wanted or {saved, wanted} <= _BATCH_NORMS
    if key in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"):
        return len(saved) == len(wanted) and all(
            abs(a - b) <= 1e-3 * max(abs(a), 1) for a, b in zip(saved, wanted)
        )
    return saved == wanted


def check_settings(saved, wanted, path):
    """Raise ValueError, naming the keys, where weights do not suit this config."""
    wrong = mismatches(saved, wanted)
    if wrong:
        lines = [f"  {key}: the weights have {old!r}, this run {new!r}" for key, old, new in wrong]
        raise ValueError(
            f"The weights of {path} were made with other settings than this run has:\n"
            + "\n".join(lines)
            + f"\nSet {wrong[0][0]} as the weights have it (configs/Base-Input.yaml is shared by "
            "both stages), or pre-train again. MODEL.CHECK_WEIGHTS False loads them all the same."
        )


def strip_backbone(state_dict, prefix="backbone."):
    """Tensors of the online backbone, without the prefix that detectors put before them.

    Args:
        state_dict: of a :class:`~dense_ssl.modeling.Pretrainer`.

    Returns:
        {name: tensor}; what is below a pyramid loses ``bottom_up.`` or ``net.`` as well.
    """
    weights = {}
    for name, tensor in state_dict.items():
        if name.startswith(prefix) and not name.endswith("num_batches_tracked"):
            name = name[len(prefix) :]
            for below in _BELOW_PYRAMIDS:
                name = name[len(below) :] if name.startswith(below) else name
            weights[name] = tensor
    return weights


def export_backbone(model, path, settings, **extra):
    """Write the online backbone of ``model`` as ``path`` (.pkl).

    Args:
        model: a :class:`~dense_ssl.modeling.Pretrainer`.
        path: output file; written whole or not at all.
        settings: result of :func:`backbone_settings`.
        extra: further plain values to keep, such as the iteration.
    """
    weights = {k: v.cpu().numpy() for k, v in strip_backbone(model.state_dict()).items()}
    with atomic_file(path) as file:
        pickle.dump(zoo_checkpoint(weights, {"settings": settings, **extra}), file)


def zoo_checkpoint(weights, facts):
    """What ``backbone.pkl`` holds.

    Args:
        weights: {name: numpy array}.
        facts: plain values to keep beside them; "settings" is what loading compares.
    """
    return {
        "model": weights,
        "__author__": "DenseSSL",
        "matching_heuristics": True,
        "dense_ssl": facts,
    }


def checkpoint_from_timm(model, data):
    """A file with timm's names as a checkpoint of the model, where its backbone is of timm.

    It gets the settings of the images that timm made the weights for.

    Args:
        model: a detector or a :class:`~dense_ssl.modeling.Pretrainer`.
        data: content of a weights file, maybe with the weights below "state_dict" or "model".

    Returns:
        dict as detectron2's loading takes it, or None for other models and other files.
    """
    backbone = bottom_up_of(getattr(model, "backbone", None))
    if "dense_ssl" in data or not hasattr(backbone, "from_timm"):
        return None
    inner = (data.get(x) for x in ("state_dict", "model"))
    weights = next((x for x in inner if isinstance(x, Mapping)), data)
    renamed = backbone.from_timm(weights)
    if not renamed:
        return None
    settings = {"settings": backbone.pixels}
    return {"model": renamed, "matching_heuristics": True, "dense_ssl": settings}


def shape_keys(settings):
    """The keys to look at where tensors have other shapes, as part of a sentence."""
    if "MODEL.TIMM.NAME" in settings:
        return "MODEL.TIMM.NAME, MODEL.TIMM.ARGUMENTS"
    keys = [x for x in settings if x not in COLOUR_KEYS and x not in FPN_KEYS]
    return f"{keys[0] if keys else 'MODEL.BACKBONE.NAME'}, its widths"


def backbone_names(state_dict):
    """Names of a detector's tensors that a pre-trained backbone may fill.

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


def summarise(names):
    """Module names of tensor names, each once: 'fpn_lateral2, fpn_output2, ...'."""
    modules = []
    for name in names:
        module = name.rsplit(".", 1)[0]
        for prefix in (*(f"backbone.{x}" for x in _BELOW_PYRAMIDS), "backbone."):
            if module.startswith(prefix):
                module = module[len(prefix) :]
                break
        if module not in modules:
            modules.append(module)
    shown = ", ".join(modules[:12])
    return shown + (f" and {len(modules) - 12} more" if len(modules) > 12 else "")
