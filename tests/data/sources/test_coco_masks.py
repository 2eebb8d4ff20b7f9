"""Masks of COCO json files: what is read, left out or refused, in training and evaluation alike."""

import logging

import numpy as np
import pycocotools.mask
import pytest
import torch
from dataset_files import make_cfg, make_coco
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.structures import Boxes, BoxMode, Instances

from dense_ssl.config import load_config, read_config
from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.finetune.loader import build_finetune_loader, forget_training_images
from dense_ssl.data.sources.coco_masks import clean_mask
from dense_ssl.data.sources.entries import register_datasets, resolve_dataset
from dense_ssl.data.views.loader import pretrain_dataset_dicts
from dense_ssl.evaluation.build import build_evaluator

pytestmark = pytest.mark.usefixtures("restore_catalogs")

POLYGON = [1, 2, 11, 2, 11, 10, 1, 10]
NAN = float("nan")


def rle(compressed=True, size=(30, 40)):
    """The RLE of a box of 10 x 8 pixels."""
    mask = np.zeros(size, np.uint8, order="F")
    mask[2:10, 1:11] = 1
    if compressed:
        found = pycocotools.mask.encode(mask)
        return {"size": list(size), "counts": found["counts"].decode()}
    pixels = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(pixels)) + 1
    return {"size": list(size), "counts": np.diff([0, *ends, len(pixels)]).tolist()}


def objects(*masks):
    """Annotations of one box on image 1 and 2 in turn; "absent" for no ``segmentation`` at all."""
    plain = {"category_id": 7, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}
    return [
        {"id": i + 1, "image_id": 1 + i % 2, **plain,
         **({} if x == "absent" else {"segmentation": x})}
        for i, x in enumerate(masks)
    ]  # fmt: skip


def mask_cfg(entry, masks=True, **changes):
    forget_training_images()
    cfg = make_cfg((entry,), (entry,), META_ARCHITECTURE="GeneralizedRCNN", MASK_ON=masks)
    cfg.INPUT.MASK_FORMAT = changes.get("MASK_FORMAT", read_config().INPUT.MASK_FORMAT)
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, 2
    register_datasets(cfg)
    return cfg


def perfect_scores(cfg, name):
    """AP where exactly the labels that the loader read are predicted."""
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    for item in DatasetCatalog.get(name):
        size = item["height"], item["width"]
        known = [x for x in item["annotations"] if x.get("segmentation") or not cfg.MODEL.MASK_ON]
        known = [{**x, "bbox": BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS),
                  "bbox_mode": BoxMode.XYXY_ABS} for x in known]  # fmt: skip
        truth = annotations_to_instances(known, size, mask_format="bitmask")
        found = Instances(size, pred_boxes=Boxes(truth.gt_boxes.tensor))
        found.scores, found.pred_classes = torch.ones(len(known)), truth.gt_classes
        if cfg.MODEL.MASK_ON:
            masks = truth.gt_masks.tensor if known else torch.zeros(0, *size)
            found.pred_masks = masks.bool()
        evaluator.process([item], [{"instances": found}])
    return {task: x["AP"] for task, x in evaluator.evaluate().items()}


# what a mask becomes: the number of polygons, "RLE", or None
READ = {
    "polygon": ([POLYGON], 1),
    "two polygons": ([POLYGON, POLYGON], 2),
    "a polygon without a list around it": (POLYGON, 1),
    "compressed": (rle(), "RLE"),
    "uncompressed": (rle(False), "RLE"),
    "one short polygon": ([[1, 2, 3, 4], POLYGON], 1),
    "one odd polygon": ([POLYGON, [*POLYGON, 5]], 1),
    "one empty polygon": ([[], POLYGON], 1),
    "absent": ("absent", None),
    "null": (None, None),
    "empty list": ([], None),
    "empty text": ("", None),
    "empty object": ({}, None),
    "no polygon": ([[]], None),
    "a box": ([[1, 2, 11, 10]], None),
    "a line": ([[1, 2, 11, 10, 3]], None),
    "an RLE without a pixel": ({"size": [30, 40], "counts": [1200]}, None),
    "an RLE without counts": ({"size": [30, 40], "counts": ""}, None),
}


@pytest.mark.parametrize("kind", READ)
def test_masks_that_are_read_or_left_out(tmp_path, kind, caplog):
    mask, expected = READ[kind]
    entry = make_coco(tmp_path, annotations=objects([POLYGON], mask, [POLYGON]))
    cfg = mask_cfg(entry)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        resolve_labels(cfg)
    dropped = "1 of 3 objects have no mask, first annotation 2 "
    assert (dropped in caplog.text) == (expected is None)
    short = "1 of 3 masks have polygons of fewer than 6 numbers, or an odd number of them"
    assert (f"{short}, first annotation 2" in caplog.text) == kind.startswith("one ")
    (given,) = [x for x in DatasetCatalog.get(entry)[1]["annotations"]]
    found = given.get("segmentation")
    assert (found and ("RLE" if isinstance(found, dict) else len(found))) == expected
    batch = next(iter(build_finetune_loader(cfg, seed=0)))  # detectron2's own mapper
    assert all(x["instances"].has("gt_masks") for x in batch)
    assert perfect_scores(cfg, entry) == pytest.approx({"bbox": 100, "segm": 100})


REFUSED = {
    "NaN": ([[1, NAN, *POLYGON]], "has NaN or infinite numbers"),
    "infinite": ([[1, float("inf"), *POLYGON]], "has NaN or infinite numbers"),
    "words": ([["1", "2", "3", "4", "5", "6"]], "has the polygon .*must be numbers"),
    "points": ([[[1, 2], [11, 2], [11, 10]]], r"has the polygon \[\[1, 2\]"),
    "a text": ("mask.png", "is 'mask.png'; it must be a list of polygons"),
    "a number": (7, "is 7; it must be a list"),
    "a polygon and an RLE": ([POLYGON, rle()], "each entry must be a polygon"),
    "several RLEs": ([rle(), rle()], "Several RLEs of one object must be one"),
    "sides exchanged": (rle(size=(40, 30)), r"size \[40, 30\], .*\[30, 40\]: they are exchanged"),
    "of a larger image": (rle(size=(60, 80)), r"of the size \[60, 80\], but its image has"),
    "without a size": ({"counts": rle()["counts"]}, "an RLE has a size"),
    "counts of words": ({"size": [30, 40], "counts": ["a", "b"]}, "an RLE has a size"),
    "no compressed counts": ({"size": [30, 40], "counts": "é!"}, "an RLE has a size"),
    "cut off": ({"size": [30, 40], "counts": rle()["counts"][:-2]}, "an RLE has a size|damaged"),
    "cut off in a count": ({"size": [30, 40], "counts": "o"}, "an RLE has a size"),
    "too long": ({"size": [30, 40], "counts": [5, 9000]}, "add up to 9005, not to 30 x 40"),
    "negative": ({"size": [30, 40], "counts": [-5, 1205]}, "damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_masks_that_cannot_be_stop_a_model_with_masks_at_its_start_and_no_other(tmp_path, kind):
    mask, message = REFUSED[kind]
    entry = make_coco(tmp_path, annotations=objects([POLYGON], mask, [POLYGON]))
    with pytest.raises(ValueError) as error:
        resolve_labels(mask_cfg(entry))
    assert str(error.value).startswith(f"DATASETS.TRAIN: {entry!r}: ")
    error.match(rf"a\.json': the segmentation of annotation 2 .*{message}")
    assert len(pretrain_dataset_dicts(make_cfg((entry,)))) == 2
    boxes = mask_cfg(entry, masks=False)
    boxes.OUTPUT_DIR = str(tmp_path / "out")
    resolve_labels(boxes)
    next(iter(build_finetune_loader(boxes, seed=0)))
    assert perfect_scores(boxes, entry) == pytest.approx({"bbox": 100})


@pytest.mark.parametrize("kind", READ)
def test_a_model_without_masks_keeps_every_box_without_a_word(tmp_path, kind, caplog):
    entry = make_coco(tmp_path, annotations=objects(READ[kind][0], [POLYGON]))
    cfg = mask_cfg(entry, masks=False)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        resolve_labels(cfg)
    assert "mask" not in caplog.text
    assert [len(x["annotations"]) for x in DatasetCatalog.get(entry)] == [1, 1]
    assert perfect_scores(cfg, entry) == pytest.approx({"bbox": 100})


@pytest.mark.parametrize("masks", [("absent", "absent"), ([], None), ([[1, 2, 3, 4]], [])])
def test_data_without_any_mask_cannot_train_masks(tmp_path, masks):
    entry = make_coco(tmp_path, annotations=objects(*masks))
    with pytest.raises(ValueError, match="no object has a mask, and MODEL.MASK_ON is True"):
        resolve_labels(mask_cfg(entry))
    resolve_labels(mask_cfg(entry, masks=False))


@pytest.mark.parametrize("crowd", [rle(), rle(False), "absent", [POLYGON]])
def test_masks_of_crowds_are_not_learned_and_do_not_choose_the_format(tmp_path, crowd, caplog):
    annotations = objects([POLYGON], [POLYGON], crowd)
    annotations[2]["iscrowd"] = 1
    entry = make_coco(tmp_path, annotations=annotations)
    cfg = mask_cfg(entry)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        resolve_labels(cfg)
    assert cfg.INPUT.MASK_FORMAT == "polygon" and "no mask" not in caplog.text
    assert perfect_scores(cfg, entry) == pytest.approx({"bbox": 100, "segm": 100})


@pytest.mark.parametrize(
    ("masks", "expected"),
    [(([POLYGON],), "polygon"), ((rle(),), "bitmask"), ((rle(False),), "bitmask"),
     (([POLYGON], rle()), "bitmask")],
)  # fmt: skip
def test_the_format_follows_the_data_unless_it_is_stated(tmp_path, masks, expected):
    entry = make_coco(tmp_path, annotations=objects(*masks))
    cfg = mask_cfg(entry)
    resolve_labels(cfg)
    assert cfg.INPUT.MASK_FORMAT == expected
    next(iter(build_finetune_loader(cfg, seed=0)))
    resolve_labels(mask_cfg(entry, MASK_FORMAT="bitmask"))
    stated = mask_cfg(entry, MASK_FORMAT="polygon")
    if expected == "polygon":
        resolve_labels(stated)
    else:
        with pytest.raises(ValueError, match=r"INPUT\.MASK_FORMAT is 'polygon', but 1 masks of"):
            resolve_labels(stated)


def test_configs_that_are_not_trained_here_have_detectron2s_format(tmp_path):
    assert load_config().INPUT.MASK_FORMAT == "polygon"
    (tmp_path / "c.yaml").write_text("INPUT:\n  MASK_FORMAT: bitmask\n")
    assert read_config(str(tmp_path / "c.yaml")).INPUT.MASK_FORMAT == "bitmask"
    assert read_config("", ["INPUT.MASK_FORMAT", "polygon"]).INPUT.MASK_FORMAT == "polygon"


def test_another_format_is_refused(tmp_path):
    entry = make_coco(tmp_path, annotations=objects([POLYGON]))
    with pytest.raises(ValueError, match="INPUT.MASK_FORMAT is 'rle'; it must be one of"):
        resolve_labels(mask_cfg(entry, MASK_FORMAT="rle"))


def test_masks_outside_their_image_are_counted(tmp_path, caplog):
    outside = [[x + 35 for x in POLYGON]]
    entry = make_coco(tmp_path, annotations=objects([POLYGON], outside, outside))
    with caplog.at_level(logging.WARNING):
        resolve_labels(mask_cfg(entry))
    assert "2 of 3 masks leave their image, first annotation 2" in caplog.text


def test_complete_files_are_used_as_they_are(tmp_path):
    entry = make_coco(tmp_path, annotations=objects([POLYGON], rle(), rle(False)))
    resolve_dataset(entry)
    assert MetadataCatalog.get(entry).json_file == str(tmp_path / "a.json")


def test_counts_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for density in (0.01, 0.3, 0.5, 1) * 10:
        size = rng.integers(1, 90, 2).tolist()
        mask = np.asfortranarray(rng.random(size) < density, np.uint8)
        found = pycocotools.mask.encode(mask)
        given = {"size": size, "counts": found["counts"].decode()}
        assert clean_mask(given, *size) == (given if mask.any() else None)
        if mask.any():
            with pytest.raises(ValueError, match="add up"):
                clean_mask({**given, "size": [size[0], size[1] + 1]}, size[0], size[1] + 1)
