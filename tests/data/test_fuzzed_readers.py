"""Every reader on damaged and invented files: a result, or an error that names the file.

The examples are the same in every run (``derandomize``).
"""

import io
import json
import os
import shutil

import numpy as np
import pytest
from helpers import photo
from PIL import Image

from dense_ssl.checkpoint.formats import read_checkpoint
from dense_ssl.data.image_io import BrokenImageError, read_image
from dense_ssl.data.sources.coco import coco_source
from dense_ssl.data.sources.folder import list_image_folder
from dense_ssl.data.sources.label_maps import read_classes_file, read_label_map
from dense_ssl.data.sources.voc import read_objects
from dense_ssl.utils.text_files import read_encoded

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

FUZZ = settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# (place, what is written there): damage to a file
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=6)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "file_name", "bbox", "name", "x"]), x, max_size=3)
    ),
    max_leaves=6,
)
ENTRIES = st.fixed_dictionaries({}, optional={
    "id": LEAVES, "file_name": st.just("a.jpg") | LEAVES, "image_id": LEAVES, "name": LEAVES,
    "category_id": LEAVES, "bbox": VALUES, "segmentation": VALUES, "width": LEAVES,
    "height": LEAVES, "iscrowd": LEAVES, "area": LEAVES, "keypoints": VALUES,
})  # fmt: skip
PARTS = st.lists(ENTRIES, max_size=3) | VALUES
_PARTS = dict.fromkeys(("images", "annotations", "categories"), PARTS)
COCO = st.fixed_dictionaries({}, optional=_PARTS)
TAGS = st.sampled_from(["object", "name", "bndbox", "xmin", "ymin", "xmax", "ymax", "difficult"])
CHARACTERS = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/")
NAMES = st.lists(st.text(CHARACTERS, min_size=1, max_size=12), max_size=8, unique=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def images():
    """{extension: bytes} of a small photo."""
    image, found = Image.fromarray(photo(np.random.default_rng(0), 24, 18)), {}
    for extension in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM"):
        file = io.BytesIO()
        image.save(file, extension)
        found[extension] = file.getvalue()
    file = io.BytesIO()
    Image.fromarray(np.arange(432, dtype=np.uint16).reshape(18, 24)).save(file, "PNG")
    return {**found, "deep": file.getvalue()}


def damaged(data, damage):
    data = bytearray(data)
    for at, new in damage:
        begin = int(at * len(data))
        if new:
            data[begin : begin + len(new)] = new
        else:
            del data[begin:]
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "deep"])
@FUZZ
@given(damage=DAMAGE)
@example(damage=[])
def test_images(place, images, kind, damage):
    path = place / "image"
    path.write_bytes(damaged(images[kind], damage))
    try:
        image = read_image(path)
    except BrokenImageError as error:
        assert damage and str(path) in str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@FUZZ
@given(content=st.binary(max_size=200))
def test_images_of_anything(place, content):
    path = place / "image"
    path.write_bytes(content)
    with pytest.raises(BrokenImageError, match="image"):
        read_image(path)


@pytest.mark.parametrize("kind", ["PNG", "deep"])
@FUZZ
@given(damage=DAMAGE)
def test_label_maps(place, kind, damage):
    file, values = io.BytesIO(), np.arange(300).reshape(15, 20) % 7
    Image.fromarray(values.astype(np.uint8 if kind == "PNG" else np.uint16)).save(file, "PNG")
    path = place / "labels.png"
    path.write_bytes(damaged(file.getvalue(), damage))
    try:
        found = read_label_map(str(path))
    except (BrokenImageError, ValueError) as error:
        assert str(path) in str(error)
    else:
        assert found.ndim == 2 and found.dtype in (np.uint8, np.uint16)
        assert damage or np.array_equal(found, values)


@FUZZ
@given(content=st.text(CHARACTERS, max_size=60) | st.binary(max_size=60))
@example(content="3 road\n7 border (ignore)\n")
@example(content="(ignore)\n")
@example(content="")
@example(content="\u00b2 road\n")
def test_text_files(place, content):
    path = place / "classes.txt"
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    text, _ = read_encoded(path)
    assert isinstance(text, str)
    try:
        names, values, ignored = read_classes_file(str(path))
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert len(names) == len(values) == len(set(names)) > 0 and not {*values} & {*ignored}


@FUZZ
@given(data=COCO | VALUES)
@example(data={"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1}],
               "categories": [{"id": 1, "name": "x"}]})  # fmt: skip
def test_coco_json(place, images, data):
    (place / "photos").mkdir(exist_ok=True)
    (place / "photos" / "a.jpg").write_bytes(images["JPEG"])
    path = place / "a.json"
    path.write_text(json.dumps(data))
    try:
        source = coco_source("fuzzed", str(path), str(place / "photos"))
        for read in (source.images, lambda: source.labels()[0]()):
            for item in read():
                assert isinstance(item["file_name"], str)
    except (ValueError, OSError) as error:
        assert "a.json" in str(error)


@FUZZ
@given(damage=DAMAGE)
def test_damaged_json(place, damage):
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 24, "height": 18}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    path = place / "a.json"
    path.write_bytes(damaged(json.dumps(data).encode(), damage))
    (place / "photos").mkdir(exist_ok=True)
    try:
        source = coco_source("fuzzed", str(path), str(place / "photos"))
        source.images()
        source.labels()[0]()
    except (ValueError, OSError) as error:
        assert "a.json" in str(error)


@FUZZ
@given(words=st.lists(st.tuples(TAGS, st.text(CHARACTERS, max_size=6)), max_size=8), damage=DAMAGE)
def test_voc_xml(place, words, damage):
    body = "".join(f"<{tag}>{text}</{tag}>" for tag, text in words)
    whole = (
        "<object><name>x</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"
        "</bndbox></object>"
    )
    path = place / "a.xml"
    text = f"<annotation>{whole}<object>{body}</object></annotation>"
    path.write_bytes(damaged(text.encode(), damage))
    try:
        _, objects = read_objects(str(path))
    except (ValueError, OSError) as error:
        assert "a.xml" in str(error)
    else:
        assert all(len(x["box"]) == 4 and isinstance(x["name"], str) for x in objects)


@FUZZ
@given(names=NAMES, extension=st.sampled_from(["jpg", "PNG", "txt", ""]))
def test_folders(place, names, extension):
    folder = place / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    written = set()
    for name in names:
        file = f"{name}.{extension}" if extension else name
        try:
            (folder / file).write_bytes(b"")
        except (OSError, ValueError):  # ".." and the like
            continue
        written.add(file)
    suffixes = (".jpg", ".png", ".jpeg")
    expected = {x for x in written if x[0] != "." and x.lower().endswith(suffixes)}
    try:
        found = {os.path.basename(x["file_name"]) for x in list_image_folder(str(folder))}
    except ValueError as error:
        found = set()
        assert "no images in" in str(error)
    assert expected <= found <= written


@FUZZ
@given(content=st.binary(max_size=120), head=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04",
       b"\x08\0\0\0\0\0\0\0{", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."]))  # fmt: skip
def test_weights(place, content, head):
    path = place / "weights.pth"
    path.write_bytes(head + content)
    try:
        assert isinstance(read_checkpoint(str(path)), dict)
    except ValueError as error:
        assert "weights.pth" in str(error)
