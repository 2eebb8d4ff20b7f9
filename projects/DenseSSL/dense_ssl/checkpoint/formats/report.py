"""What a conversion found, in words."""

from collections import Counter

from .settings import IMAGENET, MEAN, NORM, STATED_KEYS, STD

# What configs/Base-Input.yaml has; other settings have to be given to train_net.py.
_USUAL = {
    **IMAGENET, "MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.NUM_GROUPS": 1, "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
}  # fmt: skip


def describe(backbone):
    """Return lines on what a file is and what of it is taken."""
    found, keys = backbone.recognised, backbone.architecture
    under = "/".join(found.network.container)
    lines = [f"recognised: {found.family.title}"]
    lines += [f"  note: {found.family.note}"] if found.family.note else []
    lines.append(
        f"encoder: {found.encoder}"
        + (f", prefix {found.network.prefix!r}" if found.network.prefix else "")
        + (f", under {under}" if under else "")
    )
    if found.others:
        lines.append(f"  also in the file: {', '.join(found.others)} (--encoder)")
    lines.append(f"network: ResNet-{keys['MODEL.RESNETS.DEPTH']}")
    if "MODEL.FPN.OUT_CHANNELS" in keys:
        maps = ", ".join(keys["MODEL.FPN.IN_FEATURES"])
        lines[-1] += f" with an FPN of {keys['MODEL.FPN.OUT_CHANNELS']} channels on {maps}"
    lines.append(f"taken: {len(backbone.weights) + len(backbone.head)} tensors, every one that "
                 "detectron2's backbone has, in its shape")  # fmt: skip
    if backbone.left_out:
        lines.append(f"left out: {len(backbone.left_out)} tensors ({grouped(backbone.left_out)})")
    lines.append("trained with:")
    return lines + [f"  {x}: {backbone.settings.get(x, 'not known')}" for x in STATED_KEYS]


def warnings(backbone):
    """Return lines on what a user has to state or to set."""
    lines = [question(backbone.unknown_settings)] if backbone.unknown_settings else []
    options = {}
    for key, usual in _USUAL.items():
        value = backbone.settings.get(key, backbone.architecture.get(key, usual))
        is_batch_norm = key == NORM and "BN" in value and value != "FrozenBN"
        if value != usual and not is_batch_norm:
            options[key] = value
    if options:
        lines.append(
            "It differs from configs/Base-Input.yaml. Give train_net.py, in both stages:\n    "
            + " ".join(f'{key} "{value}"' for key, value in options.items())
        )
    return lines


def question(unknown):
    """Return what to ask about config keys that a file does not say."""
    text = f"The file does not say {', '.join(unknown)}: state them after the file names."
    if MEAN in unknown or STD in unknown:
        text += (
            f' Most projects have {MEAN} "{_values(MEAN)}" {STD} "{_values(STD)}"; code that feeds '
            f'values of 0..1, such as SimCLR\'s, has {MEAN} "[0,0,0]" {STD} "[255,255,255]".'
        )
    return text


def _values(key):
    return str(IMAGENET[key]).replace(" ", "")


def grouped(names, limit=12):
    """Return names by how they start: 'fc.* (2), queue, encoder_k.* (60)'."""
    starts = Counter(x.split(".")[0] + (".*" if "." in x else "") for x in names)
    shown = [f"{x} ({n})" if n > 1 else x for x, n in list(starts.items())[:limit]]
    more = f" and {len(starts) - limit} more" if len(starts) > limit else ""
    return ", ".join(shown) + more
