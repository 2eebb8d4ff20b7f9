"""The linear probe of boxes: which classes it separates, and which boxes it leaves out."""

import json
import logging

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from helpers import CONFIGS, TINY, recorded_log, tiny_config
from tool_helpers import load_tool
from torch import nn

from dense_ssl.analysis import roi_probe
from dense_ssl.analysis.roi_probe import BoxFeatures, choose_images, collect, roi_linear
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.reports.run_results import final_evaluation
from dense_ssl.scenes import SceneSpec, write_scenes

pytest.importorskip("sklearn")

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
BOXES = [(0, 0, 40, 30), (40, 0, 80, 30), (0, 30, 80, 60)]


class Colours(nn.Module):
    """A backbone whose features are the colours of 8 x 8 pixels."""

    def forward(self, x):
        return {"colour": nn.functional.avg_pool2d(x, 8)}

    def output_shape(self):
        return {"colour": ShapeSpec(channels=3, stride=8)}


def paint(folder, name, classes, **more):
    image = np.zeros((60, 80, 3), np.uint8)
    annotations = []
    for c, (x1, y1, x2, y2) in zip(classes, BOXES):
        image[y1:y2, x1:x2] = COLOURS[c]
        annotations.append({"bbox": [x1, y1, x2, y2], "bbox_mode": BoxMode.XYXY_ABS,
                            "category_id": c, **more})  # fmt: skip
    cv2.imwrite(str(folder / name), image[:, :, ::-1])
    return {"file_name": str(folder / name), "annotations": annotations}


@pytest.fixture
def painted(tmp_path, restore_catalogs):
    rng = np.random.default_rng(0)
    for name, count in (("probe_train", 12), ("probe_test", 6)):
        dicts = [paint(tmp_path, f"{name}{i}.png", rng.integers(0, 3, 3)) for i in range(count)]
        DatasetCatalog.register(name, lambda dicts=dicts: dicts)
    return tmp_path


def model():
    return BoxFeatures(Colours(), "colour", [127.0] * 3, [64.0] * 3, 64)


def test_boxes_are_pooled_from_where_they_are(painted):
    features, labels = collect(model(), DatasetCatalog.get("probe_train"))
    assert features.shape == (36, 3) and labels.shape == (36,)
    assert (features.argmax(axis=1) == labels).all()


def test_separable_classes_are_separated(painted):
    with recorded_log(roi_probe.__name__, logging.WARNING) as messages:
        result = roi_linear(model(), "probe_train", "probe_test", norm_images=4)
    assert not messages
    names = ("accuracy", "class_accuracy", "linear", "knn")
    assert [result[x] for x in names] == [100] * 4
    assert result["train_boxes"] == 36 and result["test_boxes"] == 18


def test_label_maps_count_as_the_boxes_of_their_cells(tmp_path, restore_catalogs):
    """64 pixels and a stride of 8: 8 x 8 cells; those without half a class do not count."""
    rng, lines = np.random.default_rng(0), "".join(f"{i} {x}\n" for i, x in enumerate("abc"))
    (tmp_path / "classes.txt").write_text(lines)
    for part, count in (("train", 3), ("test", 2)):
        for folder in ("images", "labels"):
            (tmp_path / part / folder).mkdir(parents=True)
        for i in range(count):
            labels = rng.integers(0, 3, (8, 8)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
            image = np.array(COLOURS, np.uint8)[labels]
            labels[:10, :10] = 255
            cv2.imwrite(str(tmp_path / part / "images" / f"{i}.png"), image[:, :, ::-1])
            cv2.imwrite(str(tmp_path / part / "labels" / f"{i}.png"), labels)
    names = [f"semseg:{tmp_path}/{x}/images:{tmp_path}/{x}/labels:{tmp_path}/classes.txt"
             for x in ("train", "test")]  # fmt: skip
    for name in names:
        resolve_dataset(name, "DATASETS.TRAIN")
    result = roi_linear(model(), *names, norm_images=2)
    assert result["accuracy"] == result["class_accuracy"] == result["knn"] == 100
    assert result["train_boxes"] == 3 * 63 and result["test_boxes"] == 2 * 63


def test_constant_features_give_at_most_the_majority(painted):
    constant = model()
    constant.backbone.forward = lambda x: {"colour": torch.zeros(len(x), 3, 8, 8)}
    with recorded_log(roi_probe.__name__, logging.WARNING) as messages:
        result = roi_linear(constant, "probe_train", "probe_test")
    assert result["accuracy"] <= result["majority"] + 1e-6
    most = np.bincount([x["category_id"] for y in DatasetCatalog.get("probe_train")
                        for x in y["annotations"]])  # fmt: skip
    text = (
        f"every box as class {most.argmax()}, which {100 * most.max() / 36:.0f} % of the training"
    )
    assert len(messages) == 1 and text in messages[0]


@pytest.mark.parametrize("flag", ["iscrowd", "difficult"])
def test_crowds_and_difficult_boxes_do_not_count(painted, flag):
    dicts = [paint(painted, "x.png", (0, 1, 2)), paint(painted, "y.png", (0, 1, 2), **{flag: 1})]
    features, labels = collect(model(), dicts)
    assert len(features) == len(labels) == 3


def test_many_boxes_are_limited_with_a_message():
    dicts = [{"number": i, "annotations": [{}] * (i % 3)} for i in range(300)]
    with recorded_log(roi_probe.__name__, logging.WARNING) as messages:
        assert choose_images(dicts, 300) is dicts and not messages
        chosen = choose_images(dicts, 60)
    assert 60 <= sum(len(x["annotations"]) for x in chosen) <= 61
    numbers = [x["number"] for x in chosen]
    assert numbers == sorted(numbers) and 100 < np.mean(numbers) < 200  # not the first ones
    assert chosen == choose_images(dicts, 60)
    assert "of 300 boxes" in messages[0] and "--max-boxes" in messages[0]


def test_the_limit_reaches_both_data_sets(painted):
    result = roi_linear(model(), "probe_train", "probe_test", norm_images=4, max_boxes=7)
    assert result["train_boxes"] == 9 and result["test_boxes"] <= 9 < 18


def test_the_tool_on_scenes(tmp_path, restore_catalogs, capsys):
    write_scenes(tmp_path, SceneSpec(), num_unlabeled=0, num_train=10, num_val=5)
    names = {x: f"('coco:{tmp_path}/annotations/instances_{x}.json:{tmp_path}/{x}',)"
             for x in ("train", "val")}  # fmt: skip
    cfg = tiny_config("BYOL", "unused", tmp_path)
    Checkpointer(build_model(cfg), str(tmp_path), settings=backbone_settings(cfg)).save("model")
    load_tool("roi_probe").main([
        "--side", "64", "--config-file", str(CONFIGS / "Base-Pretrain.yaml"), *map(str, TINY),
        "MODEL.WEIGHTS", str(tmp_path / "backbone.pkl"),
        "DATASETS.TRAIN", names["train"], "DATASETS.TEST", names["val"],
    ])  # fmt: skip
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 <= result["accuracy"] <= 100 and result["test_boxes"] > 0


def test_the_tool_probes_the_backbone_of_a_detector(tmp_path, restore_catalogs, capsys):
    """An FPN with SyncBN, on a machine that may have no GPU; with the result in a file."""
    write_scenes(tmp_path, SceneSpec(), num_unlabeled=0, num_train=6, num_val=4)
    names = {x: f"('coco:{tmp_path}/annotations/instances_{x}.json:{tmp_path}/{x}',)"
             for x in ("train", "val")}  # fmt: skip
    load_tool("roi_probe").main([
        "--side", "64", "--feature", "p3", "--write",
        "--config-file", str(CONFIGS / "study" / "scenes" / "frozen.yaml"), "SOLVER.MAX_ITER", "7",
        "DATASETS.TRAIN", names["train"], "DATASETS.TEST", names["val"],
        "OUTPUT_DIR", str(tmp_path / "out"),
    ])  # fmt: skip
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    metrics, _ = final_evaluation(tmp_path / "out", 7)
    assert metrics["probe/class_accuracy"] == pytest.approx(printed["class_accuracy"], abs=0.01)


def test_data_that_give_no_score_are_refused(painted):
    test, train = MetadataCatalog.get("probe_test"), MetadataCatalog.get("probe_train")
    for names in ((["a", "b"], ["b", "a"]), (["a", "b"], ["a"])):
        with pytest.MonkeyPatch.context() as patch:
            for meta, classes in zip((train, test), names):
                patch.setitem(vars(meta), "thing_classes", classes)
            with pytest.raises(ValueError, match="the same ones, in the same order"):
                roi_linear(model(), "probe_train", "probe_test")
    dicts = DatasetCatalog.get("probe_train")
    alone = [{**x, "annotations": [y for y in x["annotations"] if y["category_id"] == 0]}
             for x in dicts]  # fmt: skip
    for data, message in (([{**x, "annotations": []} for x in dicts], "has no labelled object"),
                          (alone, "objects of one class alone")):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(DatasetCatalog.data, "probe_train", lambda data=data: data)
            with pytest.raises(ValueError, match=message):
                roi_linear(model(), "probe_train", "probe_test", norm_images=4)
