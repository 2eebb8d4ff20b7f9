"""The ResNet that tensors belong to: its config keys, from names and shapes alone."""

import re

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone

from .reading import CheckpointError
from .settings import NORM

_DEPTHS = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
_LATERAL = re.compile(r"fpn_lateral(\d)\.weight")


def architecture(weights):
    """Return the config keys of the backbone that has these tensors.

    Args:
        weights: {detectron2 name: tensor} of a ResNet, or of a ResNet and its FPN.

    Returns:
        {config key: value}: depth, widths, groups; with an FPN its builder, maps and width.

    Raises:
        CheckpointError: detectron2 has no ResNet with these stages, or a first layer is missing.
    """
    stages = [{x.split(".")[1] for x in weights if x.startswith(f"res{i}.")} for i in range(2, 6)]
    blocks = tuple(map(len, stages))
    kind = "bottleneck" if "res2.0.conv3.weight" in weights else "basic"
    if (kind, blocks) not in _DEPTHS:
        known = ", ".join(f"{blocks} {kind} ({d})" for (kind, blocks), d in _DEPTHS.items())
        raise CheckpointError(
            f"Its stages have {blocks} {kind} blocks; detectron2's ResNets have {known}."
        )
    keys = {
        "MODEL.RESNETS.DEPTH": _DEPTHS[kind, blocks],
        "MODEL.RESNETS.STEM_OUT_CHANNELS": _shape(weights, "stem.conv1.weight")[0],
    }
    middle = _shape(weights, "res2.0.conv2.weight")
    if kind == "basic":  # of a fixed width
        keys.update({"MODEL.RESNETS.STEM_OUT_CHANNELS": 64, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64})
    else:
        keys["MODEL.RESNETS.RES2_OUT_CHANNELS"] = _shape(weights, "res2.0.conv3.weight")[0]
        # a grouped convolution sees only the channels of its group
        keys["MODEL.RESNETS.NUM_GROUPS"] = middle[0] // middle[1]
        keys["MODEL.RESNETS.WIDTH_PER_GROUP"] = middle[1]
    return {**keys, **_fpn(weights)}


def _shape(weights, name):
    if name not in weights:
        raise CheckpointError(f"It has no {name}: the network is not complete.")
    return tuple(weights[name].shape)


def _fpn(weights):
    levels = sorted(int(x[1]) for x in map(_LATERAL.fullmatch, weights) if x)
    if not levels:
        return {}
    maps = [f"res{i}" for i in levels]
    builder = "retinanet_resnet_fpn" if "top_block.p6.weight" in weights else "resnet_fpn"
    return {
        "MODEL.BACKBONE.NAME": f"build_{builder}_backbone",
        "MODEL.RESNETS.OUT_FEATURES": maps,
        "MODEL.FPN.IN_FEATURES": maps,
        "MODEL.FPN.OUT_CHANNELS": _shape(weights, f"fpn_lateral{levels[0]}.weight")[0],
    }


def norms_of(weights, batch_norm):
    """Return {config key: kind of normalisation}.

    Args:
        weights: {detectron2 name: tensor}.
        batch_norm: what to call layers with running statistics: "BN", "FrozenBN".
    """
    starts = {NORM: "stem.conv1"}
    lateral = [x for x in weights if x.startswith("fpn_lateral")]
    if lateral:
        starts["MODEL.FPN.NORM"] = lateral[0].split(".")[0]
    kinds = {}
    for key, start in starts.items():
        with_statistics = batch_norm if f"{start}.norm.running_mean" in weights else "GN"
        kinds[key] = with_statistics if f"{start}.norm.weight" in weights else ""
    return kinds


def build(keys):
    """Return (detectron2's backbone on the CPU, randomly initialised; its cfg).

    Args:
        keys: {config key: value}, from :func:`architecture` and settings.
    """
    cfg = get_cfg()
    cfg.merge_from_list([x for pair in keys.items() for x in pair])
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    if "MODEL.RESNETS.OUT_FEATURES" not in keys:
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    return build_backbone(cfg, ShapeSpec(channels=3)), cfg


def differences(weights, keys):
    """Return lines on how tensors differ from detectron2's backbone of ``keys``; [] if they fit."""
    state = build(keys)[0].state_dict()
    expected = {
        name.replace("bottom_up.", "", 1): tuple(x.shape)
        for name, x in state.items()
        if not name.endswith("num_batches_tracked")
    }
    missing = [x for x in expected if x not in weights]
    unexpected = [x for x in weights if x not in expected]
    lines = [f"missing: {len(missing)} ({', '.join(missing[:8])})"] if missing else []
    lines += [f"unexpected: {len(unexpected)} ({', '.join(unexpected[:8])})"] if unexpected else []
    for name, shape in expected.items():
        if name in weights and tuple(weights[name].shape) != shape:
            lines.append(f"{name} is {tuple(weights[name].shape)}, detectron2's is {shape}")
    return lines
