"""What a conversion found, did and did not, in words."""

from collections import OrderedDict

from .sources import IMAGENET, STATED_KEYS

# What configs/Base-Input.yaml has; other settings have to be given to train_net.py.
_OURS = IMAGENET


def describe(backbone):
    """Lines on what a file is and what of it is taken.

    Args:
        backbone: result of :func:`~.backbone.extract_backbone`.
    """
    found, keys = backbone.recognised, backbone.architecture
    where = "/".join(found.place.container)
    lines = [f"recognised: {found.layout.title} (layout {found.layout.name})"]
    if found.layout.note:
        lines.append(f"  note: {found.layout.note}")
    prefix = f", names behind {found.place.prefix!r}" if found.place.prefix else ""
    where = f", under {where}" if where else ""
    lines.append(f"encoder: {found.encoder}{prefix}{where}")
    if found.others:
        lines.append(f"  also in the file: {', '.join(found.others)} (--encoder)")
    lines.append(f"network: ResNet-{keys['MODEL.RESNETS.DEPTH']}{_widths(keys)}")
    lines.append(f"taken: {len(backbone.weights) + len(backbone.head)} tensors, every one that "
                 "detectron2's backbone has, in its shape")  # fmt: skip
    if backbone.left_out:
        lines.append(f"left out: {len(backbone.left_out)} tensors ({grouped(backbone.left_out)})")
    lines.append("trained with:")
    for key in STATED_KEYS:
        value = backbone.settings.get(key, "not known")
        lines.append(f"  {key}: {value}")
    return lines


def _widths(keys):
    stem, res2 = keys["MODEL.RESNETS.STEM_OUT_CHANNELS"], keys["MODEL.RESNETS.RES2_OUT_CHANNELS"]
    usual = 64 if keys["MODEL.RESNETS.DEPTH"] < 50 else 256
    width = keys.get("MODEL.RESNETS.WIDTH_PER_GROUP", 64)
    groups = keys.get("MODEL.RESNETS.NUM_GROUPS", 1)
    parts = []
    if (stem, res2, width, groups) != (64, usual, 64, 1):
        parts.append(f" (stem {stem}, res2 {res2}, {groups} x {width} per group)")
    if "MODEL.FPN.OUT_CHANNELS" in keys:
        maps = ", ".join(keys["MODEL.FPN.IN_FEATURES"])
        parts.append(f" with an FPN of {keys['MODEL.FPN.OUT_CHANNELS']} channels on {maps}")
    return "".join(parts)


def warnings(backbone):
    """Lines on what a user has to state or to set."""
    lines = []
    unknown = backbone.unknown_settings
    if unknown:
        lines.append(
            f"The file does not tell {', '.join(unknown)}, so nothing will check them. State what "
            f"you know, behind the files: {unknown[0]} ..."
        )
    options = different_settings(backbone)
    if options:
        lines.append(
            "It differs from configs/Base-Input.yaml. Give train_net.py, in both stages:\n    "
            + " ".join(f'{key} "{value}"' for key, value in options.items())
        )
    return lines


def different_settings(backbone):
    """{config key: value} that a run on these weights needs beyond configs/Base-Input.yaml."""
    result = OrderedDict()
    if backbone.architecture["MODEL.RESNETS.DEPTH"] != 50:
        result["MODEL.RESNETS.DEPTH"] = backbone.architecture["MODEL.RESNETS.DEPTH"]
    usual = {"STEM_OUT_CHANNELS": 64, "NUM_GROUPS": 1, "WIDTH_PER_GROUP": 64,
             "RES2_OUT_CHANNELS": 256}  # fmt: skip
    for name, value in usual.items():
        key = f"MODEL.RESNETS.{name}"
        if backbone.architecture.get(key, value) != value:
            result[key] = backbone.architecture[key]
    for key in STATED_KEYS:
        value = backbone.settings.get(key, _OURS[key])
        is_norm = key.endswith("NORM") and "BN" in str(value) and value != "FrozenBN"
        if value != _OURS[key] and not is_norm:
            result[key] = value
    return result


def grouped(names, limit=12):
    """Names by where they start: 'fc.*, queue, encoder_k.layer1.*'."""
    starts = OrderedDict()
    for name in names:
        parts = name.split(".")
        start = parts[0] if len(parts) == 1 else f"{parts[0]}.*"
        starts[start] = starts.get(start, 0) + 1
    shown = [f"{x} ({n})" if n > 1 else x for x, n in list(starts.items())[:limit]]
    more = f" and {len(starts) - limit} more" if len(starts) > limit else ""
    return ", ".join(shown) + more
