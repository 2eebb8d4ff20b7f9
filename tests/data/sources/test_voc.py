"""Folders in the layout of VOC, of any origin."""

import logging
import os

import pytest
from dataset_files import OBJECT, make_cfg, make_voc
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import CLASS_NAMES, load_voc_instances
from detectron2.data.detection_utils import check_image_size, read_image
from helpers import recorded_log
from PIL import ExifTags, Image

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.finetune.region_mapper import RegionMapper, boxes_of, counted
from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.data.sources.voc_difficult import marked_dicts
from dense_ssl.data.sources.voc_source import check_voc

ROOT = os.environ.get("DETECTRON2_DATASETS", "")


pytestmark = pytest.mark.usefixtures("restore_catalogs")


def test_voc_equals_detectron2(tmp_path):
    root = make_voc(
        tmp_path, {"1": [("cat", "", 1, 2, 30, 20)], "2": [], "3": [("dog", "", 5, 5, 9, 9)]}
    )
    name = resolve_dataset(f"voc:{root}:train")
    assert DatasetCatalog.get(name) == load_voc_instances(str(root), "train", CLASS_NAMES)
    meta = MetadataCatalog.get(name)
    assert meta.evaluator_type == "pascal_voc" and meta.thing_classes == list(CLASS_NAMES)
    assert (meta.dirname, meta.split) == (str(root), "train")


@pytest.mark.parametrize(("suffix", "year"), [("", 2012), (":2012", 2012), (":2007", 2007)])
def test_voc_year_selects_the_metric(tmp_path, suffix, year):
    root = make_voc(tmp_path, {"1": []})
    assert MetadataCatalog.get(resolve_dataset(f"voc:{root}:train{suffix}")).year == year


def test_voc_with_own_classes_one_image_and_no_size(tmp_path):
    root = make_voc(tmp_path, {"1": [("robin", "", 1, 1, 20.5, 10)]}, size="")
    (root / "classes.txt").write_text("wren\nrobin\n\n")
    (root / "JPEGImages" / "1.jpg").rename(root / "JPEGImages" / "1.jpeg")
    name = resolve_dataset(f"voc:{root}:train")
    assert MetadataCatalog.get(name).thing_classes == ["wren", "robin"]
    (image,) = DatasetCatalog.get(name)
    assert (image["width"], image["height"]) == (40, 30)
    assert image["annotations"][0]["category_id"] == 1
    assert image["annotations"][0]["bbox"] == [0, 0, 20.5, 10]


def test_voc_layout_is_checked(tmp_path):
    root = make_voc(tmp_path, {"1": []})
    with pytest.raises(FileNotFoundError, match=r"val\.txt.*Splits there: \['train'\]"):
        resolve_dataset(f"voc:{root}:val")
    (root / "ImageSets/Main/none.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no images"):
        resolve_dataset(f"voc:{root}:none")
    (root / "classes.txt").write_text("a\na\n")
    with pytest.raises(ValueError, match="each class once"):
        resolve_dataset(f"voc:{root}:train")
    (root / "Annotations").rename(root / "annotations")
    with pytest.raises(FileNotFoundError, match="Annotations"):
        resolve_dataset(f"voc:{root}:train")
    with pytest.raises(FileNotFoundError, match="root of a VOC data set"):
        resolve_dataset(f"voc:{tmp_path}/x:train:2007")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", "not valid xml"),
        (
            "<a>" + OBJECT.format("cat", "", 1, "x", 2, 2) + "</a>",
            "object 1 .*'x' in <bndbox><ymin",
        ),
        ("<a><object><name>cat</name></object></a>", "object 1 .* no <bndbox><xmin>"),
        (None, "annotation file .* does not exist"),
    ],
)
def test_voc_annotation_faults_are_named(tmp_path, content, message):
    root = make_voc(tmp_path, {"1": []})
    path = root / "Annotations" / "1.xml"
    path.unlink() if content is None else path.write_text(content)
    name = resolve_dataset(f"voc:{root}:train")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        DatasetCatalog.get(name)
    assert "DATASETS.TRAIN" in str(error.value) and "1.xml" in str(error.value)


def test_voc_class_outside_the_list_is_named(tmp_path):
    root = make_voc(tmp_path, {"1": [("unicorn", "", 1, 1, 2, 2)]})
    (root / "classes.txt").write_text("horse\n")
    with pytest.raises(ValueError, match=r"1\.xml.*'unicorn'.*none of \['horse'\].*classes\.txt"):
        DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))


# Classes read from the annotations


def two_splits(tmp_path, train, test):
    """The root of a VOC folder whose images have objects of these classes."""
    for split, images in (("train", train), ("test", test)):
        objects = {k: [(x, "", 1, 1, 9, 9) for x in names] for k, names in images.items()}
        root = make_voc(tmp_path, objects, split=split)
    return root


def test_voc_classes_are_those_of_all_annotations_sorted(tmp_path):
    root = two_splits(tmp_path, {"1": ["wren", "robin"], "2": []}, {"3": ["owl", "wren", "cat"]})
    (root / "Annotations/more").mkdir()  # of no split
    (root / "Annotations/more/4.xml").write_text("<a>" + OBJECT.format(" rook ", "", 1, 1, 2, 2)
                                                 + "</a>")  # fmt: skip
    (root / "Annotations/broken.xml").write_text("<a>")
    with recorded_log("dense_ssl.data.sources.voc", logging.INFO) as log:
        names = [resolve_dataset(f"voc:{root}:{x}") for x in ("train", "test")]
    classes = ["cat", "owl", "robin", "rook", "wren"]
    assert [MetadataCatalog.get(x).thing_classes for x in names] == [classes, classes]
    assert [x["category_id"] for x in DatasetCatalog.get(names[1])[0]["annotations"]] == [1, 4, 0]
    assert "Reading the classes of 5 files" in log[0]  # once for both splits
    assert [x.split(": ")[-1] for x in log if "read from its annotations" in x] == [
        "cat, owl, robin, rook, wren"
    ] * 2
    assert len(log) == 5


def test_voc_classes_that_a_split_lacks_are_logged(tmp_path):
    root = two_splits(tmp_path, {"1": ["wren"]}, {"2": ["wren", "owl"]})
    for split, absent in (("train", "owl"), ("test", None)):
        with recorded_log("dense_ssl.data.sources.voc", logging.WARNING) as log:
            resolve_dataset(f"voc:{root}:{split}")
        assert len(log) == (1 if absent else 0)
        if absent:
            assert f"The split 'train' of {root} has no object of: owl." in log[0]


def test_voc_keeps_the_order_of_the_20_and_obeys_classes_txt(tmp_path):
    root = two_splits(tmp_path, {"1": ["dog", "cat"]}, {"2": ["person"]})
    with recorded_log("dense_ssl.data.sources.voc", logging.INFO) as log:
        name = resolve_dataset(f"voc:{root}:train")
    assert MetadataCatalog.get(name).thing_classes == list(CLASS_NAMES)
    assert "objects of 3 of VOC's 20 classes" in log[-1]
    (root / "classes.txt").write_text("person\ndog\ncat\n")
    with recorded_log("dense_ssl.data.sources.voc", logging.INFO) as log:
        name = resolve_dataset(f"voc:{root}:test")
    assert MetadataCatalog.get(name).thing_classes == ["person", "dog", "cat"] and not log


def test_two_folders_with_other_classes_are_pointed_at_classes_txt(tmp_path):
    first = two_splits(tmp_path / "a", {"1": ["wren"]}, {})
    second = two_splits(tmp_path / "b", {"1": ["owl"]}, {})
    names = tuple(resolve_dataset(f"voc:{x}:train") for x in (first, second))
    with pytest.raises(ValueError, match=r"number 0 is 'owl' against 'wren'.*same classes\.txt"):
        resolve_labels(make_cfg(train=names[:1], test=names[1:]))


def test_voc_image_must_exist(tmp_path):
    root = make_voc(tmp_path, {"1": []})
    (root / "JPEGImages" / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*1\.jpg"):
        DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))


def test_the_check_sees_an_image_that_was_added(tmp_path):
    root = make_voc(tmp_path, {"1": [("cat", "", 2, 3, 20, 20)]})
    image = root / "JPEGImages/1.jpg"
    kept = image.read_bytes()
    image.unlink()
    assert "there is no image" in check_voc(str(root), "train").error
    image.write_bytes(kept)
    assert not check_voc(str(root), "train").error


@pytest.mark.skipif(
    not os.path.isfile(f"{ROOT}/VOC2012/ImageSets/Main/trainval.txt"),
    reason="DETECTRON2_DATASETS does not point at a folder with VOC2012/",
)
def test_real_voc_string_equals_the_builtin_name():
    name = resolve_dataset(f"voc:{ROOT}/VOC2012:trainval")
    assert DatasetCatalog.get(name) == DatasetCatalog.get("voc_2012_trainval")


def test_voc_without_sizes_takes_that_of_the_turned_photo(tmp_path):
    root = make_voc(tmp_path, {"1": [("cat", "", 1, 2, 30, 20)]}, size="")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (30, 40)).save(root / "JPEGImages/1.jpg", exif=exif)
    (item,) = DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))
    assert (item["width"], item["height"]) == (40, 30)
    check_image_size(item, read_image(item["file_name"], "RGB"))


def test_objects_marked_difficult_do_not_count(tmp_path):
    """SCRL's protocol and the probes leave them out; detectors learn them, as detectron2's do."""
    root = make_voc(
        tmp_path,
        {
            "1": [
                ("cat", "<difficult>1</difficult>", 1, 2, 30, 20),
                ("dog", "<difficult>0</difficult>", 5, 5, 9, 9),
            ]
        },
    )
    name = resolve_dataset(f"voc:{root}:train")
    (item,), (plain,) = marked_dicts(name), DatasetCatalog.get(name)
    assert marked_dicts(resolve_dataset(f"{name}_100pct_seed0")) == [item]
    assert [len(counted(x)) for x in (item, plain)] == [1, 2]  # detectron2 learns both
    assert [CLASS_NAMES[x["category_id"]] for x in counted(item)] == ["dog"]
    assert boxes_of(item) == [[4, 4, 9, 9]]


def test_voc_ids_may_have_spaces_and_lines_a_flag(tmp_path):
    names = ("photo", "photo 1", "photo 10", "a b", "000012")
    root = make_voc(tmp_path, {x: [("cat", "", 1, 1, 9, 9)] for x in names})
    split = root / "ImageSets/Main/train.txt"
    split.write_text("photo  1\nphoto 10\nphoto 1\na b\n000012  1\nphoto -1\n000012 0\n")
    # "photo  1" is no image's name; "photo 1" is
    dicts = DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))
    ids = ["photo", "photo 10", "photo 1", "a b", "000012"]
    assert [x["image_id"] for x in dicts] == ids  # each once
    assert [os.path.basename(x["file_name"]) for x in dicts] == [f"{x}.jpg" for x in ids]


@pytest.mark.parametrize("extension", ["Jpg", "JPG", "jPeG", "Png"])
def test_voc_extensions_may_be_in_any_case(tmp_path, extension):
    root = make_voc(tmp_path, {"1": [("cat", "", 1, 1, 9, 9)], "2": []})
    (root / "JPEGImages/1.jpg").rename(root / f"JPEGImages/1.{extension}")
    (root / "Annotations/1.xml").rename(root / "Annotations/1.XML")
    dicts = DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))
    assert dicts[0]["file_name"].endswith(f"1.{extension}") and dicts[0]["annotations"]


@pytest.mark.parametrize("is_train", [False, True])
def test_the_mapper_of_boxes_leaves_them_out(tmp_path, is_train):
    root = make_voc(tmp_path, {"1": [("cat", "<difficult>1</difficult>", 1, 2, 30, 20),
                                     ("dog", "", 5, 5, 9, 9)]})  # fmt: skip
    name = resolve_dataset(f"voc:{root}:train")
    cfg = make_cfg((name,), (name,))
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (64,), 64
    instances = RegionMapper(cfg, is_train)(DatasetCatalog.get(name)[0])["instances"]
    assert [CLASS_NAMES[x] for x in instances.gt_classes] == ["dog"]
