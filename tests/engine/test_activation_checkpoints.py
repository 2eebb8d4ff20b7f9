"""Activation checkpointing changes the memory of a step, and nothing else."""

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, METHODS, TINY, batch_for, needs, tiny_config
from recorded_run import recorded_run

from dense_ssl.engine import Trainer
from dense_ssl.modeling.activation_checkpoints import checkpointed_blocks, is_checkpointed

ON = ("MODEL.SSL.CHECKPOINT_ACTIVATIONS", True)


def build(method, folder, *options):
    return Trainer.build_model(tiny_config(method, folder, folder, *options)).train()


def step(model, batch, precision=None):
    """Losses, gradients and buffers of a step."""
    with EventStorage(), torch.autocast("cpu", precision, enabled=precision is not None):
        torch.manual_seed(0)
        losses = model(batch)
        sum(losses.values()).backward()
    gradients = {k: x.grad for k, x in model.named_parameters() if x.grad is not None}
    return losses, gradients, dict(model.named_buffers())


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_the_same(tmp_path, method, precision):
    plain, changed = build(method, tmp_path), build(method, tmp_path, *ON)
    changed.load_state_dict(plain.state_dict())
    assert all(map(is_checkpointed, checkpointed_blocks(changed.backbone)))
    batch = batch_for(method, 4)
    for expected, found in zip(*(step(x, batch, precision) for x in (plain, changed))):
        assert expected.keys() == found.keys()
        for key, x in expected.items():
            assert torch.equal(x, found[key]), key


@pytest.mark.parametrize("name", ["build_resnet_fpn_backbone", "build_resnet_backbone"])
def test_statistics_move_once_for_each_view(tmp_path, name):
    options = ("MODEL.BACKBONE.NAME", name, "MODEL.FPN.IN_FEATURES", ["res5"])
    model = build("BYOL", tmp_path, *options, *ON)
    step(model, batch_for("BYOL", 4))
    buffers = model.backbone.named_buffers()
    assert {int(x) for k, x in buffers if k.endswith("num_batches_tracked")} == {2}


def test_a_copy_is_independent(tmp_path):
    model = build("BYOL", tmp_path, *ON)
    other = copy.deepcopy(model)
    assert all(map(is_checkpointed, checkpointed_blocks(other.backbone)))
    with torch.no_grad():
        for x in other.backbone.parameters():
            x.zero_()
    images = torch.rand(2, 3, 64, 64)
    (found,) = other.eval().backbone(images).values()
    (expected,) = model.eval().backbone(images).values()
    assert found.abs().max() == 0 < expected.abs().max()


def test_the_target_and_evaluation_are_left_alone(tmp_path):
    model = build("BYOL", tmp_path, *ON)
    assert not any(map(is_checkpointed, checkpointed_blocks(model.target_backbone)))
    plain = build("BYOL", tmp_path)
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    for one, other in zip(*(x.eval().backbone(images).values() for x in (plain, model))):
        assert torch.equal(one, other)


def test_other_backbones_say_what_to_do(tmp_path):
    options = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME", "mobilenetv2_035")
    with pytest.raises(ValueError, match="CHECKPOINT_ACTIVATIONS is True, but"):
        build("BYOL", tmp_path, *options, *ON)


def test_two_processes(process_pool, image_folder, tmp_path):
    pairs = [*TINY, *needs("BYOL"), "MODEL.META_ARCHITECTURE", "BYOL",
             "MODEL.RESNETS.NORM", "SyncBN", "MODEL.SSL.HEAD_NORM", "SyncBN",
             "DATASETS.TRAIN", (f"folder:{image_folder}",), "SOLVER.MAX_ITER", 3]  # fmt: skip
    results = []
    for value in (False, True):
        options = [*pairs, ON[0], value, "OUTPUT_DIR", tmp_path / str(value)]
        found = process_pool.run(recorded_run, str(CONFIGS / "Base-Pretrain.yaml"),
                                 [str(x) for x in options])[0]  # fmt: skip
        results.append(found)
    one, other = results
    assert one["losses"] == other["losses"]
    assert all(torch.equal(x, other["model"][k]) for k, x in one["model"].items())
