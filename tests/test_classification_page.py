"""Every command of docs/classification.md runs, on tiny data; its table has every option."""

import json
import re
import shlex
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from dataset_files import make_voc
from detectron2.engine import default_argument_parser
from helpers import ROOT, TINY, tiny_config
from tool_helpers import load_tool, save_run

from dense_ssl.analysis.image_classification import ImageClassification
from dense_ssl.analysis.registry import all_analyses, flag
from dense_ssl.engine import run

pytest.importorskip("sklearn")
PAGE = (ROOT / "docs/classification.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python .*$", PAGE, re.MULTILINE)
ANALYSES = {k: x for k, x in all_analyses().items() if issubclass(x, ImageClassification)}
# what makes each analysis and each protocol small
SMALL = {"svm": ["--costs", "0.1,1"], "fewshot": ["--queries", "3", "--episodes", "5"]}
NETWORK = [str(x) for x in TINY[: TINY.index("MODEL.SSL.HEAD_NORM")]]
TRAINING = ["MODEL.IMAGE_CLASSIFIER.NORM", "", "INPUT.MIN_SIZE_TRAIN", "(64,)",
            "INPUT.MIN_SIZE_TEST", "72", "SOLVER.EPOCHS", "0", "SOLVER.MAX_ITER", "2",
            "SOLVER.IMS_PER_BATCH", "4", "SOLVER.BASE_LR", "0.01", "DATALOADER.NUM_WORKERS", "0",
            "TEST.EVAL_EPOCHS", "0", "TEST.PRECISE_BN.NUM_ITER", "1", "LOG.REPORT", "False",
            "SEED", "1", *NETWORK]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The working folder: two pre-trainings, folders of classes, a VOC folder."""
    folder = tmp_path_factory.mktemp("classification")
    torch.manual_seed(0)
    for name in ("SCRL", "BYOL"):
        cfg = tiny_config(name, "unused", "", "MODEL.RESNETS.OUT_FEATURES", ["res5"])
        save_run(folder / "output" / f"my_{name.lower()}", cfg)
    rng = np.random.default_rng(0)
    for part in ("imagenet/train", "imagenet/val", "photos/train", "photos/test",
                 "places365/train", "places365/val", "eurosat"):  # fmt: skip
        for name in "abcde":
            (folder / part / name).mkdir(parents=True)
            for i in range(8 if part == "eurosat" else 2):
                image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / part / name / f"{i}.png"), image)
    cat, dog = (("" + x, "<difficult>0</difficult>", 3, 3, 30, 28) for x in ("cat", "dog"))
    root = make_voc(folder, {"1": [cat], "2": [dog], "3": [cat], "4": [dog]}, "trainval")
    for split in ("trainval", "test"):
        (root / f"ImageSets/Main/{split}.txt").write_text("1\n2\n3\n4\n")
    for i in range(1, 5):
        image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"JPEGImages/{i}.jpg"), image)
    root.rename(folder / "VOC2007")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(made, monkeypatch, restore_catalogs, command, tmp_path):
    monkeypatch.chdir(made)
    program, tool, *arguments = shlex.split(command)
    assert program == "python"
    if tool == "train_net.py":
        _train(arguments, tmp_path)
        return
    assert tool == "tools/analyze.py"
    name, place = arguments[0], arguments.index("--output") + 1
    arguments[place] = str(tmp_path)
    arguments += [*SMALL.get(name, []), "--side", "64", "--norm-images", "2"]
    assert load_tool("analyze").main(arguments) == 0
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert list(record["results"]) == ["scrl", "byol", "random"]
    number = next(iter(ANALYSES[name](**record["options"]).panels))
    levels = record["results"]["scrl"]
    assert all(0 <= x[number] <= 100.001 for x in levels.values())
    if "--levels" in arguments:
        assert [x.partition(":")[0] for x in levels] == ["stem", "res2", "res3", "res4", "res5"]
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


def _train(arguments, output):
    place = arguments.index("--config-file") + 1
    arguments[place] = str(ROOT / arguments[place])
    if "--num-gpus" in arguments:
        arguments[arguments.index("--num-gpus") + 1] = "1"
    small = [*TRAINING, "OUTPUT_DIR", str(output)]
    run(default_argument_parser().parse_args([*arguments, *small]))
    last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    found = {k.partition("/")[0]: x for k, x in last.items() if k.endswith("/top1_accuracy")}
    assert all(0 <= x <= 100 for x in found.values())
    assert set(found) == {
        "imagenet": {"image"},
        "places365": {"image_stem", "image_res2", "image_res3", "image_res4", "image_res5_2",
                      "image_res5_all"},
        "linear": {"image_res3", "image_res4", "image_res5"},
    }[re.split("[_.]", arguments[place].rpartition("/")[2])[0]]  # fmt: skip


def test_the_page_has_every_analysis_and_every_option():
    assert {shlex.split(x)[2] for x in COMMANDS if "analyze.py" in x} == set(ANALYSES)
    for kind in ANALYSES.values():
        for item in fields(kind.Options):
            assert re.search(rf"^\|.*`--{flag(item.name)}`", PAGE, re.MULTILINE), item.name
    names = {x.stem for x in (ROOT / "configs/finetune/Image-Classification").glob("*.yaml")}
    assert set(re.findall(r"^\| `([a-z0-9]+_[a-z]+_R_50)` \|", PAGE, re.MULTILINE)) == names
