"""Inputs of segmentors: image and labels are changed together."""

import random

import numpy as np
import pytest
import torch
from dataset_files import make_labels
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data import transforms as T
from helpers import base_config
from PIL import Image

from dense_ssl.data.finetune.loader import build_evaluation_loader, build_finetune_loader
from dense_ssl.data.finetune.semantic_mapper import (
    RandomScale,
    SemanticMapper,
    build_augmentations,
    semantic_dataset_dicts,
)
from dense_ssl.data.image_io import BrokenImageError

pytestmark = pytest.mark.usefixtures("restore_catalogs")

COLOURS = np.array([[10, 200, 90], [240, 30, 160], [120, 120, 250], [0, 90, 10]], np.uint8)
MEAN = [123.675, 116.28, 103.53]
CROP = ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute"]


def write_pair(folder, labels, name="1"):
    """An image whose colours say what its labels are; label 255 is label 3's colour."""
    labels = np.asarray(labels)
    image = COLOURS[np.where(labels == 255, 3, labels)]
    (folder / "images").mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    make_labels(folder / "labels" / f"{name}.png", labels, "P")


def register(folder, name="marked", num_classes=3):
    dicts = [
        {"file_name": str(x), "sem_seg_file_name": str(folder / "labels" / x.name)}
        for x in sorted((folder / "images").iterdir())
    ]
    DatasetCatalog.register(name, lambda: [dict(x) for x in dicts])
    MetadataCatalog.get(name).set(
        stuff_classes=list("abcdefgh")[:num_classes], ignore_label=255, evaluator_type="sem_seg"
    )
    return name


def config(name, *options):
    return base_config(
        "MODEL.META_ARCHITECTURE", "SemanticSegmentor", "DATASETS.TRAIN", (name,),
        "DATASETS.TEST", (name,), "INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", MEAN,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3, "DATALOADER.NUM_WORKERS", 0,
        "INPUT.MIN_SIZE_TRAIN", (40,),
        "SOLVER.IMS_PER_BATCH", 2, *options,
    )  # fmt: skip


def draw(cfg, seed, index=0):
    """One training input: (image as (H, W, 3), labels)."""
    random.seed(seed)
    np.random.seed(seed)
    item = semantic_dataset_dicts(cfg.DATASETS.TRAIN)[index]
    output = SemanticMapper(cfg, True)(item)
    assert output["image"].dtype == torch.uint8 and output["sem_seg"].dtype == torch.int64
    return output["image"].permute(1, 2, 0).numpy(), output["sem_seg"].numpy()


def noise(height, width, seed=0):
    """Random labels 0, 1, 2, 255."""
    return np.random.default_rng(seed).choice([0, 1, 2, 255], (height, width))


def blocks(height, width, side, seed=0):
    small = noise(-(-height // side), -(-width // side), seed)
    return small.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


# Image and labels


@pytest.mark.parametrize("size", [(20, 24), (50, 24), (50, 64)])
def test_crops_and_flips_move_every_pixel_with_its_label(tmp_path, size):
    write_pair(tmp_path, noise(40, 50))
    cfg = config(register(tmp_path), "INPUT.SCALE_RANGE", (1.0, 1.0), *CROP,
                 "INPUT.CROP.SIZE", size)  # fmt: skip
    whole, seen = noise(40, 50), set()
    for seed in range(8):
        image, labels = draw(cfg, seed)
        assert image.shape == (*size, 3) and labels.shape == size
        h, w = min(size[0], 40), min(size[1], 50)
        inside = labels[:h, :w]
        np.testing.assert_array_equal(image[:h, :w], COLOURS[np.where(inside == 255, 3, inside)])
        # beyond the image: no label, and the mean colour
        outside = np.ones(size, bool)
        outside[:h, :w] = False
        assert (labels[outside] == 255).all() and (image[outside] == [124, 116, 104]).all()
        windows = [(y, x, f) for f in (1, -1) for y in range(41 - h) for x in range(51 - w)
                   if np.array_equal(whole[y : y + h, x : x + w][:, ::f], inside)]  # fmt: skip
        assert len(windows) == 1
        seen.add(windows[0])
    assert {x[2] for x in seen} == {1, -1} and len(seen) >= 2


@pytest.mark.parametrize("resize", ["factor", "shortest"])
def test_resizing_keeps_image_and_labels_together(tmp_path, resize):
    write_pair(tmp_path, blocks(96, 120, 24))
    options = {"factor": ["INPUT.SCALE_RANGE", (0.5, 2.0)],
               "shortest": ["INPUT.MIN_SIZE_TRAIN", (48, 192), "INPUT.MIN_SIZE_TRAIN_SAMPLING",
                            "range"]}[resize]  # fmt: skip
    cfg = config(register(tmp_path), *options, *CROP, "INPUT.CROP.SIZE", (64, 64))
    heights = set()
    for seed in range(12):
        image, labels = draw(cfg, seed)
        valid = (image != [124, 116, 104]).any(axis=2)  # not the padding
        distance = ((image[:, :, None].astype(int) - COLOURS) ** 2).sum(axis=3)
        nearest = distance.argmin(axis=2)
        expected = np.where(labels == 255, 3, labels)
        heights.add(valid.any(axis=1).sum())
        # where one colour changes into another a third one may be nearer, up to a pixel away
        edge = np.zeros_like(valid)
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            edge |= np.roll(expected, shift, axis) != expected
            edge |= np.roll(valid, shift, axis) != valid
        inside = valid & ~edge
        assert inside.sum() > 300
        np.testing.assert_array_equal(nearest[inside], expected[inside])
    assert len(heights) > 2


def test_edges_lie_at_the_same_place_after_resizing(tmp_path):
    """Two classes: half of the pixels on an edge may differ, as many one way as the other."""
    labels = np.zeros((60, 60), int)
    labels[:, 20:40] = 1
    write_pair(tmp_path, labels)
    cfg = config(register(tmp_path), "INPUT.RANDOM_FLIP", "none", "INPUT.SCALE_RANGE", (0.5, 2.0))
    for seed in range(10):
        image, labels = draw(cfg, seed)
        assert labels.shape == image.shape[:2]
        is_one = np.abs(image.astype(int) - COLOURS[1]).sum(2) < np.abs(image.astype(int) - COLOURS[0]).sum(2)  # noqa: E501  # fmt: skip
        centre = [np.flatnonzero(x[30]).mean() for x in (is_one, labels == 1)]
        assert abs(centre[0] - centre[1]) <= 0.5


def test_without_our_keys_the_pixels_are_those_of_detectron2s_mapper(tmp_path):
    write_pair(tmp_path, blocks(60, 80, 10))
    for extra in ([], ["INPUT.FORMAT", "BGR"], ["INPUT.RANDOM_FLIP", "vertical"]):
        cfg = config(
            "marked" if "marked" in DatasetCatalog else register(tmp_path),
            "INPUT.MIN_SIZE_TRAIN", (40, 50, 70), *extra,
        )  # fmt: skip
        for seed in range(4):
            image, labels = draw(cfg, seed)
            np.random.seed(seed)
            (item,) = DatasetCatalog.get("marked")
            item.pop("sem_seg_file_name")  # it would read colours for labels
            theirs = DatasetMapper(cfg, True)(item)["image"].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(image, theirs)
            assert labels.shape == theirs.shape[:2]


def test_the_colour_order_is_that_of_the_config(tmp_path):
    write_pair(tmp_path, np.zeros((8, 8), int))
    name = register(tmp_path)
    crop = [*CROP, "INPUT.CROP.SIZE", (9, 9), "INPUT.SCALE_RANGE", (1.0, 1.0)]
    assert draw(config(name, *crop), 0)[0][0, 0].tolist() == [10, 200, 90]
    image, _ = draw(config(name, *crop, "INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", MEAN[::-1]), 0)
    assert image[0, 0].tolist() == [90, 200, 10] and image[8, 8].tolist() == [104, 116, 124]


def test_ignored_pixels_become_the_value_of_the_config(tmp_path):
    write_pair(tmp_path, noise(10, 10))
    name = register(tmp_path)
    options = ["INPUT.SCALE_RANGE", (1.0, 1.0), *CROP, "INPUT.CROP.SIZE", (12, 10)]
    _, usual = draw(config(name, *options), 0)
    for value in (77, -1, 999):
        _, labels = draw(config(name, *options, "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", value), 0)
        np.testing.assert_array_equal(labels, np.where(usual == 255, value, usual))


def test_data_sets_keep_their_own_values(tmp_path):
    write_pair(tmp_path, [[0, 1], [2, 255]])
    name = register(tmp_path)
    other = register(tmp_path, "other")
    MetadataCatalog.get(other).set(label_values=[2, 0, 1], ignored_values=[255])
    cfg = config(name, "DATASETS.TRAIN", (name, other), "INPUT.SCALE_RANGE", (1.0, 1.0),
                 "INPUT.RANDOM_FLIP", "none")  # fmt: skip
    assert draw(cfg, 0, 0)[1].tolist() == [[0, 1], [2, 255]]
    assert draw(cfg, 0, 1)[1].tolist() == [[1, 2], [0, 255]]


def test_crops_of_one_class_are_drawn_again(tmp_path):
    labels = np.zeros((40, 200), int)
    labels[:, 100:] = 1
    write_pair(tmp_path, labels)
    options = ["INPUT.SCALE_RANGE", (1.0, 1.0), *CROP, "INPUT.CROP.SIZE", (40, 40)]
    name, mixed = register(tmp_path), {}
    for limit in (1.0, 0.75):
        cfg = config(name, *options, "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", limit)
        shares = [(draw(cfg, seed)[1] == 1).mean() for seed in range(30)]
        mixed[limit] = sum(0.25 < x < 0.75 for x in shares)
    # of the crops 12 % are mixed; of ten tries in a row 73 % hold one
    assert mixed[1.0] < 10 and mixed[0.75] > 15


def test_colours_change_labels_do_not(tmp_path):
    write_pair(tmp_path, blocks(20, 20, 5))
    name = register(tmp_path)
    plain = ["INPUT.SCALE_RANGE", (1.0, 1.0), "INPUT.RANDOM_FLIP", "none"]
    expected, expected_labels = draw(config(name, *plain), 0)
    changed = []
    for seed in range(8):
        image, labels = draw(config(name, *plain, "INPUT.COLOR_AUG_SSD", True), seed)
        np.testing.assert_array_equal(labels, expected_labels)
        changed.append((image != expected).mean())
    assert sum(x > 0.5 for x in changed) >= 4  # each of its four changes is left out half the time


def test_factors_are_uniform_and_keep_the_ratio():
    np.random.seed(0)
    sizes = np.array([
        (t.new_h, t.new_w) for t in (
            RandomScale(0.5, 2.0).get_transform(np.zeros((100, 50, 3))) for _ in range(400)
        )
    ])  # fmt: skip
    assert (np.abs(sizes[:, 0] - 2 * sizes[:, 1]) <= 1).all()
    assert sizes[:, 0].min() < 55 and sizes[:, 0].max() > 195
    assert abs(sizes[:, 0].mean() - 125) < 8
    assert RandomScale(0.001, 0.001).get_transform(np.zeros((9, 9, 3))).new_h == 1


# Test inputs


def test_test_images_are_resized_alone(tmp_path):
    write_pair(tmp_path, blocks(60, 80, 10))
    cfg = config(register(tmp_path), "INPUT.MIN_SIZE_TEST", 30)
    ((item,),) = list(build_evaluation_loader(cfg, "marked"))
    assert item["image"].shape == (3, 30, 40) and (item["height"], item["width"]) == (60, 80)
    assert "sem_seg" not in item and "sem_seg_file_name" not in item
    cfg.INPUT.MIN_SIZE_TEST = 0
    ((item,),) = list(build_evaluation_loader(cfg, "marked"))
    assert item["image"].shape == (3, 60, 80)
    (resize,) = build_augmentations(cfg, False)
    assert isinstance(resize, T.ResizeShortestEdge)


# Errors


@pytest.mark.parametrize("is_train", [True, False])
def test_sizes_that_differ_are_named(tmp_path, is_train):
    write_pair(tmp_path, noise(10, 12))
    make_labels(tmp_path / "labels" / "1.png", noise(12, 10))
    cfg = config(register(tmp_path))
    (item,) = semantic_dataset_dicts(cfg.DATASETS.TRAIN)
    key = "DATASETS.TRAIN" if is_train else "DATASETS.TEST"
    with pytest.raises(ValueError, match=rf"{key}: .*labels/1\.png' has 10 x 12.*has 12 x 10"):
        SemanticMapper(cfg, is_train)(item)


def test_faulty_files_are_named(tmp_path):
    write_pair(tmp_path, noise(10, 12))
    cfg = config(register(tmp_path, num_classes=2))
    (item,) = semantic_dataset_dicts(cfg.DATASETS.TRAIN)
    with pytest.raises(ValueError, match=r"labels/1\.png' has the values 2, which"):
        SemanticMapper(cfg, True)(item)
    with pytest.raises(ValueError, match=r"images/1\.png' has no label map"):
        SemanticMapper(cfg, True)({k: v for k, v in item.items() if "sem" not in k})
    (tmp_path / "images" / "1.png").write_bytes(b"nothing")
    with pytest.raises(BrokenImageError, match=r"DATASETS\.TRAIN: .*images/1\.png: not an image"):
        SemanticMapper(cfg, True)(item)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(BrokenImageError, match=r"images/1\.png: No such file"):
        SemanticMapper(cfg, True)(item)


# The loader


def take(loader, count):
    batches = iter(loader)
    return [next(batches) for _ in range(count)]


def equal(a, b):
    return all(torch.equal(x[k], y[k]) for i, j in zip(a, b) for x, y in zip(i, j)
               for k in ("image", "sem_seg"))  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_follow_from_seed_and_position(tmp_path, workers):
    for i in range(5):
        write_pair(tmp_path, noise(30 + i, 50 - 9 * i, i), str(i))
    cfg = config(register(tmp_path), "INPUT.SCALE_RANGE", (0.5, 2.0), *CROP, "INPUT.CROP.SIZE",
                 (24, 24), "DATALOADER.NUM_WORKERS", workers)  # fmt: skip
    first = take(build_finetune_loader(cfg, 3), 6)
    assert all(x["image"].shape == (3, 24, 24) for batch in first for x in batch)
    joined = build_finetune_loader(cfg, 3)
    joined.batch_sampler.start = 4
    assert equal(take(joined, 2), first[4:])
    assert not equal(take(build_finetune_loader(cfg, 4), 1), first[:1])
    # portrait and landscape images in one batch: their sizes are not known beforehand
    kinds = {tuple(x["width"] > x["height"] for x in batch) for batch in first}
    assert kinds & {(True, False), (False, True)}


def test_images_of_known_size_are_grouped(tmp_path):
    for i in range(4):
        write_pair(tmp_path, noise(*((30, 20) if i % 2 else (20, 30)), i), str(i))
    register(tmp_path)
    sized = [{**x, "height": 30 - 10 * (i % 2 == 0), "width": 20 + 10 * (i % 2 == 0)}
             for i, x in enumerate(DatasetCatalog.get("marked"))]  # fmt: skip
    DatasetCatalog.register("sized", lambda: sized)
    MetadataCatalog.get("sized").set(stuff_classes=list("abc"), ignore_label=255)
    for batch in take(build_finetune_loader(config("sized"), 0), 5):
        assert len({x["width"] > x["height"] for x in batch}) == 1


def test_detectron2s_samplers_get_the_same_mapper(tmp_path):
    write_pair(tmp_path, noise(20, 30))
    options = ["DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler", *CROP,
               "INPUT.CROP.SIZE", (8, 8), "DATALOADER.ASPECT_RATIO_GROUPING", False]  # fmt: skip
    cfg = config(register(tmp_path), *options)
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 1.0  # not among detectron2's defaults
    (batch,) = take(build_finetune_loader(cfg, 0), 1)
    assert batch[0]["sem_seg"].shape == (8, 8)
