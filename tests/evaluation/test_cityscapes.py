"""Cityscapes instance segmentation, from its own files to its own evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import make_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin import register_all_cityscapes
from detectron2.structures import Instances
from helpers import CONFIGS, base_config, train
from PIL import Image

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.evaluation import build_evaluator, check_evaluators

pytestmark = pytest.mark.usefixtures("restore_catalogs")
ROAD, CAR, PERSON = 7, 26, 24  # Cityscapes' own numbers
SIZE = (64, 128)
# What stands in every image: class, its name, box (x0, y0, x1, y1).
OBJECTS = [(CAR, "car", (10, 20, 50, 50)), (PERSON, "person", (70, 10, 90, 60))]
NAMES = [f"cityscapes_fine_instance_seg_{x}" for x in ("train", "val")]


@pytest.fixture
def cityscapes(tmp_path, monkeypatch):
    """Four small streets in Cityscapes' layout, under detectron2's names."""
    for package in ("cityscapesscripts", "shapely"):
        pytest.importorskip(package, reason=f"the optional package {package} is not installed")
    for split in ("train", "val"):
        for i in range(4):
            write_street(tmp_path / "cityscapes", split, f"town_{i:06d}_000019", i)
    for name in DatasetCatalog.list():
        if name.startswith("cityscapes_"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    register_all_cityscapes(str(tmp_path))
    # read in this process; a pool of several costs more than four images
    monkeypatch.setattr("detectron2.data.datasets.cityscapes.mp.Pool", Serial)
    return tmp_path


class Serial:
    """What detectron2 uses of a process pool, without processes."""

    def __init__(self, processes):
        del processes

    def map(self, function, items):
        return [function(x) for x in items]


def write_street(root, split, stem, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    labels, instances = np.full(SIZE, ROAD, np.uint8), np.full(SIZE, ROAD, np.uint16)
    polygons = []
    for number, name, (x0, y0, x1, y1) in OBJECTS:
        pixels[y0:y1, x0:x1] = number * 9
        labels[y0:y1, x0:x1], instances[y0:y1, x0:x1] = number, number * 1000
        corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        polygons.append({"label": name, "polygon": corners})
    images, truth = root / "leftImg8bit" / split / "town", root / "gtFine" / split / "town"
    images.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(images / f"{stem}_leftImg8bit.png")
    Image.fromarray(labels).save(truth / f"{stem}_gtFine_labelIds.png")
    Image.fromarray(instances).save(truth / f"{stem}_gtFine_instanceIds.png")
    size = {"imgHeight": SIZE[0], "imgWidth": SIZE[1]}
    (truth / f"{stem}_gtFine_polygons.json").write_text(json.dumps({**size, "objects": polygons}))


def predictions(shift):
    """What a detector that is off by ``shift`` pixels says of each image."""
    result = Instances(SIZE)
    masks = torch.zeros(len(OBJECTS), *SIZE, dtype=torch.bool)
    for mask, (_, _, (x0, y0, x1, y1)) in zip(masks, OBJECTS):
        mask[y0:y1, x0 + shift : x1 + shift] = True
    result.pred_masks, result.scores = masks, torch.tensor([0.9, 0.8])
    classes = MetadataCatalog.get(NAMES[1]).thing_classes
    result.pred_classes = torch.tensor([classes.index(name) for _, name, _ in OBJECTS])
    return {"instances": result}


# a shift of 12: the car's IoU is 28/52 (right at 0.5 only), the person's 8/32 (never right)
@pytest.mark.parametrize(("shift", "ap", "ap50"), [(0, 100, 100), (12, 5, 50)])
def test_scores_are_those_of_cityscapes(cityscapes, shift, ap, ap50):
    evaluator = build_evaluator(make_cfg(test=(NAMES[1],)), NAMES[1])
    evaluator.reset()
    for item in DatasetCatalog.get(NAMES[1]):
        evaluator.process([item], [predictions(shift)])
    result = evaluator.evaluate()["segm"]
    assert not Path("matches.json").exists()
    assert result["AP"] == pytest.approx(ap) and result["AP50"] == pytest.approx(ap50)


def test_trains_and_evaluates(cityscapes, tmp_path):
    cfg = base_config()
    name = "Cityscapes-InstanceSegmentation/mask_rcnn_R_18_FPN.yaml"
    cfg.merge_from_file(str(CONFIGS / "mini" / "finetune" / name))
    cfg.merge_from_list([
        "OUTPUT_DIR", str(tmp_path / "output"), "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
        "SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.STEPS", (),
        "TEST.PRECISE_BN.NUM_ITER", 1, "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64,
    ])  # fmt: skip
    register_datasets(cfg)
    resolve_labels(cfg)
    check_evaluators(cfg)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 8
    assert set(train(cfg)._last_eval_results) == {"segm"}


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for cfg in (make_cfg(test=(NAMES[1],)), make_cfg(train=(NAMES[0],))):
        with pytest.raises(ValueError, match="pip install cityscapesscripts shapely"):
            register_datasets(cfg)
