"""The Python API: its page, line by line, and what it shares with train_net.py."""

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from dataset_files import make_voc
from detectron2.data import DatasetCatalog, MetadataCatalog
from helpers import CONFIGS, ROOT, photo
from PIL import Image

import dense_ssl
from dense_ssl import api
from dense_ssl.config import lookup
from dense_ssl.engine import run

QUICK = {
    "SOLVER.EPOCHS": 0, "SOLVER.WARMUP_EPOCHS": 0, "SOLVER.CHECKPOINT_EPOCHS": 0,
    "SOLVER.MAX_ITER": 2, "SOLVER.WARMUP_ITERS": 1, "SOLVER.STEPS": (), "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.AMP.ENABLED": False, "DATALOADER.NUM_WORKERS": 0, "SEED": 1, "MODEL.DEVICE": "cpu",
    "TEST.PRECISE_BN.NUM_ITER": 1, "TEST.EVAL_EPOCHS": 1, "INPUT.VIEWS.SIZE": (64,),
    "INPUT.MIN_SIZE_TRAIN": (64,), "INPUT.MIN_SIZE_TEST": 64, "VIS_PERIOD": 0,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0, "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("restore_catalogs", "restore_process")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with BCCD/, photos of three classes in VOC's layout."""
    path, rng = tmp_path_factory.mktemp("notebook"), np.random.default_rng(0)
    for split, ids in (("test", "56"), ("trainval", "1234")):
        boxes = [(name, "", 4, 4, 40, 40) for name in ("RBC", "WBC", "Platelets")]
        root = make_voc(path, {x: boxes for x in ids}, split, "")
        for x in ids:
            Image.fromarray(photo(rng, 90, 70)).save(root / "JPEGImages" / f"{x}.jpg")
    shutil.move(root, path / "BCCD")
    return path


@pytest.fixture(scope="module")
def journey(folder):
    """The names that the lines of docs/python.md leave behind, run with a few steps."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for catalog in (DatasetCatalog, MetadataCatalog):  # "BCCD" is another folder elsewhere
            patch.setattr(catalog, "data", dict(catalog.data))
        plain = lookup.as_options
        for module in (api, lookup):
            patch.setattr(module, "as_options", lambda x: plain({**QUICK, **(x or {})}))
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_the_ten_lines_of_the_page(journey, folder):
    assert journey["weights"] == "output/scrl/backbone.pkl"
    shapes = {k: tuple(x.shape) for k, x in journey["maps"].items()}
    pyramid = {f"p{i}": (2, 256, n, n) for i, n in ((3, 28), (4, 14), (5, 7), (6, 4))}
    below = {f"res{i}": (2, 2 ** (i + 4), n, n) for i, n in ((3, 28), (4, 14), (5, 7))}
    assert shapes == {**pyramid, **below}
    assert not journey["maps"]["p3"].requires_grad
    assert journey["detector"] == "output/cells/model_final.pth"
    assert (folder / journey["detector"]).is_file() and (folder / journey["weights"]).is_file()
    assert {"AP", "AP50", "AP-RBC", "AP-WBC", "AP-Platelets"} <= set(journey["scores"]["bbox"])
    instances = journey["predictions"]["instances"]
    assert instances.image_size == (70, 90) and instances.has("pred_boxes") and len(instances) > 0
    config = yaml.unsafe_load((folder / "output/cells/config.yaml").read_text())
    assert config["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 3


def test_each_run_has_its_own_log(journey, folder):
    first, second = ((folder / f"output/{x}/log.txt").read_text() for x in ("scrl", "cells"))
    assert "loss_scrl" in first and "loss_rpn_cls" not in first
    assert "loss_rpn_cls" in second and "loss_scrl" not in second
    assert first.count("Starting training from iteration 0") == 1
    assert second.count("Starting training from iteration 0") == 1
    for name in ("dense_ssl", "detectron2", "fvcore"):
        assert not any("output/" in getattr(getattr(x, "stream", None), "name", "")
                       for x in logging.getLogger(name).handlers)  # fmt: skip


def test_the_command_line_gives_the_same_weights(journey, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    pairs = {**QUICK, "DATASETS.TRAIN": "folder:BCCD/JPEGImages", "OUTPUT_DIR": str(tmp_path)}
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file",
               str(CONFIGS / "small/pretrain/300/scrl.yaml")]  # fmt: skip
    command += [str(x) for pair in pairs.items() for x in pair]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    ours, theirs = (torch.load(x / "model_final.pth", weights_only=False)["model"]
                    for x in (tmp_path, folder / "output/scrl"))  # fmt: skip
    assert all(torch.equal(ours[key], x) for key, x in theirs.items())


def test_the_backbone_has_the_weights_and_the_colours(journey, folder):
    backbone = journey["backbone"]
    saved = torch.load(folder / "output/scrl/model_final.pth", weights_only=False)["model"]
    for name, tensor in backbone.backbone.state_dict().items():
        if not name.endswith("num_batches_tracked"):  # not in backbone.pkl
            assert torch.equal(tensor, saved[f"backbone.{name}"]), name
    file = folder / "BCCD/JPEGImages/1.jpg"
    image = Image.open(file)
    array = np.asarray(image)
    maps = [backbone(x)["p3"] for x in (str(file), file, image, array)]
    assert all(torch.equal(x, maps[0]) for x in maps)
    pixels = torch.from_numpy(array.copy()).permute(2, 0, 1).float()

    node = backbone.cfg.MODEL
    mean, std = (torch.tensor(x)[:, None, None] for x in (node.PIXEL_MEAN, node.PIXEL_STD))
    assert backbone.cfg.INPUT.FORMAT == "RGB"
    with torch.no_grad():
        padded = torch.nn.functional.pad((pixels - mean) / std, (0, 6, 0, 26))  # 96 x 96
        expected = backbone.backbone(padded[None])["p3"]
    torch.testing.assert_close(maps[0], expected)


def test_a_bgr_model_gets_bgr(journey):
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    from dense_ssl.prediction.models import as_tensor

    assert as_tensor(array, "BGR")[:, 0, 0].tolist() == [2, 1, 0]
    assert as_tensor(array, "RGB")[:, 0, 0].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"uint8 \(height, width, 3\) in RGB, not float64"):
        as_tensor(array.astype(float), "RGB")


def test_weights_alone_need_a_config(journey, folder, tmp_path):
    shutil.copy(folder / "output/scrl/backbone.pkl", tmp_path)
    with pytest.raises(FileNotFoundError, match="no config.yaml beside .*second argument"):
        dense_ssl.load_backbone(tmp_path / "backbone.pkl")
    loaded = dense_ssl.load_backbone(tmp_path / "backbone.pkl", "small/pretrain/300/scrl",
                                     {"MODEL.DEVICE": "cpu"})  # fmt: skip
    target = journey["backbone"].state_dict()
    assert all(torch.equal(x, target[name]) for name, x in loaded.state_dict().items())
    with pytest.raises(ValueError, match="of a pre-training"):
        dense_ssl.load_detector(folder / "output/scrl")


def test_names_of_configs():
    cfg = dense_ssl.get_config("mini/pretrain/scrl_R_18", {"DATASETS.TRAIN": "folder:a"})
    assert tuple(cfg.DATASETS.TRAIN) == ("folder:a",) and cfg.MODEL.META_ARCHITECTURE == "SCRL"
    path = CONFIGS / "mini/pretrain/scrl_R_18.yaml"
    for name in ("mini/pretrain/scrl_R_18.yaml", str(path), path):
        assert dense_ssl.get_config(name, {"DATASETS.TRAIN": "folder:a"}) == cfg
    changed = dense_ssl.get_config(cfg, {"SEED": 5})
    assert (changed.SEED, cfg.SEED) == (5, -1)
    with pytest.raises(FileNotFoundError, match="no config 'scrl_R_81'.*mini/pretrain/scrl_R_18"):
        dense_ssl.get_config("scrl_R_81")
    with pytest.raises(FileNotFoundError, match="no last_checkpoint"):
        api.last_checkpoint(str(CONFIGS))


def test_values_of_numpy_and_paths_are_plain_values():
    overrides = {
        "SOLVER.IMS_PER_BATCH": np.int64(8), "SOLVER.BASE_LR": np.float64(0.5),
        "SOLVER.STEPS": np.array([1, 2]), "SOLVER.AMP.ENABLED": np.bool_(False),
        "INPUT.VIEWS.SIZE": (np.int32(96),), "OUTPUT_DIR": Path("output/x"),
    }  # fmt: skip
    cfg = dense_ssl.get_config("mini/pretrain/scrl_R_18", overrides)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS) == (8, 0.5, (1, 2))
    assert cfg.SOLVER.AMP.ENABLED is False and cfg.INPUT.VIEWS.SIZE == (96,)
    assert cfg.OUTPUT_DIR == str(Path("output/x"))
    assert yaml.safe_load(cfg.dump())["SOLVER"]["IMS_PER_BATCH"] == 8


@pytest.mark.parametrize("config", [None, 3, {}, ["mini/pretrain/scrl_R_18"]])
def test_what_is_no_config_is_said(config):
    with pytest.raises(TypeError, match="is no config: give the name or the path of a yaml"):
        dense_ssl.get_config(config)


@pytest.mark.parametrize("overrides", [["SEED", 1], "SEED 1", {1: 2}])
def test_what_are_no_overrides_is_said(overrides):
    with pytest.raises(TypeError, match="keys to change are a dict"):
        dense_ssl.get_config("mini/pretrain/scrl_R_18", overrides)


def test_backbone_pkl_is_taken_where_the_checkpoint_was_deleted(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    last = str(tmp_path / "model_final.pth")
    assert api.last_checkpoint(str(tmp_path)) == last  # whose absence is an error of its own
    (tmp_path / "backbone.pkl").touch()
    assert api.last_checkpoint(str(tmp_path)) == str(tmp_path / "backbone.pkl")
    (tmp_path / "model_final.pth").touch()
    assert api.last_checkpoint(str(tmp_path)) == last


def test_a_stated_number_of_classes_must_fit(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="MODEL.ROI_HEADS.NUM_CLASSES is 7, but the data have 3"):
        dense_ssl.train("mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN", {
            **QUICK, "DATASETS.TRAIN": "voc:BCCD:trainval", "DATASETS.TEST": "voc:BCCD:test",
            "MODEL.ROI_HEADS.NUM_CLASSES": 7, "OUTPUT_DIR": "output/wrong",
        })  # fmt: skip


def test_processes_and_resume_reach_the_launcher(monkeypatch):
    seen = []
    monkeypatch.setattr(api, "launch", lambda main, args: seen.append((main, args)))
    path = dense_ssl.train("mini/pretrain/scrl_R_18", {"SEED": 3}, resume=True, processes=4)
    ((main, args),) = seen
    assert main is run and (args.num_gpus, args.resume, args.eval_only) == (4, True, False)
    assert Path(args.config_file) == CONFIGS / "mini/pretrain/scrl_R_18.yaml"
    assert args.opts == ["SEED", 3] and path == "output/mini/scrl_R_18/backbone.pkl"
