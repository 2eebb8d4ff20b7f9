"""The log of how far the backbone has turned, and the warnings at the end of a run."""

import json
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_backbone
from helpers import TINY, base_config, build_trainer, recorded_log, tiny_config
from torch import nn

from dense_ssl.engine import motion
from dense_ssl.engine.motion import WatchBackbone, angle, growth, sample, stages_of

FPN = (
    "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"], "MODEL.FPN.OUT_CHANNELS", 8,
)  # fmt: skip


def backbone(*options):
    return build_backbone(base_config(*TINY, "MODEL.BACKBONE.FREEZE_AT", 0, *options))


def test_stages_of_a_resnet_and_of_an_fpn():
    stages = ["stem", "res2", "res3", "res4", "res5"]
    options = ("MODEL.RESNETS.OUT_FEATURES", ["res5"])
    assert sorted(stages_of(backbone(*options))) == sorted(stages)
    assert sorted(stages_of(backbone(*FPN))) == sorted([*stages, "fpn"])


def test_stages_of_a_network_that_keeps_them_in_a_list():
    stages = nn.ModuleDict({"stages": nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])})
    network = nn.ModuleDict({"network": nn.ModuleDict({"stem": nn.Linear(2, 2), **stages})})
    assert {k: len(x) for k, x in stages_of(network).items()} == {
        "stem": 1, "stages.0": 1, "stages.1": 1}  # fmt: skip


def test_weights_that_begin_at_zero_have_no_direction():
    network = nn.ModuleDict({"res2": nn.Linear(2, 3), "res3": nn.Linear(3, 4)})
    network["res3"].table = nn.Parameter(torch.zeros(3, 3))
    assert {k: len(x) for k, x in stages_of(network).items()} == {"res2": 1, "res3": 1}


def test_angle_and_growth_are_those_of_the_weights():
    first, second = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert angle(sample([first]), sample([second])).item() == pytest.approx(90)
    assert growth(sample([first]), sample([second])).item() == pytest.approx(2 / 3)
    assert angle(sample([first]), sample([5 * first])).item() == pytest.approx(0, abs=1e-4)
    # of a large layer some numbers are enough, and always the same
    large = torch.randn(600, 600, generator=torch.Generator().manual_seed(0))
    other = large + 0.5 * torch.randn(600, 600, generator=torch.Generator().manual_seed(1))
    exact = math.degrees(math.acos(torch.cosine_similarity(large.flatten(), other.flatten(), 0)))
    assert len(sample([large])[0]) <= 16384
    assert angle(sample([large]), sample([other])).item() == pytest.approx(exact, rel=0.03)


def run_with(change, min_angle=5.0, max_growth=1.2):
    """The warnings of a run in which ``change`` alters the weights."""
    layer = nn.ModuleDict({"res2": nn.Linear(50, 50), "res3": nn.Linear(50, 50)})
    hook = WatchBackbone(layer, min_angle, max_growth)
    hook.trainer = SimpleNamespace(start_iter=0, iter=7, max_iter=7)
    with recorded_log(motion.__name__, logging.WARNING) as messages:
        hook.before_train()
        with torch.no_grad():
            for x in layer.parameters():
                change(x)
        hook.after_train()
    return messages


def test_a_backbone_that_has_hardly_turned_is_reported():
    (message,) = run_with(lambda x: x.add_(0.001 * torch.randn_like(x)))
    assert "MODEL.SSL.MIN_ANGLE" in message and "SOLVER.BASE_LR" in message


def test_weights_that_have_grown_are_reported():
    messages = run_with(lambda x: x.mul_(1.3))
    assert not run_with(lambda x: x.mul_(1.3), max_growth=0, min_angle=0)
    assert len(messages) == 2 and "1.30" in messages[1] and "SOLVER.BASE_LR" in messages[1]


def test_a_run_that_has_learned_is_not():
    assert not run_with(lambda x: x.add_(0.3 * x.std() * torch.randn_like(x)))


def test_the_log_of_a_run_and_of_a_resumed_one(image_folder, tmp_path):
    options = ("SOLVER.MAX_ITER", 40, "SOLVER.CHECKPOINT_PERIOD", 30, "SOLVER.BASE_LR", 0.5)
    cfg = tiny_config("BYOL", image_folder, tmp_path / "whole", *options)
    trainer = build_trainer(cfg)
    start = [x.detach().clone() for x in stages_of(trainer.model.backbone)["res4"]]
    trainer.train()
    rows = [json.loads(x) for x in (tmp_path / "whole/metrics.json").read_text().splitlines()]
    logged = [x for x in rows if "backbone/res4_angle" in x]
    assert [x["iteration"] for x in logged] == [19, 39]
    now = stages_of(trainer.model.backbone)["res4"]
    expected = [
        math.degrees(math.acos(torch.cosine_similarity(a.flatten(), b.flatten(), 0).item()))
        for a, b in zip(start, now)
    ]
    assert logged[1]["backbone/res4_angle"] == pytest.approx(sum(expected) / len(now), rel=0.01)
    assert 0 < logged[0]["backbone/res4_step"] < 0.1 < logged[0]["backbone/res4_angle"]

    cfg.defrost()
    cfg.OUTPUT_DIR = str(tmp_path / "resumed")
    (tmp_path / "resumed").mkdir()
    (tmp_path / "whole/model_0000029.pth").rename(tmp_path / "resumed/model_0000029.pth")
    (tmp_path / "resumed/last_checkpoint").write_text("model_0000029.pth")
    resumed = build_trainer(cfg)
    resumed.resume_or_load(resume=True)
    resumed.train()
    rows = (tmp_path / "resumed/metrics.json").read_text().splitlines()
    again = json.loads(rows[-1])
    assert again["backbone/res4_angle"] == pytest.approx(logged[1]["backbone/res4_angle"])
