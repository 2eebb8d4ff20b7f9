"""Intersection over union: by hand, with tables of values, and as detectron2 v0.6 has it."""

import json

import numpy as np
import pytest
import torch
from dataset_files import make_cfg, make_image, make_labels
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator

from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.data.sources.label_maps import LabelReader
from dense_ssl.evaluation import build_evaluator
from dense_ssl.evaluation.sem_seg import OldSemSegEvaluator

pytestmark = pytest.mark.usefixtures("restore_catalogs")

TRUTH = [[0, 0, 1, 1], [0, 2, 2, 255]]
PREDICTED = [[0, 1, 1, 1], [0, 2, 0, 2]]
# class: both, either. The last pixel has no label. 0: 2 of 4, 1: 2 of 3, 2: 1 of 2
IOU = {"a": 200 / 4, "b": 200 / 3, "c": 100 / 2}


def one_hot(predicted, num_classes=3):
    return {"sem_seg": torch.nn.functional.one_hot(torch.tensor(predicted), num_classes).permute(2, 0, 1).float()}  # noqa: E501  # fmt: skip


def register(folder, values, lines):
    """A data set of one image whose label map holds TRUTH as ``values``."""
    make_image(folder / "images" / "1.jpg", (4, 2))
    table = np.zeros(256, int)
    for key, value in values.items():
        table[key] = value
    make_labels(folder / "labels" / "1.png", table[np.array(TRUTH)], "P")
    (folder / "classes.txt").write_text(lines)
    return resolve_dataset(f"semseg:{folder}/images:{folder}/labels:{folder}/classes.txt")


FORMS = {
    "plain": ({0: 0, 1: 1, 2: 2, 255: 255}, "a\nb\nc\n"),
    "ignore 3": ({0: 0, 1: 1, 2: 2, 255: 3}, "0 a\n1 b\n2 c\n3 void (ignore)"),
    "ignore 0": ({0: 1, 1: 2, 2: 3, 255: 0}, "void (ignore)\na\nb\nc\n"),
    "gaps": ({0: 30, 1: 255, 2: 4, 255: 7}, "30 a\n255 b\n4 c\n7 void (ignore)"),
}


def score(evaluator, name):
    (item,) = DatasetCatalog.get(name)
    evaluator.reset()
    evaluator.process([item], [one_hot(PREDICTED)])
    return evaluator.evaluate()["sem_seg"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["ours", "v0.6"])
def test_by_hand_whatever_the_values_in_the_file(tmp_path, form, kind):
    name = register(tmp_path, *FORMS[form])
    cfg = make_cfg(test=(name,))
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    evaluator = build_evaluator(cfg, name)
    assert isinstance(evaluator, SemSegEvaluator)
    if kind == "v0.6":
        folder = evaluator._output_dir
        evaluator = OldSemSegEvaluator(name, folder, LabelReader(name))
    results = score(evaluator, name)
    assert {k: results[f"IoU-{k}"] for k in "abc"} == pytest.approx(IOU)
    assert results["mIoU"] == pytest.approx(sum(IOU.values()) / 3)
    assert results["pACC"] == pytest.approx(100 * 5 / 7)
    # of the pixels that have the class: 2 of 3, 2 of 2, 1 of 2
    assert {k: results[f"ACC-{k}"] for k in "abc"} == pytest.approx(
        {"a": 200 / 3, "b": 100, "c": 50}
    )
    # predictions are written as the values of the files
    written = json.loads((tmp_path / "out/inference/sem_seg_predictions.json").read_text())
    assert {x["category_id"] for x in written} == {FORMS[form][0][i] for i in range(3)}


def test_values_of_no_class_stop_the_evaluation(tmp_path):
    name = register(tmp_path, {0: 0, 1: 1, 2: 9, 255: 255}, "a\nb\nc\n")
    cfg = make_cfg(test=(name,))
    cfg.OUTPUT_DIR = str(tmp_path)
    with pytest.raises(
        ValueError, match=r"labels/1\.png' has the values 9, which are not a class of 'semseg:"
    ):
        score(build_evaluator(cfg, name), name)


def test_a_class_that_no_image_has_is_left_out_of_the_mean(tmp_path):
    name = register(tmp_path, {0: 0, 1: 1, 2: 2, 255: 255}, "a\nb\nc\nd\n")
    (item,) = DatasetCatalog.get(name)
    cfg = make_cfg(test=(name,))
    cfg.OUTPUT_DIR = str(tmp_path)
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    evaluator.process([item], [one_hot(PREDICTED, 4)])
    results = evaluator.evaluate()["sem_seg"]
    assert results["mIoU"] == pytest.approx(sum(IOU.values()) / 3) and np.isnan(results["IoU-d"])


def test_cityscapes_without_its_package_is_pointed_at():
    name = "cityscapes_fine_sem_seg_val"
    with pytest.raises(ValueError, match="'cityscapes_sem_seg_val'"):
        build_evaluator(make_cfg(test=(name,)), name)
    assert MetadataCatalog.get("cityscapes_sem_seg_val").evaluator_type == "sem_seg"
