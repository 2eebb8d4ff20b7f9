"""Reading label maps: every kind of file, every table of values, and their errors."""

import os

import numpy as np
import pytest
from dataset_files import make_labels
from detectron2.data import MetadataCatalog
from PIL import Image

from dense_ssl.data.image_io import BrokenImageError
from dense_ssl.data.sources.label_maps import (
    LabelReader,
    check_label_size,
    read_classes_file,
    read_label_map,
)

pytestmark = pytest.mark.usefixtures("restore_catalogs")
VALUES = np.array([[0, 1, 2, 3], [7, 7, 255, 0], [1, 2, 3, 200]])


def reader(ignore_value=255, **metadata):
    MetadataCatalog.get("labels").set(stuff_classes=list("abc"), **metadata)
    return LabelReader("labels", ignore_value)


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_values_are_those_of_the_file(tmp_path, mode):
    path = tmp_path / "1.png"
    make_labels(path, VALUES, mode)
    with Image.open(path) as image:
        assert image.mode == mode
    np.testing.assert_array_equal(read_label_map(str(path)), VALUES)


def test_values_of_one_bit_and_of_16(tmp_path):
    Image.fromarray(VALUES % 2 == 1).save(tmp_path / "1.png")
    values = read_label_map(str(tmp_path / "1.png"))
    np.testing.assert_array_equal(values, VALUES % 2)
    assert values.dtype == np.uint8
    make_labels(tmp_path / "2.png", VALUES * 250, "I;16")
    np.testing.assert_array_equal(read_label_map(str(tmp_path / "2.png")), VALUES * 250)


def test_without_a_table_values_are_classes_and_255_is_ignored(tmp_path):
    make_labels(tmp_path / "1.png", [[0, 1, 2, 255]])
    labels = reader()(str(tmp_path / "1.png"))
    assert labels.dtype == np.uint8 and labels.tolist() == [[0, 1, 2, 255]]
    # what detectron2's evaluator asks for, and changes in place
    labels = LabelReader("labels")(str(tmp_path / "1.png"), dtype=int)
    labels[labels == 255] = 3
    assert labels.dtype == np.int64 and labels.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("ignore_value", [255, 3, -1, 1000])
def test_a_table_makes_classes_contiguous(tmp_path, ignore_value):
    make_labels(tmp_path / "1.png", [[7, 0, 200], [9, 255, 7]], "P")
    read = reader(ignore_value, label_values=[200, 7, 0], ignored_values=[9, 255])
    x = ignore_value
    assert read(str(tmp_path / "1.png"), dtype=int).tolist() == [[1, 2, 0], [x, x, 1]]


def test_255_may_be_a_class(tmp_path):
    make_labels(tmp_path / "1.png", [[0, 255, 128]])
    read = reader(label_values=[0, 255, 128], ignored_values=[])
    assert read(str(tmp_path / "1.png")).tolist() == [[0, 1, 2]]


def test_all_other_values_may_be_ignored(tmp_path):
    make_labels(tmp_path / "1.png", [[0, 7, 8, 11, 255]])
    read = reader(label_values=[7, 8, 11], ignored_values=None)
    assert read(str(tmp_path / "1.png")).tolist() == [[255, 0, 1, 2, 255]]


def test_values_of_no_class_are_named_with_the_file(tmp_path):
    make_labels(tmp_path / "1.png", VALUES)
    with pytest.raises(ValueError, match=r"1\.png' has the values 3, 7, 200") as e:
        reader()(str(tmp_path / "1.png"))
    assert "'labels' (3 classes)" in str(e.value) and "CLASSES.txt" in str(e.value)
    make_labels(tmp_path / "2.png", np.arange(20)[None])
    with pytest.raises(ValueError, match=r"values 3, 4, 5, 6, 7, 8, 9, 10, \.\.\., which"):
        reader()(str(tmp_path / "2.png"))


def test_too_many_classes_are_refused():
    MetadataCatalog.get("many").set(stuff_classes=[str(i) for i in range(255)])
    with pytest.raises(ValueError, match=r"'many' has 255 classes.*at most 254"):
        LabelReader("many")


def test_colours_are_no_labels(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png' has colours \(mode RGB\).*one number"):
        read_label_map(str(tmp_path / "1.png"))


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "1.png"
    with pytest.raises(BrokenImageError, match=r"1\.png' cannot be read: No such file"):
        read_label_map(str(path))
    path.write_text("no image")
    with pytest.raises(BrokenImageError, match=r"1\.png' is not a known image"):
        read_label_map(str(path))
    make_labels(path, np.random.default_rng(0).integers(0, 9, (50, 50)))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(BrokenImageError, match=r"1\.png' cannot be read"):
        read_label_map(str(path))


def test_sizes_are_compared(tmp_path):
    make_labels(tmp_path / "1.png", VALUES)
    check_label_size(str(tmp_path / "1.png"), "1.jpg", 3, 4)
    with pytest.raises(ValueError, match=r"1\.png' has 4 x 3 pixels, .*'1\.jpg' has 3 x 4"):
        check_label_size(str(tmp_path / "1.png"), "1.jpg", 4, 3)


# Files of class names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("road\nsky line\n\n# a remark\nvoid (ignore)\n", (["road", "sky line"], [0, 1], [2])),
        ("3 road\n255\tsky line\n0 void (ignore)", (["road", "sky line"], [3, 255], [0])),
        ("7 eleven\nroad", (["7 eleven", "road"], [0, 1], [])),
        ("5 road", (["road"], [5], [])),
    ],
)
def test_classes_with_and_without_values(tmp_path, text, expected):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    assert read_classes_file(str(path)) == expected


@pytest.mark.parametrize("text", ["road\nroad", "1 a\n1 b", "", "x (ignore)"])
def test_classes_are_named_once(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"classes\.txt' must name each class"):
        read_classes_file(str(path))


def test_faults_of_class_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"class names '.*x\.txt' does not exist"):
        read_classes_file(str(tmp_path / "x.txt"))
    (tmp_path / "x.txt").write_text("70000 a")
    with pytest.raises(ValueError, match="the value 70000, above 65535"):
        read_classes_file(str(tmp_path / "x.txt"))


CAMVID = os.path.join(os.environ.get("DETECTRON2_DATASETS", ""), "camvid", "classes.txt")


@pytest.mark.skipif(
    not os.path.isfile(CAMVID),
    reason="DETECTRON2_DATASETS does not point at a folder with camvid/classes.txt",
)
def test_real_classes_are_the_builtin_ones():
    from dense_ssl.data.sources.builtin import CAMVID_CLASSES

    assert read_classes_file(CAMVID) == (list(CAMVID_CLASSES), list(range(11)), [11])
