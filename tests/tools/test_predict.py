"""tools/predict.py: what is found, in the image's pixels, under its name, in all three outputs."""

import contextlib
import csv
import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from helpers import CONFIGS, base_config, photo, tiny_config
from PIL import Image
from pycocotools.coco import COCO
from tool_helpers import load_tool

from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.prediction import find_images

LABELS = {"thing_classes": ["cat", "dog"], "thing_dataset_id_to_contiguous_id": {7: 0, 9: 1}}
SEGMENTS = {"stuff_classes": ["sky", "road"], "stuff_dataset_id_to_contiguous_id": {3: 0, 4: 1}}
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
         "INPUT.MIN_SIZE_TEST", 64, "DATASETS.TRAIN", (), "DATASETS.TEST", ()]  # fmt: skip


def write_run(folder, yaml, labels, *options):
    """Write what a fine-tuning leaves."""
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "mini/finetune" / yaml))
    cfg.merge_from_list([*SMALL, *options])
    torch.manual_seed(0)
    model = build_model(cfg)
    folder.mkdir()
    (folder / "config.yaml").write_text(cfg.dump())
    settings = backbone_settings(cfg)
    Checkpointer(model, str(folder), settings=settings, labels=labels).save("model_final")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a detector that finds something everywhere: its scores are near a third."""
    folder = tmp_path_factory.mktemp("runs") / "detector"
    write_run(folder, "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN.yaml", LABELS,
              "MODEL.ROI_HEADS.NUM_CLASSES", 2)  # fmt: skip
    return folder


@pytest.fixture
def images(tmp_path):
    """Images of all kinds, and a file that is none."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    pixels = photo(np.random.default_rng(0), 90, 60)
    Image.fromarray(pixels).save(folder / "a.jpg")
    Image.fromarray(pixels).convert("L").save(folder / "below" / "a.png")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(folder / "below" / "b.png")
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    return folder


def predict(*arguments):
    return load_tool("predict").main(list(map(str, arguments)))


def test_all_outputs_agree(run, images, tmp_path, capsys, restore_catalogs):
    output = tmp_path / "output"
    assert predict("--weights", run, "--input", images, "--output", output,
                   "--threshold", 0.2, "--batch-size", 3) == 3  # fmt: skip
    printed = capsys.readouterr().out
    assert "5 images, on cpu" in printed and "1 of 5 files could not be read" in printed
    data = COCO(str(output / "predictions.json"))
    assert data.loadCats(data.getCatIds()) == [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    sizes = {x["file_name"]: (x["width"], x["height"]) for x in data.imgs.values()}
    assert sizes == {"a.jpg": (90, 60), "below/a.png": (90, 60), "below/b.png": (90, 60),
                     "turned.jpg": (60, 90)}  # fmt: skip
    assert len(data.anns) > 0
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert len(rows) == len(data.anns)
    for row, item in zip(rows, data.anns.values()):
        x, y, width, height = item["bbox"]
        corners = [float(row[k]) for k in ("x1", "y1", "x2", "y2")]
        assert corners == pytest.approx([x, y, x + width, y + height], abs=0.06)
        assert row["class"] == {7: "cat", 9: "dog"}[item["category_id"]]
        assert float(row["score"]) == pytest.approx(item["score"], abs=1e-4)
        assert item["score"] >= 0.2
        limits = sizes[row["file_name"]]
        assert corners[2] <= limits[0] + 0.1 and corners[3] <= limits[1] + 0.1
        assert data.annToMask(item).shape == limits[::-1]
    pictures = {x.relative_to(output / "pictures").as_posix()
                for x in (output / "pictures").rglob("*.*")}  # fmt: skip
    assert pictures == set(sizes)
    # a data set as it is: predictions as labels
    entry = resolve_dataset(f"coco:{output}/predictions.json:{images}")
    assert sum(len(x["annotations"]) for x in DatasetCatalog.get(entry)) == len(rows)
    assert MetadataCatalog.get(entry).thing_classes == ["cat", "dog"]


def test_they_are_those_of_the_model(run, images, tmp_path):
    """One at a time the scores are those of the Python API, whatever the threshold leaves."""
    from dense_ssl import load_detector

    predict("--weights", run / "model_final.pth", "--input", images / "a.jpg", "--output",
            tmp_path / "output", "--threshold", 0, "--no-pictures",
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)  # fmt: skip
    found = json.loads((tmp_path / "output/predictions.json").read_text())["annotations"]
    detector = load_detector(run, overrides={"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0})
    assert detector.labels == LABELS
    expected = detector(str(images / "a.jpg"))["instances"]
    assert [x["score"] for x in found] == pytest.approx(expected.scores.tolist())
    assert not (tmp_path / "output" / "pictures").exists()


def test_a_threshold_above_all_scores_says_the_highest(run, images, tmp_path, capsys):
    assert predict("--weights", run, "--input", images / "a.jpg", "--output", tmp_path / "o",
                   "--threshold", 0.99) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "nothing found" in printed and "The highest score is 0." in printed


def test_a_full_image_is_reported(run, images, tmp_path, capsys):
    predict("--weights", run, "--input", images / "a.jpg", "--output", tmp_path / "o",
            "--threshold", 0.1, "TEST.DETECTIONS_PER_IMAGE", 2)  # fmt: skip
    assert "1 images reached the limit of 2 detections" in capsys.readouterr().out


def test_a_segmentor(images, tmp_path, capsys):
    write_run(tmp_path / "run", "CamVid-SemanticSegmentation/fcn_R_18.yaml", SEGMENTS,
              "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2)  # fmt: skip
    predict("--weights", tmp_path / "run", "--input", images / "a.jpg", "--output", tmp_path / "o")
    assert "predictions.csv, label_maps/, pictures/" in capsys.readouterr().out
    labels = np.asarray(Image.open(tmp_path / "o/label_maps/a.png"))
    assert labels.shape == (60, 90) and set(np.unique(labels)) <= {3, 4}
    data = COCO(str(tmp_path / "o/predictions.json"))
    for item in data.anns.values():
        assert np.array_equal(data.annToMask(item), labels == item["category_id"])
        assert item["area"] == (labels == item["category_id"]).sum()
    picture = cv2.imread(str(tmp_path / "o/pictures/a.jpg"))
    assert picture.shape[1] == 4 * 90 and picture.shape[0] > 4 * 60  # a legend below


def test_a_pre_training_must_be_fine_tuned_first(images, tmp_path, capsys):
    cfg = tiny_config("BYOL", "unused", tmp_path / "pre")
    (tmp_path / "pre").mkdir()
    (tmp_path / "pre/config.yaml").write_text(cfg.dump())
    Checkpointer(build_model(cfg), str(tmp_path / "pre"), settings=backbone_settings(cfg)).save("m")
    for weights in (tmp_path / "pre", tmp_path / "pre" / "backbone.pkl"):
        assert predict("--weights", weights, "--input", images, "--output", tmp_path / "o") == 1
        assert "fine-tune a detector first" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "yaml",
    ["COCO-RoIClassification/roi_linear_R_18_C5.yaml", "Image-Classification/linear_R_18.yaml"],
)
def test_a_classifier_finds_no_objects(images, tmp_path, capsys, yaml):
    write_run(tmp_path / "run", yaml, LABELS)
    assert (
        predict("--weights", tmp_path / "run", "--input", images, "--output", tmp_path / "o") == 1
    )
    assert "--eval-only gives its accuracy" in capsys.readouterr().err


def test_other_mistakes_have_a_message(run, images, tmp_path, capsys):
    output = ["--output", tmp_path / "o"]
    assert predict("--weights", run, "--input", images / "*.gif", *output) == 1
    assert "no pattern that fits a file" in capsys.readouterr().err
    shutil.copy(run / "model_final.pth", tmp_path / "alone.pth")
    assert predict("--weights", tmp_path / "alone.pth", "--input", images, *output) == 1
    assert "no config.yaml beside" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict("--weights", run, "--input", images, *output, "--batch-size", 0)
    with pytest.raises(SystemExit):
        predict("--weights", run, "--input", images, *output, "INPUT.MIN_SIZE_TEST")


def test_a_file_beside_another_config(run, images, tmp_path):
    shutil.copy(run / "model_final.pth", tmp_path / "alone.pth")
    assert predict("--weights", tmp_path / "alone.pth", "--config-file", run / "config.yaml",
                   "--input", images / "a.jpg", "--output", tmp_path / "o") == 0  # fmt: skip


def test_files_folders_and_patterns(images):
    everything = ["a.jpg", "below/a.png", "below/b.png", "broken.jpg", "turned.jpg"]
    root, names = find_images([str(images)])
    assert (root, names) == (str(images), everything)
    assert find_images([str(images / "**/*.png")]) == (str(images / "below"), ["a.png", "b.png"])
    _, names = find_images([str(images / "turned.jpg"), str(images)])
    assert names == ["turned.jpg", *everything[:-1]]  # each once


def test_pictures_of_before_are_no_input(run, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(images)
    for _ in range(2):
        assert predict("--weights", run, "--input", ".", "--output", "predictions") == 3
        assert "5 images, on" in capsys.readouterr().out
    assert len(list((images / "predictions/pictures").rglob("*.*"))) == 4
    with pytest.raises(ValueError, match="the only images are those that this tool has written"):
        find_images([images / "predictions"], without=[images / "predictions/pictures"])


def test_names_of_unknown_classes():
    from dense_ssl.prediction.classes import ClassTable

    cfg = base_config("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", 2)
    for labels in ({}, {"thing_classes": ["only one"]}):
        table = ClassTable(cfg, labels)
        assert table.names == ["class 1", "class 2"] and table.ids == [1, 2]
    assert ClassTable(cfg, LABELS).ids == [7, 9]


def test_keypoints_are_written_and_drawn(tmp_path):
    from dense_ssl.prediction.classes import ClassTable
    from dense_ssl.prediction.records import Records
    from dense_ssl.visualization.objects import draw_instances

    labels = {"thing_classes": ["bird"], "keypoint_names": ["beak", "tail"],
              "keypoint_connection_rules": [["beak", "tail", [1, 2, 3]]]}  # fmt: skip
    cfg = base_config(
        "MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.ROI_HEADS.NUM_CLASSES", 1
    )
    table = ClassTable(cfg, labels)
    found = Instances((40, 40), pred_boxes=Boxes(torch.tensor([[2.0, 2, 30, 30]])),
                      scores=torch.tensor([0.9]), pred_classes=torch.tensor([0]),
                      pred_keypoints=torch.tensor([[[5.0, 20, 0.9], [25, 20, 0.8]]]))  # fmt: skip
    image = np.zeros((40, 40, 3), np.uint8)
    records = Records("", table)
    records.add_instances("x.jpg", image, found)
    records.write(tmp_path)
    data = json.loads((tmp_path / "predictions.json").read_text())
    assert data["categories"] == [{"id": 1, "name": "bird", "keypoints": ["beak", "tail"],
                                   "skeleton": [[1, 2]]}]  # fmt: skip
    assert data["annotations"][0]["num_keypoints"] == 2
    assert len(data["annotations"][0]["keypoints"]) == 6
    picture = draw_instances(image, found, table.labels, scale=2)
    assert picture[40, 30].any()  # on the line between the points
    assert not picture[50, 30].any()


def test_names_that_are_not_utf8(run, images, tmp_path, capsys):
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    for name in (b"caf\xe9.jpg", b"a.jpg"):
        shutil.copy(os.fsencode(images / "a.jpg"), os.path.join(folder, name))
    with open(os.path.join(folder, b"brok\xe9n.jpg"), "wb") as file:
        file.write(b"no image")
    assert predict("--weights", run, "--input", tmp_path / "in", "--output", tmp_path / "o",
                   "--threshold", 0.1) == 3  # fmt: skip
    assert "2 images" in capsys.readouterr().out
    assert set(os.listdir(os.fsencode(tmp_path / "o/pictures"))) == {b"caf\xe9.jpg", b"a.jpg"}
    rows = (tmp_path / "o/predictions.csv").read_bytes().splitlines()
    assert {x.partition(b",")[0] for x in rows[1:]} == {b"caf\xe9.jpg", b"a.jpg"}


def test_label_maps_of_images_with_one_stem(images, tmp_path):
    write_run(tmp_path / "run", "CamVid-SemanticSegmentation/fcn_R_18.yaml", SEGMENTS,
              "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2)  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "b.jpg"):
        shutil.copy(images / "a.jpg", folder / name)
    predict("--weights", tmp_path / "run", "--input", folder, "--output", tmp_path / "o")
    names = sorted(x.name for x in (tmp_path / "o/label_maps").iterdir())
    assert names == ["a.jpg.png", "a.png.png", "b.png"]


def test_no_file_is_written_twice(images, tmp_path):
    """Neither pictures, of which a GIF's is a.gif.png, nor label maps take each other's names."""
    write_run(tmp_path / "run", "CamVid-SemanticSegmentation/fcn_R_18.yaml", SEGMENTS,
              "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2)  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.gif", "a.gif.png", "a.jpg", "a.jpg.png", "a.png"):
        Image.open(images / "a.jpg").save(folder / name)
    predict("--weights", tmp_path / "run", "--input", folder, "--output", tmp_path / "o")
    pictures, maps = ({x.name for x in (tmp_path / "o" / y).iterdir()}
                      for y in ("pictures", "label_maps"))  # fmt: skip
    assert pictures == {"a.gif.png", "a.gif.png.png", "a.jpg", "a.jpg.png", "a.png"}
    assert len(maps) == 5


@pytest.mark.parametrize("words, message", [
    (("--threshold", "nan"), "'nan' must be a number from 0 to 1"),
    (("--threshold", 2), "'2' must be a number from 0 to 1"),
    (("TEST.DETECTIONS_PER_IMAGE", 0), "TEST.DETECTIONS_PER_IMAGE is 0"),
    (("INPUT.MIN_SIZE_TEST", -5), "INPUT.MIN_SIZE_TEST is -5"),
])  # fmt: skip
def test_values_are_checked(run, images, tmp_path, capsys, words, message):
    with contextlib.suppress(SystemExit):
        assert predict("--weights", run, "--input", images, "--output", tmp_path / "o", *words) == 1
    assert message in capsys.readouterr().err
