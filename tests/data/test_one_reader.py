"""One reader of images: pre-training and fine-tuning see the same pixels of every kind of file."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from helpers import base_config
from image_files import PIXELS, SIDE, damaged_jpegs, encode, image_kinds, turned
from PIL import Image

from dense_ssl.data.deep_images import DEPTHS, to_8_bits
from dense_ssl.data.finetune.detection_mapper import DetectionMapper
from dense_ssl.data.finetune.image_mapper import ImageMapper
from dense_ssl.data.finetune.images import keep_thin_images
from dense_ssl.data.finetune.region_mapper import RegionMapper
from dense_ssl.data.finetune.semantic_mapper import SemanticMapper
from dense_ssl.data.image_io import BrokenImageError, read_header, read_image
from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.data.views.view_dataset import ViewDataset

KINDS = image_kinds()
DAMAGED = damaged_jpegs()
UNCHANGED = ("INPUT.MIN_SIZE_TRAIN", (0,), "INPUT.MIN_SIZE_TEST", 0, "INPUT.RANDOM_FLIP", "none")
BOXES = [{"bbox": [4, 6, 20, 30], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}]


def write(folder, data, name="image"):
    path = folder / name
    path.write_bytes(data)
    return str(path)


def pretraining_pixels(path, channels="RGB", side=SIDE):
    """What pre-training's mapper makes of a square file if it changes nothing."""
    cfg = base_config(
        "INPUT.FORMAT", channels, "INPUT.VIEWS.NUM", 1, "INPUT.VIEWS.SIZE", (side,),
        "INPUT.VIEWS.CROP", ("whole",), "INPUT.VIEWS.FLIP_PROB", (0.0,),
        "INPUT.VIEWS.JITTER_PROB", (0.0,), "INPUT.VIEWS.GRAY_PROB", (0.0,),
        "INPUT.VIEWS.BLUR_PROB", (0.0,), "INPUT.VIEWS.SOLARIZE_PROB", (0.0,),
    )  # fmt: skip
    return MultiViewMapper(cfg)({"file_name": path}, seed=0)["views"][0]["image"]


def finetuning_mapper(is_train=True, channels="RGB", kind=DetectionMapper, options=UNCHANGED):
    return kind(base_config("INPUT.FORMAT", channels, *options), is_train)


@pytest.mark.parametrize("kind", KINDS)
def test_both_stages_see_the_same_and_the_right_pixels(tmp_path, kind):
    data, right = KINDS[kind]
    path = write(tmp_path, data)
    for channels in ("RGB", "BGR"):
        expected = pretraining_pixels(path, channels)
        for is_train in (True, False):
            got = finetuning_mapper(is_train, channels)({"file_name": path})["image"]
            assert torch.equal(got, expected)
    if right is not None:
        assert torch.equal(
            expected.flip(0), torch.from_numpy(right.astype("uint8")).permute(2, 0, 1)
        )


@pytest.mark.parametrize("kind", ["png 12 in 16 bit grey", "tiff turned", "png palette"])
def test_the_other_mappers_of_labelled_data_see_them_too(tmp_path, kind):
    item = {"file_name": write(tmp_path, KINDS[kind][0]), "annotations": BOXES, "category_id": 0}
    expected = pretraining_pixels(item["file_name"])
    square = ("INPUT.MIN_SIZE_TRAIN", (SIDE,), "INPUT.MIN_SIZE_TEST", SIDE)
    regions = finetuning_mapper(True, kind=RegionMapper, options=(*square, *UNCHANGED[4:]))
    assert torch.equal(regions(item)["image"], expected)
    images = finetuning_mapper(False, kind=ImageMapper, options=square)
    assert torch.equal(images(item)["image"], expected)
    segments = finetuning_mapper(False, kind=SemanticMapper)
    assert torch.equal(segments(item)["image"], expected)


# Ordinary images, as detectron2 reads them


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_ordinary_images_have_detectron2s_pixels(tmp_path, form, orientation):
    image = Image.fromarray(PIXELS[:, :31])
    data = encode(image, form) if orientation is None else turned(image, form, orientation)
    path = write(tmp_path, data)
    for channels in ("RGB", "BGR", "L", "YUV-BT.601"):
        got, expected = read_image(path, channels), detection_utils.read_image(path, channels)
        assert got.dtype == expected.dtype and np.array_equal(got, expected)


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("options", [
    (), ("INPUT.CROP.ENABLED", True), ("MODEL.MASK_ON", True), ("MODEL.LOAD_PROPOSALS", True),
])  # fmt: skip
def test_everything_else_is_detectron2s(tmp_path, options, is_train):
    label_map = write(tmp_path, encode(PIXELS[..., 0], "PNG"), "labels.png")
    item = {
        "file_name": write(tmp_path, KINDS["jpeg"][0]),
        "sem_seg_file_name": label_map,
        "image_id": 7,
        "annotations": [
            {**BOXES[0], "segmentation": [[4, 6, 24, 6, 24, 36]]},
            {**BOXES[0], "segmentation": [[1, 6, 44, 6, 24, 36]], "iscrowd": 1},
        ],
        "proposal_boxes": np.array([[1.0, 2.0, 30.0, 40.0], [5.0, 5.0, 9.0, 9.0]]),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
        "proposal_objectness_logits": np.array([1.0, 0.5]),
    }
    cfg = base_config("INPUT.MIN_SIZE_TRAIN", (30, 40, 70), "INPUT.MAX_SIZE_TRAIN", 60, *options)
    outputs = []
    for kind in (DetectionMapper, DatasetMapper):
        mapper = kind(cfg, is_train)
        np.random.seed(3)
        outputs.append(mapper(item))
    ours, theirs = outputs
    assert set(ours) == set(theirs) and "image" in ours
    assert torch.equal(ours["image"], theirs["image"])
    assert torch.equal(ours["sem_seg"], theirs["sem_seg"])
    assert str(ours.get("proposals")) == str(theirs.get("proposals"))
    assert ("instances" in ours) == is_train
    if is_train:
        a, b = ours["instances"].get_fields(), theirs["instances"].get_fields()
        assert set(a) == set(b) and len(ours["instances"]) == 1
        assert torch.equal(a["gt_boxes"].tensor, b["gt_boxes"].tensor)
        assert all(str(a[x]) == str(b[x]) for x in a)
    assert item["annotations"][0]["bbox"] == [4, 6, 20, 30] and "sem_seg_file_name" in item


# The rule of deep images


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_smallest_depth_that_holds_the_largest_value_counts(depth):
    top = 2**depth - 1
    values = np.array([[0, top // 2, top]], np.uint16)
    assert to_8_bits(values).tolist() == [[0, 127, 255]]
    if depth < 16:
        next_depth = DEPTHS[DEPTHS.index(depth) + 1]
        assert to_8_bits(np.array([top + 1], np.uint16)) == (top + 1) >> (next_depth - 8)


@pytest.mark.parametrize("values, right", [
    ([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 0.25], [0, 64]), ([0.0, 1.4, 254.6], [0, 1, 255]),
    ([0.0, 2047.6, 4095.0], [0, 128, 255]), ([0.0, 65535.0], [0, 255]), ([0.0], [0]),
])  # fmt: skip
def test_floats(values, right):
    for kind in (np.float32, np.float64):
        assert to_8_bits(np.array(values, kind)).tolist() == right


@pytest.mark.parametrize("values, reason", [
    ([0.0, float("nan")], "NaN"), ([0.0, float("inf")], "infinite"), ([-0.5, 1.0], "-0.5 to 1"),
    ([0.0, 65535.75], "to 65535.8, which is neither 0 to 1 nor 0 to 65535; rescale"),
    ([0.0, 70000.0], "to 70000, which is neither 0 to 1 nor 0 to 65535; rescale"),
])  # fmt: skip
def test_floats_without_a_known_range_are_refused_by_both_stages(tmp_path, values, reason):
    pixels = np.resize(np.array(values, np.float32), (SIDE, SIDE))
    path = write(tmp_path, encode(pixels, "TIFF"), "odd.tif")
    for read in (pretraining_pixels, lambda x: finetuning_mapper()({"file_name": x})):
        with pytest.raises(BrokenImageError, match=rf"odd\.tif: .*{reason}"):
            read(path)


def test_12_bits_in_16_are_neither_black_nor_white(tmp_path):
    """A ramp of 0 to 4095, as in many files of cameras and microscopes."""
    ramp = np.resize(np.linspace(0, 4095, SIDE).astype(np.uint16), (SIDE, SIDE))
    for form in ("PNG", "TIFF"):
        pixels = read_image(write(tmp_path, encode(ramp, form)))
        assert pixels.min() == 0 and pixels.max() == 255
        assert 120 < pixels.mean() < 135


# Damaged files


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_jpeg_is_an_error_with_its_name_in_both_stages(tmp_path, kind, capfd):
    path = write(tmp_path, DAMAGED[kind], "hurt.jpg")
    with pytest.raises(BrokenImageError, match=r"hurt\.jpg: .*(damaged|truncated|broken)"):
        pretraining_pixels(path)
    for is_train, key in ((True, "TRAIN"), (False, "TEST")):
        with pytest.raises(BrokenImageError, match=rf"DATASETS\.{key}: .*hurt\.jpg: .*Replace"):
            finetuning_mapper(is_train)({"file_name": path})
    assert "Corrupt" not in capfd.readouterr().err


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("kind", [DetectionMapper, RegionMapper, ImageMapper, SemanticMapper])
def test_a_cut_off_file_is_named_by_every_mapper(tmp_path, form, kind):
    data = encode(PIXELS, form)
    item = {"file_name": write(tmp_path, data[: len(data) // 2], "short"), "annotations": []}
    mapper = finetuning_mapper(False, kind=kind, options=("INPUT.MIN_SIZE_TRAIN", (64,)))
    with pytest.raises(BrokenImageError, match=r"^DATASETS\.TEST: .*short: .*Replace the file"):
        mapper(item)


def test_pretraining_replaces_a_damaged_image_and_reports_it(tmp_path):
    names = [write(tmp_path, x, str(i)) for i, x in enumerate([DAMAGED["zeros"], KINDS["png"][0]])]
    mapper = MultiViewMapper(base_config("INPUT.VIEWS.SIZE", (32,)))
    views = ViewDataset([{"file_name": x, "source": "a"} for x in names], mapper, 0)
    sample = views[0, 0]
    assert sample["file_name"] == names[1]
    assert {x for x, _ in sample["broken"]} == {names[0]}
    assert "damaged" in sample["broken"][0][1]


def test_bytes_after_a_jpegs_data_are_no_damage(tmp_path, capfd):
    """Many cameras write them; libjpeg skips them with a message."""
    whole = encode(PIXELS, "JPEG")
    longer = whole[:-2] + bytes(range(1, 9)) + whole[-2:]
    got = read_image(write(tmp_path, longer))
    assert np.array_equal(got, read_image(write(tmp_path, whole)))
    assert "extraneous bytes" in capfd.readouterr().err  # passed on


# Thin images


@pytest.mark.parametrize("size", [(3, 4000), (4000, 3), (1, 900)])
@pytest.mark.parametrize("longest", [1333, 640])
def test_thin_images_work_in_both_stages(tmp_path, size, longest):
    image = Image.fromarray(PIXELS).resize(size)
    path = write(tmp_path, encode(image, "PNG"))
    assert pretraining_pixels(path).shape == (3, SIDE, SIDE)
    options = ("INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MAX_SIZE_TRAIN", longest,
               "INPUT.MAX_SIZE_TEST", longest)  # fmt: skip
    for is_train in (True, False):
        box = {**BOXES[0], "bbox": [0, 0, size[0], size[1]]}
        output = finetuning_mapper(is_train, options=options)(
            {"file_name": path, "annotations": [box]}
        )
        assert min(output["image"].shape[1:]) == 1
        assert max(output["image"].shape[1:]) == longest
        assert not is_train or len(output["instances"]) == 1


def test_other_sizes_are_detectron2s():
    theirs = T.ResizeShortestEdge((30, 50), 90, "choice", Image.BICUBIC)
    (ours,) = keep_thin_images([theirs])
    for height, width in ((40, 60), (60, 40), (10, 900), (64, 64)):
        image = np.zeros((height, width, 3), np.uint8)
        sizes = []
        for resize in (ours, theirs):
            np.random.seed(height)
            made = resize.get_transform(image)
            sizes.append((made.new_h, made.new_w, made.interp))
        assert sizes[0] == sizes[1]


@pytest.mark.parametrize("form", ["PPM", "JPEG2000"])
@pytest.mark.parametrize("top", [4095, 65535])
def test_deep_grey_of_other_formats_is_that_of_png(tmp_path, form, top):
    ramp = np.resize(np.linspace(0, top, SIDE).astype(np.uint16), (SIDE, SIDE))
    options = {"irreversible": False} if form == "JPEG2000" else {}
    path = tmp_path / ("deep.jp2" if options else "deep.pgm")
    Image.fromarray(ramp).save(path, form, **options)
    expected = read_image(write(tmp_path, encode(ramp, "PNG"), "deep.png"))
    assert np.array_equal(read_image(path), expected) and 100 < expected.mean() < 140


@pytest.mark.parametrize("form", ["TIFF", "PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_headers_have_the_size_of_the_picture(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{form.lower()}"
    Image.new("RGB", (40, 30)).save(path, form, exif=exif)
    header = read_header(path)
    assert (header.height, header.width) == read_image(path).shape[:2]
    assert header.width == (30 if orientation > 4 else 40)
