"""Every block of docs/predict.md runs, in a folder that has what it names."""

import re
import shlex

import cv2
import numpy as np
import pytest
import torch
from dataset_files import make_coco, make_voc
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from helpers import CONFIGS, ROOT, base_config, photo, tiny_config
from tool_helpers import load_tool

from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.stock import stock_keys, stock_yaml

PAGE = (ROOT / "docs/predict.md").read_text()
COMMANDS = re.findall(r"^python tools/.*$", PAGE, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
BASE = ["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
        "MODEL.ROI_HEADS.NUM_CLASSES", 2, "DATASETS.TRAIN", (), "DATASETS.TEST", ()]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch, restore_catalogs):
    """The working folder, with a detector, a backbone, photos and labels."""
    detector = base_config()
    yaml = "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml"
    detector.merge_from_file(str(CONFIGS / yaml))
    detector.merge_from_list(BASE)
    backbone = tiny_config("BYOL", "unused", "")
    for name, cfg in (("my_detector", detector), ("my_scrl", backbone)):
        run = tmp_path / "output" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(cfg.dump())
        Checkpointer(build_model(cfg), str(run), settings=backbone_settings(cfg),
                     labels={"thing_classes": ["cat", "dog"]}, stock=stock_yaml(stock_keys(cfg)),
                     ).save("model_final")  # fmt: skip
    make_coco(tmp_path)
    (tmp_path / "images").rename(tmp_path / "photos")
    (tmp_path / "a.json").rename(tmp_path / "labels.json")
    box = ("cat", "<difficult>0</difficult>", 2, 3, 20, 25)
    make_voc(tmp_path, {"1": [box], "2": [box]}, "test").rename(tmp_path / "BCCD")
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo(np.random.default_rng(0), 80, 60))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(folder, command):
    program, tool, *arguments = shlex.split(command)
    assert program == "python"
    assert load_tool(tool[len("tools/") : -len(".py")]).main(arguments) == 0
    assert list((folder / arguments[arguments.index("--output") + 1]).iterdir())


@pytest.mark.parametrize("block", PYTHON)
def test_a_block_of_python(folder, block):
    torch.manual_seed(0)
    names = {"cfg": get_cfg(), "model_zoo": model_zoo}
    exec(compile(block, "docs/predict.md", "exec"), names)
    if "metadata" in names:
        assert names["metadata"].thing_classes == ["cat", "dog"]
    if "instances" in names:
        assert names["instances"].image_size == (60, 80)
    elif "model_zoo" in block:
        assert names["cfg"].MODEL.RESNETS.STEM_OUT_CHANNELS == 8  # of the tiny network


def test_there_are_blocks_of_each_kind():
    assert len(COMMANDS) == 4 and len(PYTHON) == 3
