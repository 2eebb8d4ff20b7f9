"""Pre-training that starts from known weights: exactly they, in both networks, and the angle."""

import json
import os

import pytest
import torch
from detectron2.engine import HookBase
from helpers import ROOT, build_trainer
from torchvision.models import resnet18

from dense_ssl.config import load_config
from dense_ssl.engine.motion import WatchBackbone, angle, sample

EXAMPLE = ROOT / "docs" / "examples" / "warm_start.yaml"
STEPS = 20  # the first report


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of torchvision's, with statistics that are not those of a new network."""
    torch.manual_seed(5)
    model = resnet18(weights=None)
    for name, x in model.state_dict().items():
        if "running" in name:
            x.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(model.state_dict(), path)
    return path


def config(folder, output, *options):
    cfg = load_config(str(EXAMPLE), [
        "DATASETS.TRAIN", f"folder:{folder}", "OUTPUT_DIR", str(output), "SEED", 3,
        "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN",
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", STEPS, "SOLVER.WARMUP_ITERS", 2,
        "INPUT.VIEWS.SIZE", (64,), "INPUT.VIEWS.MIN_OVERLAP", 16, "SOLVER.AMP.ENABLED", False,
        "MODEL.SCRL.HIDDEN_DIM", 16, "GUARDS.MEMORY", 0.0, "VIS_PERIOD", 0, *options,
    ])  # fmt: skip
    return cfg


def of_torchvision(weights):
    """{detectron2's name: tensor} of some tensors of every kind and stage."""
    state = torch.load(weights, weights_only=True)
    pairs = {"stem.conv1.weight": "conv1.weight", "stem.conv1.norm.running_var": "bn1.running_var"}
    for stage in range(2, 6):
        theirs, ours = f"layer{stage - 1}.1", f"res{stage}.1"
        pairs[f"{ours}.conv2.weight"] = f"{theirs}.conv2.weight"
        pairs[f"{ours}.conv1.norm.running_mean"] = f"{theirs}.bn1.running_mean"
        pairs[f"{ours}.conv2.norm.weight"] = f"{theirs}.bn2.weight"
        if stage > 2:
            pairs[f"res{stage}.0.shortcut.weight"] = f"layer{stage - 1}.0.downsample.0.weight"
    return {ours: state[theirs] for ours, theirs in pairs.items()}


class Start(HookBase):
    """Keeps both networks as they are right before the first step."""

    def before_train(self):
        model = self.trainer.model
        self.states = [
            {k: x.clone() for k, x in network.state_dict().items()}
            for network in (model.backbone, model.target_backbone)
        ]


def test_both_networks_start_from_the_file_and_the_angle_measures_from_it(
    image_folder, weights, tmp_path
):
    # a rate at which a few steps of LARS show
    cfg = config(image_folder, tmp_path, "MODEL.WEIGHTS", str(weights), "SOLVER.BASE_LR", 10.0)
    trainer = build_trainer(cfg)
    assert trainer.checkpointer.loaded == (0, 0)
    trainer.resume_or_load(resume=False)
    found, needed = trainer.checkpointer.loaded
    assert found == 100  # 20 convolutions, 20 batch norms of 4 tensors
    assert needed == 130  # an FPN of three levels
    start = Start()
    trainer.register_hooks([start])
    trainer.train()
    online, target = start.states
    for name, value in of_torchvision(weights).items():
        assert torch.equal(online[f"bottom_up.{name}"], value), name
        assert torch.equal(target[f"bottom_up.{name}"], value), name
    assert online.keys() == target.keys()
    assert all(torch.equal(online[name], target[name]) for name in online)
    # what the log calls the start is the file
    hook = next(x for x in trainer._hooks if isinstance(x, WatchBackbone))
    (stem,) = hook.start["stem"]
    assert torch.equal(stem, sample([of_torchvision(weights)["stem.conv1.weight"]])[0])
    now = {k: sample(x) for k, x in hook.stages.items()}
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
        logged = {k: v for line in file for k, v in json.loads(line).items()}
    for stage in ("stem", "res2", "res5"):
        name = f"backbone/{stage}_angle"
        assert logged[name] == pytest.approx(angle(hook.start[stage], now[stage]).item(), rel=1e-3)
        assert 0 < logged[name] < 30


def test_the_example_is_the_recipe_with_a_lower_rate():
    example = load_config(str(EXAMPLE))
    recipe = load_config(str(ROOT / "configs/small/pretrain/300/scrl.yaml"))
    assert example.SOLVER.BASE_LR == pytest.approx(recipe.SOLVER.BASE_LR / 10)
    shares = [x.SOLVER.WARMUP_EPOCHS / x.SOLVER.EPOCHS for x in (example, recipe)]
    assert shares[0] == 2 * shares[1]
    assert example.MODEL.SSL.MOMENTUM.BASE > recipe.MODEL.SSL.MOMENTUM.BASE
    assert example.MODEL.RESNETS == recipe.MODEL.RESNETS and example.INPUT == recipe.INPUT
