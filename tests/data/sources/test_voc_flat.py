"""VOC exports with xml files beside the images."""

import json
import logging
import os

import pytest
import torch
from dataset_files import OBJECT, make_image
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from helpers import recorded_log

from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.evaluation.voc import VOCEvaluator

pytestmark = pytest.mark.usefixtures("restore_catalogs")


def make_flat(root, **splits):
    """Roboflow's VOC export: xml files beside the images of each split."""
    for split, names in splits.items():
        for i, name in enumerate(names):
            make_image(root / split / f"a photo {i}_jpg.rf.x.jpg")
            body = OBJECT.format(name, "", 2, 3, 21, 13) if name else ""
            (root / split / f"a photo {i}_jpg.rf.x.xml").write_text(
                f"<annotation>{body}</annotation>"
            )
    return root


def test_a_flat_export_has_the_classes_of_all_its_splits(tmp_path):
    root = make_flat(tmp_path / "export", train=["wren", ""], valid=["cat"])
    make_image(root / "train" / "unlabelled.png")
    with recorded_log("dense_ssl.data.sources.voc_flat", logging.WARNING) as log:
        train = resolve_dataset(f"voc:{root}:train")
        first, second = DatasetCatalog.get(train)
    assert any(x.startswith("1 images in") for x in log)
    assert MetadataCatalog.get(train).thing_classes == ["cat", "wren"]
    valid = resolve_dataset(f"voc:{root}:valid")
    assert MetadataCatalog.get(valid).thing_classes == ["cat", "wren"]
    assert first["image_id"] == "train/a photo 0_jpg.rf.x" and os.path.isfile(first["file_name"])
    assert first["annotations"][0]["category_id"] == 1
    assert first["annotations"][0]["bbox"] == [1, 2, 21, 13] and second["annotations"] == []


def test_a_flat_export_never_gets_the_20_classes_of_voc(tmp_path):
    name = resolve_dataset(f"voc:{make_flat(tmp_path / 'export', train=['cat'])}:train")
    assert MetadataCatalog.get(name).thing_classes == ["cat"]


def test_hidden_files_of_macos_are_left_out(tmp_path):
    root = make_flat(tmp_path / "export", train=["cat"])
    for name in ("._a photo 0_jpg.rf.x.jpg", "._a photo 0_jpg.rf.x.xml"):
        (root / "train" / name).write_bytes(b"\0\5\x16\7")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX/._1.xml").write_bytes(b"\0\5\x16\7")
    assert len(DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))) == 1
    with pytest.raises(FileNotFoundError, match=r"Folders with xml files there: \['train'\]"):
        resolve_dataset(f"voc:{root}:valid")


@pytest.mark.skipif(os.name != "posix", reason="names of other systems are text")
def test_names_that_are_no_utf_8_are_evaluated(tmp_path):
    root = tmp_path / "export"
    make_flat(root, valid=["cat"])
    for path in list((root / "valid").iterdir()):
        path.rename(path.with_name("caf\udce9" + path.suffix))
    name = resolve_dataset(f"voc:{root}:valid")
    (item,) = DatasetCatalog.get(name)
    evaluator = VOCEvaluator(name, str(tmp_path / "out"))
    evaluator.reset()
    found = Instances((30, 40))
    found.pred_boxes = Boxes(torch.tensor([item["annotations"][0]["bbox"]]).float())
    found.scores, found.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    evaluator.process([item], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == 100


def test_a_flat_split_is_evaluated(tmp_path):
    root = make_flat(tmp_path / "export", valid=["wren", "robin"])
    name = resolve_dataset(f"voc:{root}:valid")
    dicts = DatasetCatalog.get(name)
    evaluator = VOCEvaluator(name, str(tmp_path / "out"))
    evaluator.reset()
    for item in dicts:
        found = Instances((30, 40))
        found.pred_boxes = Boxes(torch.tensor([item["annotations"][0]["bbox"]]).float())
        found.scores = torch.tensor([0.9])
        found.pred_classes = torch.tensor([item["annotations"][0]["category_id"]])
        evaluator.process([item], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    written = json.loads((tmp_path / "out/coco_instances_results.json").read_text())
    assert {x["image_id"] for x in written} == {x["image_id"] for x in dicts}


def test_a_folder_of_neither_layout_says_what_is_there(tmp_path):
    root = make_flat(tmp_path / "export", train=["wren"])
    with pytest.raises(FileNotFoundError, match=r"no VOC folder.*'val'.*there: \['train'\]"):
        resolve_dataset(f"voc:{root}:val")
    with pytest.raises(ValueError, match=f"Did you mean 'voc:{root}:train'"):
        resolve_dataset(f"voc:{root}/train")
    with pytest.raises(FileNotFoundError, match=f"write 'voc:{root}:train'"):
        resolve_dataset(f"voc:{root}/train:x")


def test_extensions_may_be_in_any_case(tmp_path):
    root = make_flat(tmp_path, train=["cat", "dog"])
    path = root / "train" / "a photo 0_jpg.rf.x.xml"
    path.rename(path.with_suffix(".XML"))
    name = resolve_dataset(f"voc:{root}:train")
    assert MetadataCatalog.get(name).thing_classes == ["cat", "dog"]
    assert [len(x["annotations"]) for x in DatasetCatalog.get(name)] == [1, 1]
