"""Which parameters of transformers and networks of timm the weight decay spares."""

import pytest
from backbone_kinds import KINDS, options
from detectron2.modeling import build_backbone
from helpers import base_config
from torch import nn

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.solver import build_optimizer


def decays(kind, *more):
    """({name of a parameter: its weight decay}, the network)."""
    cfg = base_config(
        "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "BYOL", "MODEL.BACKBONE.FREEZE_AT", 0,
        *options(kind), "SOLVER.WEIGHT_DECAY", 0.05, *more,
    )  # fmt: skip
    model = build_backbone(cfg)
    groups = build_optimizer(cfg, model).param_groups
    found = {id(x): group["weight_decay"] for group in groups for x in group["params"]}
    assert len(found) == sum(x.requires_grad for x in model.parameters())
    return {name: found[id(x)] for name, x in model.named_parameters()}, model


@pytest.mark.parametrize("kind, optimizer", [
    ("convnext", "AdamW"), ("timm_swin", "AdamW"), ("vit", "AdamW"), ("mobilenet", "LARS"),
])  # fmt: skip
def test_only_weights_of_layers_decay(kind, optimizer):
    if kind not in KINDS:
        pytest.skip(f"this detectron2 has no {kind}")
    found, model = decays(kind, "SOLVER.OPTIMIZER", optimizer)
    layers = (nn.Conv2d, nn.Linear)
    weights = {f"{name}.weight" for name, x in model.named_modules() if isinstance(x, layers)}
    assert {name for name, value in found.items() if value == 0.05} == weights
    assert {value for name, value in found.items() if name not in weights} == {0.0}


@pytest.mark.parametrize("kind, names", [
    ("convnext", ["body.stages_0.blocks.0.gamma", "out_norms.res5.weight"]),
    ("timm_swin", ["body.layers_0.blocks.0.attn.relative_position_bias_table"]),
    ("vit", ["pos_embed", "blocks.1.attn.rel_pos_h", "blocks.1.attn.rel_pos_w"]),
])  # fmt: skip
def test_positions_and_scales_do_not(kind, names):
    if kind not in KINDS:
        pytest.skip(f"this detectron2 has no {kind}")
    found, _ = decays(kind, "SOLVER.OPTIMIZER", "AdamW")
    assert [found[x] for x in names] == [0.0] * len(names)


@pytest.mark.parametrize("kind", ["convnext", "timm_swin", "mobilenet", "timm_regnet"])
def test_sgd_knows_the_norms_of_timm(kind):
    found, model = decays(kind, "SOLVER.OPTIMIZER", "SGD", "SOLVER.WEIGHT_DECAY_NORM", 0.25)
    norms = {f"{name}.{key}" for name, x in model.named_modules() if "Norm" in type(x).__name__
             for key, _ in x.named_parameters(recurse=False)}  # fmt: skip
    assert len(norms) > 10
    assert {name for name, value in found.items() if value == 0.25} == norms
