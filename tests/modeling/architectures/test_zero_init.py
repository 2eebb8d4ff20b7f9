"""Residual blocks that start as their shortcut."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import CNNBlockBase
from helpers import CONFIGS, load_config, tiny_config

PYRAMID = (
    "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"], "MODEL.FPN.OUT_CHANNELS", 8,
    "MODEL.BYOL.IN_FEATURE", "p5",
)  # fmt: skip
SMALL = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
         "MODEL.RESNETS.STEM_OUT_CHANNELS", 64)  # fmt: skip
ZERO = ("MODEL.RESNETS.ZERO_INIT_RESIDUAL", True)


def build(*options):
    torch.manual_seed(0)
    return build_model(tiny_config("BYOL", "unused", "unused", *options))


def residual_blocks(encoder):
    """Residual blocks of an encoder; a stem is a block of detectron2's too."""
    return [x for x in encoder.modules() if isinstance(x, CNNBlockBase) and hasattr(x, "shortcut")]


def is_shortcut(block):
    """Does a block give the ReLU of its shortcut, for any input?"""
    x = torch.randn(3, block.in_channels, 8, 8)
    expected = x if block.shortcut is None else block.shortcut(x)
    return torch.allclose(block(x), expected.relu(), atol=1e-6)


@pytest.mark.parametrize("options", [(), SMALL, PYRAMID, ("MODEL.RESNETS.NORM", "GN",
                                     "MODEL.RESNETS.WIDTH_PER_GROUP", 32,
                                     "MODEL.RESNETS.RES2_OUT_CHANNELS", 32,
                                     "MODEL.RESNETS.STEM_OUT_CHANNELS", 32)])  # fmt: skip
def test_each_block_starts_as_its_shortcut(options):
    model = build(*ZERO, *options)
    for encoder in (model.backbone, model.target_backbone):
        blocks = residual_blocks(encoder)
        assert len(blocks) == (8 if options == SMALL else 16) and all(map(is_shortcut, blocks))
    plain = build(*options)
    assert not any(map(is_shortcut, residual_blocks(plain.backbone)))


def test_blocks_leave_their_shortcut_after_a_step():
    model = build(*ZERO)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.backbone(torch.randn(4, 3, 64, 64))["res5"].square().mean().backward()
    optimizer.step()
    assert not any(map(is_shortcut, residual_blocks(model.backbone)))


def test_the_other_numbers_are_those_without_the_key():
    zero, plain = build(*ZERO).state_dict(), build().state_dict()
    changed = {name for name in plain if not torch.equal(zero[name], plain[name])}
    assert all(name.endswith("conv3.norm.weight") for name in changed) and len(changed) == 2 * 16
    assert all(torch.count_nonzero(zero[name]) == 0 for name in changed)


def test_blocks_without_norm_layers_are_refused():
    with pytest.raises(ValueError, match="ZERO_INIT_RESIDUAL.*MODEL.RESNETS.NORM"):
        build(*ZERO, "MODEL.RESNETS.NORM", "")


def test_byols_own_recipes_start_like_this_and_a_baseline_like_its_method():
    """Self-EMD, SCRL and LC-loss are compared with a BYOL that differs in the method alone."""
    own = {"byol_R_50_imagenet", "byol_R_50_imagenet_1000ep"}
    for path in (CONFIGS / "pretrain").glob("*.yaml"):
        if path.stem.startswith(("byol", "scrl", "self_emd", "lc_loss")):
            assert load_config(path).MODEL.RESNETS.ZERO_INIT_RESIDUAL == (path.stem in own)


def test_timms_resnets_start_like_this_by_themselves():
    pytest.importorskip("timm")
    from dense_ssl.modeling.architectures.timm_network import create_network

    for arguments, zero in (((), True), (("zero_init_last=False",), False)):
        network = create_network("resnet18", ["res5"], arguments=arguments)
        scales = [x for name, x in network.named_parameters() if name.endswith("bn2.weight")]
        assert len(scales) == 8 and all((x == 0).all().item() == zero for x in scales)
