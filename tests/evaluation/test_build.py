"""Evaluators by kind of data set."""

import json
import logging
import os
import tempfile

import numpy as np
import pytest
import torch
from dataset_files import make_cfg, make_coco, make_image, make_voc
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from helpers import recorded_log
from PIL import Image

from dense_ssl.data.sources.entries import forget_datasets, resolve_dataset
from dense_ssl.evaluation import build_evaluator, check_evaluators

FULL = "<pose>Left</pose><truncated>0</truncated><difficult>{}</difficult>"
EASY, HARD = FULL.format(0), FULL.format(1)


pytestmark = pytest.mark.usefixtures("restore_catalogs")


def predict(dataset_dict, boxes, classes, scores=None):
    """(input, output) of a model for one image."""
    size = dataset_dict["height"], dataset_dict["width"]
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    instances.scores = torch.tensor(scores or [0.9] * len(classes))
    return dataset_dict, {"instances": instances}


def perfect(name):
    """Predictions that repeat the labels of a VOC data set."""
    return [
        predict(
            x, [a["bbox"] for a in x["annotations"]], [a["category_id"] for a in x["annotations"]]
        )
        for x in DatasetCatalog.get(name)
    ]


def score(evaluator, predictions):
    evaluator.reset()
    for item, output in predictions:
        evaluator.process([item], [output])
    return evaluator.evaluate()


def evaluator_of(tmp_path, *names):
    cfg = make_cfg(test=names)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    return build_evaluator(cfg, names[0])


# COCO


def test_coco_scores_and_writes_predictions(tmp_path):
    name = resolve_dataset(make_coco(tmp_path))
    image = DatasetCatalog.get(name)[0]
    evaluator = evaluator_of(tmp_path, name)
    results = score(evaluator, [predict(image, [[1, 2, 11, 10]], [0])])
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["bbox"]["AP-cat"] == pytest.approx(100)
    written = json.loads((tmp_path / "out/inference/coco_instances_results.json").read_text())
    assert written[0]["category_id"] == 7


def test_coco_takes_the_keypoint_sigmas_of_the_config(tmp_path):
    cfg = make_cfg(test=(resolve_dataset(make_coco(tmp_path)),))
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.1, 0.2]
    evaluator = build_evaluator(cfg, cfg.DATASETS.TEST[0], str(tmp_path))
    assert isinstance(evaluator, COCOEvaluator) and evaluator._kpt_oks_sigmas == [0.1, 0.2]


def test_coco_ignores_what_has_no_mask_where_masks_are_scored(tmp_path):
    common = {"image_id": 1, "category_id": 7, "iscrowd": 0}
    masked = {**common, "id": 1, "bbox": [2, 15, 10, 8], "area": 80,
              "segmentation": [[2, 15, 12, 15, 12, 23, 2, 23]]}  # fmt: skip
    bare = {**common, "id": 2, "bbox": [2, 3, 20, 6], "area": 120}
    name = resolve_dataset(make_coco(tmp_path, annotations=[masked, bare]))
    cfg = make_cfg(test=(name,))
    cfg.OUTPUT_DIR, cfg.MODEL.MASK_ON = str(tmp_path / "out"), True
    (image,) = [x for x in DatasetCatalog.get(name) if x["image_id"] == 1]
    item, output = predict(image, [[2, 15, 12, 23], [2, 3, 22, 9]], [0, 0], [0.5, 0.9])
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, 15:23, 2:12] = masks[1, 3:9, 2:22] = True
    output["instances"].pred_masks = masks
    results = score(build_evaluator(cfg, name), [(item, output)])
    assert results["segm"]["AP"] == pytest.approx(100)
    assert results["bbox"]["AP"] == pytest.approx(100)
    # what is neither object nor ignored is an error still
    masks[1] = False
    masks[1, 25:, 30:] = True
    results = score(build_evaluator(cfg, name), [(item, output)])
    assert results["segm"]["AP"] == pytest.approx(50, abs=0.5)


def test_several_data_sets_do_not_overwrite_each_other(tmp_path):
    names = [resolve_dataset(make_coco(tmp_path / x / ("long" * 40))) for x in "ab"]
    cfg = make_cfg(test=names)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    folders = {build_evaluator(cfg, x)._output_dir for x in names}
    assert len(folders) == 2 and all(len(os.path.basename(x)) <= 82 for x in folders)
    assert all(os.path.dirname(x) == str(tmp_path / "out/inference") for x in folders)


def test_coco_without_boxes_is_refused_before_training(tmp_path):
    annotation = {"id": 1, "image_id": 1, "category_id": 7}
    name = resolve_dataset(make_coco(tmp_path, annotations=[annotation]))
    with pytest.raises(ValueError, match=r"DATASETS\.TEST: .*a\.json.* no bbox"):
        check_evaluators(make_cfg(test=(name,)))


# VOC


def test_voc_equals_detectron2_on_complete_annotations(tmp_path):
    rng = np.random.default_rng(0)
    objects = {}
    for i in range(12):
        corner = rng.integers(1, 15, (4, 2))
        boxes = np.concatenate([corner, corner + rng.integers(5, 15, (4, 2))], axis=1)
        tags = [HARD if x else EASY for x in rng.random(4) < 0.2]
        objects[str(i)] = [
            (c, t, *b) for c, t, b in zip(rng.choice(["cat", "dog"], 4), tags, boxes.tolist())
        ]
    root = make_voc(tmp_path, objects)
    (root / "classes.txt").write_text("cat\ndog\n")
    name = resolve_dataset(f"voc:{root}:train:2007")
    predictions = []
    for item in DatasetCatalog.get(name):
        boxes = np.array([x["bbox"] for x in item["annotations"]] * 2)
        boxes = boxes + rng.normal(0, 1.5, boxes.shape)
        predictions.append(
            predict(item, boxes, rng.integers(0, 2, 8).tolist(), rng.random(8).tolist())
        )
    ours = score(evaluator_of(tmp_path, name), predictions)["bbox"]
    theirs = score(PascalVOCDetectionEvaluator(name), predictions)["bbox"]
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, rel=1e-12)
    assert 0 < ours["AP50"] < 100
    # of one class: detectron2's mean over that class alone
    for label in ("cat", "dog"):
        alone = PascalVOCDetectionEvaluator(name)
        alone._class_names = [label]
        index = ("cat", "dog").index(label)
        kept = [(x, {"instances": y["instances"][y["instances"].pred_classes == index]})
                for x, y in predictions]  # fmt: skip
        for _, y in kept:
            y["instances"].pred_classes[:] = 0
        assert ours[f"AP-{label}"] == pytest.approx(score(alone, kept)["bbox"]["AP"], rel=1e-12)
    assert ours["AP-cat"] != ours["AP-dog"]


def test_voc_writes_its_predictions_and_a_table_of_the_classes(tmp_path):
    objects = {"a1": [("cat", EASY, 2, 3, 20, 21)],
               "a2": [("dog", EASY, 1, 1, 9, 9), ("dog", EASY, 11, 1, 19, 9)]}  # fmt: skip
    root = make_voc(tmp_path, objects)
    (root / "classes.txt").write_text("dog\nowl\ncat\n")
    name = resolve_dataset(f"voc:{root}:train")
    predictions = perfect(name)
    predictions[1][1]["instances"] = predictions[1][1]["instances"][:1]
    evaluator = evaluator_of(tmp_path, name)
    with recorded_log("dense_ssl.evaluation.voc", logging.INFO) as log:
        results = score(evaluator, predictions)
    assert results["bbox"]["AP-cat"] == 100 and results["bbox"]["AP-dog"] == 50
    assert "AP-owl" not in results["bbox"]
    table = next(x for x in log if "by class" in x)
    cells = [[y.strip() for y in x.strip("|").split("|")] for x in table.splitlines()[1:]]
    assert cells[0] == ["class", "objects", "AP", "AP50", "AP75"]
    assert cells[2:] == [["dog", "2", "50.000", "50.000", "50.000"],
                         ["cat", "1", "100.000", "100.000", "100.000"]]  # fmt: skip
    written = json.loads((tmp_path / "out/inference/coco_instances_results.json").read_text())
    assert [(x["image_id"], x["category_id"], x["bbox"]) for x in written] == [
        ("a1", 2, [1, 2, 19, 19]), ("a2", 0, [0, 0, 9, 9])
    ]  # fmt: skip
    assert written[0]["score"] == pytest.approx(0.9)


def test_voc_counts_what_all_processes_found_and_starts_anew(tmp_path, monkeypatch):
    objects = {str(i): [("cat", EASY, 2, 3, 20, 21)] for i in range(2)}
    name = resolve_dataset(f"voc:{make_voc(tmp_path, objects)}:train")
    evaluator, predictions = evaluator_of(tmp_path, name), perfect(name)
    path = tmp_path / "out/inference/coco_instances_results.json"
    for _ in range(2):
        assert score(evaluator, predictions)["bbox"]["AP"] == 100
        assert len(json.loads(path.read_text())) == 2
    parts = []
    for item, output in predictions:
        evaluator.reset()
        evaluator.process([item], [output])
        parts.append((evaluator._predictions, evaluator._results))
    gathered = iter(zip(*parts))
    monkeypatch.setattr(comm, "gather", lambda x, dst: next(gathered))
    assert evaluator.evaluate()["bbox"]["AP"] == 100
    assert len(json.loads(path.read_text())) == 2


def test_voc_logs_each_overlap_under_its_name(tmp_path):
    name = resolve_dataset(f"voc:{make_voc(tmp_path, {'1': [('cat', EASY, 2, 3, 20, 21)]})}:train")
    item, _ = perfect(name)[0]
    cat, evaluator = item["annotations"][0]["category_id"], evaluator_of(tmp_path, name)
    with recorded_log("dense_ssl.evaluation.voc", logging.INFO) as log:
        # 15 of 19 rows: right at overlaps up to 0.75, six of ten
        results = score(evaluator, [predict(item, [[1, 2, 20, 17]], [cat])])["bbox"]
    assert results == pytest.approx({"AP": 60, "AP50": 100, "AP75": 100, "AP-cat": 60})
    (table,) = [x for x in log if "by class" in x]
    assert [x.strip() for x in table.splitlines()[-1].split("|")][1:-1] == [
        "cat", "1", "60.000", "100.000", "100.000"]  # fmt: skip


def test_voc_names_may_hold_slashes_and_spaces(tmp_path):
    objects = {"1": [("red cell/old ", EASY, 2, 2, 20, 20)], "2": [("other", EASY, 2, 2, 9, 9)]}
    name = resolve_dataset(f"voc:{make_voc(tmp_path, objects)}:train")
    results = score(evaluator_of(tmp_path, name), perfect(name))
    assert results["bbox"]["AP-red cell/old"] == results["bbox"]["AP"] == 100


@pytest.mark.parametrize("image_id", [
    "red cell/1", "Фотография со склада номер двенадцать от 12 марта", "a" * 200, "50% {}"
])  # fmt: skip
def test_voc_images_may_have_any_name(tmp_path, image_id):
    for part in ("Annotations", "JPEGImages"):
        (tmp_path / "voc" / part / image_id).parent.mkdir(parents=True, exist_ok=True)
    objects = {image_id: [("cat", EASY, 2, 2, 20, 20)]}
    name = resolve_dataset(f"voc:{make_voc(tmp_path, objects)}:train")
    assert score(evaluator_of(tmp_path, name), perfect(name))["bbox"]["AP"] == 100


def test_voc_labels_that_changed_are_read_again(tmp_path):
    for corner in (2, 12):
        objects = {"1": [("cat", EASY, corner, corner, 28, 28)]}
        name = resolve_dataset(f"voc:{make_voc(tmp_path, objects)}:train")
        assert score(evaluator_of(tmp_path, name), perfect(name))["bbox"]["AP"] == 100
        forget_datasets()


def test_voc_folders_may_have_braces(tmp_path, monkeypatch):
    folder = tmp_path / "{run}_{}"
    (folder / "tmp").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    name = resolve_dataset(f"voc:{make_voc(folder, {'1': [('cat', EASY, 2, 2, 20, 20)]})}:train")
    assert score(evaluator_of(folder, name), perfect(name))["bbox"]["AP"] == 100


@pytest.mark.parametrize("word", ["false", "False", "no", "0", " 0 ", ""])
@pytest.mark.parametrize("opposite", ["true", "TRUE", "yes", "1"])
def test_voc_takes_difficult_as_a_number_or_a_word(tmp_path, word, opposite):
    tags = [f"<difficult>{x}</difficult>" for x in (word, opposite)]
    objects = {"1": [("cat", tags[0], 2, 3, 20, 21), ("cat", tags[1], 22, 3, 30, 12)]}
    name = resolve_dataset(f"voc:{make_voc(tmp_path, objects)}:train")
    predictions = perfect(name)
    predictions[0][1]["instances"] = predictions[0][1]["instances"][:1]
    assert score(evaluator_of(tmp_path, name), predictions)["bbox"]["AP"] == 100


def test_voc_refuses_another_word_for_difficult(tmp_path):
    root = make_voc(tmp_path, {"1": [("cat", "<difficult>maybe</difficult>", 2, 3, 20, 21)]})
    with pytest.raises(ValueError, match=r"object 1 of '.*1\.xml' has 'maybe' in <difficult>"):
        DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))


def test_voc_scores_files_in_the_encoding_that_they_declare(tmp_path):
    root = make_voc(tmp_path, {"1": [("Käfer", EASY, 2, 3, 20, 21)]})
    path = root / "Annotations/1.xml"
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + path.read_text(encoding="utf-8")
    path.write_text(text, encoding="latin-1")
    name = resolve_dataset(f"voc:{root}:train")
    assert score(evaluator_of(tmp_path, name), perfect(name))["bbox"]["AP-Käfer"] == 100


@pytest.mark.parametrize("tags", ["", "<difficult>0</difficult>", "<difficult/><truncated/>"])
def test_voc_scores_annotations_with_nothing_but_boxes(tmp_path, tags):
    objects = {"1": [("cat", tags, 3.4, 2, 20.6, 25)], "2": [("dog", "", 1, 1, 9, 9)]}
    root = make_voc(tmp_path, objects, split="test")
    before = (root / "Annotations/1.xml").read_bytes()
    (root / "ImageSets/Main/test.txt").write_text("1\n\n2  1\n\n")
    name = resolve_dataset(f"voc:{root}:test")
    assert score(evaluator_of(tmp_path, name), perfect(name))["bbox"]["AP"] == pytest.approx(100)
    assert (root / "Annotations/1.xml").read_bytes() == before


def test_voc_classes_absent_from_the_split_are_left_out(tmp_path):
    objects = {"1": [("dog", EASY, 2, 2, 20, 20), ("sofa", HARD, 1, 1, 30, 25)]}
    name = resolve_dataset(f"voc:{make_voc(tmp_path, objects)}:train")
    evaluator = evaluator_of(tmp_path, name)
    # detectron2 gives NaN where an absent class (aeroplane) is predicted
    item, _ = perfect(name)[0]
    predictions = [predict(item, [[1, 1, 20, 20], [0, 0, 9, 9]], [11, 0])]
    for _ in range(2):  # evaluation leaves the evaluator as it was
        expected = {"AP": 100, "AP50": 100, "AP75": 100, "AP-dog": 100}
        assert score(evaluator, predictions) == {"bbox": expected}
    assert score(evaluator, [predict(item, [], [])])["bbox"]["AP"] == 0


def test_voc_without_any_object_is_refused(tmp_path):
    name = resolve_dataset(f"voc:{make_voc(tmp_path, {'1': []})}:train")
    with pytest.raises(ValueError, match=r"DATASETS\.TEST: the split 'train' .* no object"):
        score(evaluator_of(tmp_path, name), perfect(name))


# Semantic segmentation


def test_sem_seg_reads_labels_with_any_numpy(tmp_path):
    labels = np.zeros((30, 40), dtype=np.uint8)
    labels[:15], labels[:, :3] = 1, 255
    Image.fromarray(labels).save(tmp_path / "1.png")
    make_image(tmp_path / "1.jpg")
    item = {"file_name": str(tmp_path / "1.jpg"), "sem_seg_file_name": str(tmp_path / "1.png")}
    DatasetCatalog.register("labels", lambda: [item])
    MetadataCatalog.get("labels").set(
        evaluator_type="sem_seg", stuff_classes=["floor", "sky"], ignore_label=255
    )
    output = torch.nn.functional.one_hot(torch.from_numpy(labels == 1).long(), 2).permute(2, 0, 1)
    results = score(evaluator_of(tmp_path, "labels"), [(item, {"sem_seg": output.float()})])
    assert results["sem_seg"]["mIoU"] == pytest.approx(100)


# What cannot be evaluated


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (None, "has no evaluator"),
        ("coco_panoptic_seg", "panopticapi.*coco_2017_val"),
        ("lvis", "package lvis"),
        ("cityscapes_sem_seg", "cityscapesscripts"),
        ("depth", r"'depth': .* evaluators for \[.*'coco', .*'pascal_voc', 'sem_seg'\]"),
    ],
)
def test_other_kinds_are_refused_with_a_reason(kind, message):
    DatasetCatalog.register("mine", list)
    if kind:
        MetadataCatalog.get("mine").set(evaluator_type=kind)
    for check in (check_evaluators, lambda cfg: build_evaluator(cfg, "mine")):
        with pytest.raises(ValueError, match=rf"DATASETS\.TEST: 'mine' .*{message}"):
            check(make_cfg(test=("mine",)))


def test_folders_cannot_be_evaluated(tmp_path):
    name = resolve_dataset(f"folder:{tmp_path}")
    with pytest.raises(ValueError, match="it has no labels"):
        check_evaluators(make_cfg(test=("coco_2017_val", name)))
