"""The check of a data set: every kind of fault is found, and nothing is said of sound data."""

import json
import os
import re

import numpy as np
import pytest
from dataset_files import make_cfg, make_coco, make_image, make_labels, make_voc
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources import check_cache, coco, coco_check
from dense_ssl.data.sources.check_text import report, summary
from dense_ssl.data.sources.entries import check_entry, register_datasets, resolve_dataset
from dense_ssl.data.views.loader import pretrain_dataset_dicts

pytestmark = pytest.mark.usefixtures("restore_catalogs")

PLAIN = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}
MASK = [[1, 2, 11, 2, 11, 10, 1, 10]]


def boxes(*changes, **others):
    annotations = [{**PLAIN, "id": i + 1, **x} for i, x in enumerate(changes)]
    return lambda folder: make_coco(folder, annotations=annotations, **others)


def voc(*objects, text=None, **settings):
    def make(folder):
        root = make_voc(folder, {"a": list(objects), "b": []}, **settings)
        if text is not None:
            (root / "Annotations/a.xml").write_text(text)
        return f"voc:{root}:train"

    return make


def label_maps(*values, classes="0 floor\n5 road\n9 car\n", size=(30, 40)):
    def make(folder):
        for i, value in enumerate(values):
            make_image(folder / f"images/{i}.png")
            value = np.broadcast_to(value, size) if np.ndim(value) < 2 else value
            make_labels(folder / f"labels/{i}.png", value, "I;16" if np.max(value) > 255 else "L")
        (folder / "classes.txt").write_text(classes)
        ending = f":{folder / 'classes.txt'}" if classes else ""
        return f"semseg:{folder / 'images'}:{folder / 'labels'}{ending}"

    return make


def photos(change, labelled=True):
    """A COCO json, or a folder, whose first image is changed."""

    def make(folder):
        entry = make_coco(folder, annotations=[PLAIN])
        change(folder / "images/1.jpg")
        return entry if labelled else f"folder:{folder / 'images'}"

    return make


def cut_off(path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-40])  # the header is whole


def turn(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(path, exif=exif)  # 40 x 30, as its labels say


def many_values(count):
    return np.arange(1200).reshape(30, 40) % count


IMAGES = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (1, 2)]
BAD_XML = "<annotation><object><name>cat</name>"

# name: (data, what is an error, what is odd)
CASES = {
    # sound data
    "boxes": (boxes({}), "", ""),
    "masks": (boxes({"segmentation": MASK}), "", ""),
    "crowds": (boxes({"segmentation": MASK}, {"iscrowd": 1}), "", ""),
    "no labels": (lambda folder: make_coco(folder, annotations=None), "", ""),
    "photos": (photos(make_image, labelled=False), "", ""),
    "VOC": (voc(("cat", "", 2, 3, 9, 9)), "", ""),
    "label maps": (label_maps(0, 5, 9, 255), "", "1 of 4 label maps have no labelled pixel"),
    "16-bit label maps": (label_maps(0, 900, classes="0 a\n900 b\n"), "", ""),
    # COCO
    "ids from 0": (boxes({"id": 0}), "", "counted anew"),
    "no area": (boxes({"area": None}), "", "1 annotations have no area"),
    "a word as area": (boxes({"area": "big"}), "", "1 annotations have no area"),
    "no word on crowds": (boxes({"iscrowd": None}, {"iscrowd": "0"}, {"iscrowd": "False"}), "", ""),
    "another word on crowds": (boxes({"iscrowd": "maybe"}), "annotation 1 is 'maybe'; it must", ""),
    "a number as a class": (boxes({}, categories=[{"id": 7, "name": 7}]), "", ""),
    "a class without a name": (boxes({}, categories=[{"id": 7, "name": None}]),
                               "category 7 has no name", ""),
    "images with one id": (lambda f: make_coco(f, images=[IMAGES[0]] * 2), "ids of images occur",
                           ""),
    "classes with one id": (boxes({}, categories=[{"id": 7, "name": x} for x in "ab"]),
                            "ids of categories occur", ""),
    "no sizes": (boxes({}, images=[{"id": 1, "file_name": "1.jpg"}]), "1 of 1 images have no width",
                 ""),
    "a text as width": (boxes({}, images=[{**IMAGES[0], "width": "40"}]), "no width", ""),
    "an unknown class": (boxes({"category_id": 2}), "category_id that is not among", ""),
    "an unknown image": (boxes({"image_id": 9}), "image_id that is not among", ""),
    "no image_id": (boxes({"image_id": None}), "1 annotations have no image_id, first ann", ""),
    "no box": (boxes({}, {"bbox": None}), "1 of 2 annotations have no bbox, first", ""),
    "an empty box": (boxes({"bbox": []}), r"annotation 1 is \[\]; it must be four", ""),
    "NaN in a box": (boxes({"bbox": [1, float("nan"), 3, 4]}), "must be four numbers", ""),
    "corners": (boxes({"bbox": [20, 10, 38, 28]}), "", r"1 of 1 boxes leave .* x1, y1, x2, y2\?"),
    "shares of the sides": (boxes({"bbox": [0.1, 0.1, 0.4, 0.3]}), "", "no number of a bbox is ab"),
    "boxes without area": (boxes({"bbox": [3, 3, 0, 5]}), "", "1 of 1 boxes have no area"),
    "annotations in an object": (lambda f: make_coco(f, annotations={"1": PLAIN}),
                                 "'annotations' must be a list", ""),
    "a mask is missing": (boxes({"segmentation": MASK}, {}), "",
                          "1 of 2 objects have no mask, first annotation 2 "),
    "a mask is empty": (boxes({"segmentation": MASK}, {"segmentation": []}), "", "have no mask"),
    "NaN in a mask": (boxes({"segmentation": [[float("nan")] * 6]}), "annotation 1 has NaN", ""),
    "an RLE of another size": (boxes({"segmentation": {"size": [9, 9], "counts": [1, 80]}}),
                               r"is an RLE of the size \[9, 9\]", ""),
    "sizes that are not the files'": (boxes({}, images=[{**IMAGES[0], "width": 60}]),
                                      "1 of 1 images have another size.*40 x 30, not 60 x 30", ""),
    # images
    "cut off, with labels": (photos(cut_off), "1 of 2 images cannot be read, first .*1.jpg", ""),
    "an absent image": (photos(os.remove), "1 of 2 images cannot be read.*No such file", ""),
    "no image": (photos(lambda x: x.write_text("hello")), "not an image of a known format", ""),
    "an empty file": (photos(lambda x: x.write_text("")), "the file is empty", ""),
    "turned": (photos(turn), "", "1 of 2 images are turned"),
    "16 bits": (photos(lambda x: Image.new("I;16", (40, 30)).save(x, "PNG")), "",
                "1 of 2 images have more than 8 bits"),
    "an empty folder": (lambda f: f"folder:{f}", "no images in", ""),
    "no such folder": (lambda f: f"folder:{f / 'no'}", "does not exist", ""),
    "no entry": (lambda f: "photos", "not a data set", ""),
    # VOC
    "xml cut off": (voc(text=BAD_XML), "a.xml' is not valid xml", ""),
    "no xml": (lambda f: (voc(("cat", "", 2, 3, 9, 9))(f),
                          os.remove(f / "voc/Annotations/a.xml"))[0], "a.xml' does not exist", ""),
    "no image of an xml": (lambda f: (voc(("cat", "", 2, 3, 9, 9))(f),
                                      os.remove(f / "voc/JPEGImages/a.jpg"))[0],
                           "there is no image", ""),
    "NaN in a VOC box": (voc(("cat", "", "nan", 3, 9, 9)), "'nan' in <bndbox><xmin>", ""),
    "VOC outside": (voc(("cat", "", 2, 3, 90, 9)), "", "1 of 1 boxes leave .* object 1 of .*a.xml"),
    "VOC without area": (voc(("cat", "", 9, 3, 2, 9)), "", "1 of 1 boxes have no area"),
    "a fraction as size": (
        voc(("cat", "", 2, 3, 9, 9), size="<size><width>40.0</width><height>30</height></size>"),
        "", ""),
    "a word as size": (
        voc(("cat", "", 2, 3, 9, 9), size="<size><width>wide</width><height>30</height></size>"),
        "a.xml' has 'wide' in <size><width>, which is not a number", ""),
    "difficult in words": (voc(("cat", "<difficult>maybe</difficult>", 2, 3, 9, 9)),
                           "'maybe' in <difficult>", ""),
    "another size in the xml": (
        voc(("cat", "", 2, 3, 9, 9), size="<size><width>50</width><height>30</height></size>"),
        "2 of 2 images have another size than their labels", ""),
    # label maps
    "an unlisted value": (label_maps(0, 3), "has the values 3, which are not a class", ""),
    "two unlisted values": (label_maps(3, 4), "2 of 2 label maps have a fault, first: .* values 3",
                            ""),
    "another size of a map": (label_maps(np.zeros((3, 4), int)), "has 4 x 3 pixels, its image", ""),
    "no map": (lambda f: (label_maps(0, 5)(f), os.remove(f / "labels/1.png"))[0],
               "1 of 2 images have no label map", ""),
    "too many values": (label_maps(many_values(300), classes=""),
                        "more than 254 different values .*nearest neighbour.*CLASSES.txt", ""),
    "255 values without 255": (label_maps(many_values(255), classes=""), "more than 254 diff", ""),
    "254 values": (label_maps(many_values(254), classes=""), "", ""),
    "too many classes": (label_maps(0, classes="\n".join(f"class{i}" for i in range(300))),
                         "has 300 classes, at most 254 are possible.*Join classes", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_fault_is_found(tmp_path, case):
    make, error, note = CASES[case]
    check = check_entry(make(tmp_path))
    text = "\n".join(report(check))
    for found, expected in ((check.errors, error), (check.notes, note)):
        assert len(found) == bool(expected), text
        if expected:
            assert re.search(expected, found[0]), text
    assert ("ERROR" in text) == bool(error)
    assert json.loads(json.dumps(check.as_dict()))["errors"] == check.errors


STOPS_PRETRAINING = ("images with one id", "no image of an xml", "an empty folder",
                     "no such folder", "no entry")  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", ["", "_100pct_seed0"])
def test_pre_training_reads_no_labels(tmp_path, case, share):
    entry = CASES[case][0](tmp_path) + share
    cfg = make_cfg((entry,))
    if case in STOPS_PRETRAINING:
        with pytest.raises((OSError, ValueError), match=r"^DATASETS\.TRAIN"):
            pretrain_dataset_dicts(cfg)
    else:
        assert pretrain_dataset_dicts(cfg)


# these files are found where they are read: at the start only some are looked at
OF_IMAGES = ("cut off, with labels", "an absent image", "no image", "an empty file", "turned",
             "sizes that are not the files'", "another size in the xml")  # fmt: skip


@pytest.mark.parametrize(
    "case", [k for k, x in CASES.items() if "RLE" not in k and "mask" not in k]
)
def test_fine_tuning_starts_with_sound_labels_alone(tmp_path, case):
    make, error, _ = CASES[case]
    entry = make(tmp_path)
    semantic = entry.startswith("semseg")
    cfg = make_cfg((entry,), META_ARCHITECTURE="SemanticSegmentor" if semantic else "RetinaNet")
    is_faulty = error and case not in OF_IMAGES or case in ("no labels", "photos")
    if is_faulty:
        with pytest.raises((OSError, ValueError), match=r"^DATASETS\.TRAIN"):
            register_datasets(cfg)
            resolve_labels(cfg)
    else:
        register_datasets(cfg)
        resolve_labels(cfg)


def test_a_share_counts_its_own_images_and_all_labels(tmp_path):
    check = check_entry(f"{boxes({}, {'image_id': 2})(tmp_path)}_50pct_seed0")
    assert check.images.total == 1 and check.labels.counts["objects"] == 2


def test_builtin_and_foreign_data_sets(tmp_path):
    entry = boxes({"bbox": [20, 10, 38, 28]})(tmp_path)
    path, root = entry[5:].split(":")
    DatasetCatalog.register("mine", lambda: [{"file_name": f"{root}/1.jpg", "image_id": 1}])
    assert check_entry("mine").images.total == 1 and check_entry("mine").labels is None
    MetadataCatalog.get("mine").set(evaluator_type="coco", json_file=path)
    assert "leave their image" in check_entry("mine").notes[0]


def test_all_pixels_are_read_if_that_is_asked(tmp_path):
    def damage(path):
        noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
        Image.fromarray(noise).save(path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 2000] = b"\xff\xd0" * 1000
        path.write_bytes(data)

    folder = tmp_path / "images"
    make_image(folder / "2.jpg")
    damage(folder / "1.jpg")
    assert check_entry(f"folder:{folder}").errors == []
    check = check_entry(f"folder:{folder}", decode=True)
    assert check.images.broken == 1 and "damaged" in check.errors[0] and check.images.decoded


def test_files_that_are_left_out_are_counted(tmp_path):
    make_image(tmp_path / "a/1.png")
    for name in ("a/1.heic", "a/b.heic", "a/notes"):
        (tmp_path / name).write_text("x")
    check = check_entry(f"folder:{tmp_path}")
    assert check.skipped == {"heic": 2, "": 1}
    assert "  left out  2 x .heic, 1 x without" in report(check)
    assert summary(check) == "1 image: 1 PNG, 40 x 30 pixels, headers read"


def test_a_check_is_kept_until_its_file_changes(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(coco, "check_coco", lambda x: calls.append(x) or coco_check.check_coco(x))
    entry = boxes({})(tmp_path)
    for _ in range(2):
        monkeypatch.setattr(check_cache, "_known", {})  # as in another process
        assert check_entry(entry).labels.counts["objects"] == 1
    assert len(calls) == 1
    boxes({}, {"image_id": 2})(tmp_path)
    assert check_entry(entry).labels.counts["objects"] == 2 and len(calls) == 2
    monkeypatch.setattr(check_cache, "_known", {})
    monkeypatch.setattr(check_cache, "VERSION", "of another version")
    check_entry(entry)
    assert len(calls) == 3


def test_a_cache_that_cannot_be_written_or_is_damaged_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "file"))
    entry = boxes({})(tmp_path)
    assert check_entry(entry).labels.counts["objects"] == 1
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(check_cache, "_known", {})
    check_entry(entry)
    for path in (tmp_path / "dense_ssl_checks").iterdir():
        path.write_text(path.read_text()[:20])
    monkeypatch.setattr(check_cache, "_known", {})
    assert check_entry(entry).labels.counts["objects"] == 1


def test_labels_become_known_where_pre_training_did_not_read_them(tmp_path):
    entry = boxes({})(tmp_path)
    resolve_dataset(entry, labels=False)
    assert not MetadataCatalog.get(entry).get("thing_classes")
    resolve_dataset(entry)
    assert MetadataCatalog.get(entry).thing_classes == ["cat", "dog"]
