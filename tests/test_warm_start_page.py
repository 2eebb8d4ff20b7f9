"""The commands of docs/warm_start.md, with two steps and small images."""

import json
import pickle
import re
import shlex

import pytest
import torch
from detectron2.engine import default_argument_parser
from helpers import METHODS, ROOT
from isolation import restored_process
from tool_helpers import load_tool
from torchvision.models import resnet18

from dense_ssl.engine import run
from dense_ssl.reports import comparison_training

PAGE = (ROOT / "docs/warm_start.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
SHORT = [
    "SOLVER.EPOCHS", 0, "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0,
    "SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "SOLVER.IMS_PER_BATCH", 2,
    "SOLVER.AMP.ENABLED", False, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu",
    "VIS_PERIOD", 0, "LOG.REPORT", False,
]  # fmt: skip
PRETRAIN = [
    *SHORT, *METHODS["SCRL"].small, "INPUT.VIEWS.SIZE", (64,), "INPUT.VIEWS.MIN_OVERLAP", 16,
    "GUARDS.MEMORY", 0.0, "MODEL.FPN.OUT_CHANNELS", 16,
]  # fmt: skip
# A learning rate too low to change a number: a detector ends with the kernels that it was given.
DETECT = [
    *SHORT, "SOLVER.BASE_LR", 1e-30, "SOLVER.STEPS", (),
    "TEST.EVAL_EPOCHS", 0, "TEST.BEST_METRIC", "",
    "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64, "MODEL.FPN.OUT_CHANNELS", 16,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
    "TEST.PRECISE_BN.NUM_ITER", 1,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, scenes, monkeypatch):
    """Where the page works: the checkout, a file of torchvision's, photos and an export of them."""
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    torch.manual_seed(5)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    (tmp_path / "images").symlink_to(scenes / "train")
    for split, name in (("train", "train"), ("valid", "val")):
        folder = tmp_path / "export" / split
        folder.mkdir(parents=True)
        for image in (scenes / name).iterdir():
            (folder / image.name).symlink_to(image)
        labels = scenes / f"annotations/instances_{name}.json"
        (folder / "_annotations.coco.json").symlink_to(labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def in_this_process(monkeypatch):
    """Trainings without processes of their own, which tests/tools/test_real_comparison.py has."""

    def train(command, report, log, **options):
        assert command[1].endswith("train_net.py")
        with restored_process():
            run(default_argument_parser().parse_args(command[2:]))
        return 0, ""

    monkeypatch.setattr(comparison_training, "run_training", train)


def arguments(block, folder):
    """The arguments of a command of the page."""
    return shlex.split(block.replace("\\\n", " ").replace("/path/to", str(folder)))[2:]


def kernels(path):
    """One vector of the kernels of the stem and of a block of res4; torchvision's file or ours."""
    if path.suffix == ".pkl":
        state = pickle.loads(path.read_bytes())["model"]
    else:
        state = torch.load(path, weights_only=True)
        state = state.get("model", state)
    names = r"(backbone\.(bottom_up\.)?)?((stem\.)?conv1|(res4|layer3)\.1\.conv2)\.weight"
    found = [torch.as_tensor(x).flatten() for k, x in state.items() if re.fullmatch(names, k)]
    assert len(found) == 2
    return torch.cat(found)


@pytest.mark.usefixtures("restore_catalogs", "restore_process")
def test_a_warm_start(folder):
    words = [*arguments(BLOCKS[0][1], folder), *map(str, PRETRAIN)]
    run(default_argument_parser().parse_args(words))
    out = folder / "output/warm_start"
    ((loaded, count),) = re.findall(r"loaded (\d+) of (\d+)", (out / "log.txt").read_text())
    with open(out / "backbone.pkl", "rb") as file:
        names = [x for x in pickle.load(file)["model"] if "num_batches_tracked" not in x]
    assert int(count) == len(names)
    assert int(count) - int(loaded) == sum("fpn_" in x for x in names) > 0  # the file has no FPN
    start, end = kernels(folder / "resnet18.pth"), kernels(out / "backbone.pkl")
    assert torch.cosine_similarity(start, end, 0) > 0.99 and not torch.equal(start, end)


@pytest.mark.usefixtures("in_this_process", "restore_catalogs")
def test_known_weights_and_a_warm_start_beside_random_ones(folder):
    (kind, yaml), (_, command) = BLOCKS[-2:]
    assert kind == "yaml"
    (folder / "warm.yaml").write_text(yaml)
    words = arguments(command, folder)
    words[words.index("2") : words.index("3") + 1] = []  # one seed
    position = words.index("--protocols")
    words[position:position] = map(str, PRETRAIN)
    assert load_tool("compare").main([*words, *map(str, DETECT)]) == 0

    out = folder / "output/compare_warm_start"
    report = json.loads((out / "comparison.json").read_text())
    assert report["backbones"] == ["random", "pretrained", "imagenet", "warm"]
    ((protocol, metrics),) = report["protocols"].items()
    assert {x["n"] for x in metrics["bbox/AP"].values()} == {1}
    assert len(metrics["bbox/AP"]) == 4
    known = kernels(folder / "resnet18.pth")
    pretrained, warm = (kernels(out / f"pretraining/{x}/seed1/backbone.pkl")
                        for x in ("pretrained", "warm"))  # fmt: skip
    # two steps from the file, and two steps from elsewhere
    assert torch.cosine_similarity(warm, known, 0) > 0.99 and not torch.equal(warm, known)
    assert torch.cosine_similarity(pretrained, known, 0).abs() < 0.2
    detectors = {
        x: kernels(out / protocol / x / "seed1/model_final.pth") for x in report["backbones"]
    }
    for name, given in (("imagenet", known), ("warm", warm), ("pretrained", pretrained)):
        assert torch.equal(detectors[name], given), name
    assert torch.cosine_similarity(detectors["random"], known, 0).abs() < 0.2
