"""The loader of pre-training: sources, workers, and images that cannot be read."""

import logging
import os
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from helpers import photo, recorded_log, tiny_config

from dense_ssl.data.views.batch import stack_samples
from dense_ssl.data.views.loader import (
    MIN_READS,
    BrokenImages,
    build_pretrain_loader,
    pretrain_dataset_dicts,
)


def fill(folder, count, broken=()):
    """Write images to ``folder``; those of the numbers ``broken`` cannot be read."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    for number in range(count):
        path = folder / f"{number:02d}.png"
        if number in broken:
            path.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
        else:
            cv2.imwrite(str(path), photo(rng, 60, 50))
    return folder


def config(folders, output, *options):
    cfg = tiny_config("BYOL", folders[0], output, "INPUT.VIEWS.SIZE", (32,), *options)
    cfg.DATASETS.TRAIN = tuple(f"folder:{x}" for x in folders)
    return cfg


def batches(cfg, count, seed=3):
    return list(islice(build_pretrain_loader(cfg, seed), count))


@pytest.fixture
def warnings():
    """The warnings of the loader, also if its log does not propagate."""
    with recorded_log("dense_ssl.data.views.loader", logging.WARNING) as records:
        yield records


def test_views_that_nothing_uses_are_not_made(tmp_path):
    folders = [fill(tmp_path / "a", 10)]
    blur = ("INPUT.VIEWS.BLUR_PROB", (0.5,), "INPUT.VIEWS.SOLARIZE_PROB", (0.2,))
    three = config(folders, tmp_path, *blur, "INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.SIZE", (32, 48, 16))
    two = config(folders, tmp_path, *blur, "INPUT.VIEWS.NUM", 2, "INPUT.VIEWS.SIZE", (32, 48))
    trimmed = next(iter(build_pretrain_loader(three, 3, num_views=2)))
    alone = next(iter(build_pretrain_loader(two, 3)))
    assert len(trimmed["views"]) == len(alone["views"]) == 2
    for a, b in zip(trimmed["views"], alone["views"]):
        assert torch.equal(a["image"], b["image"]) and torch.equal(a["affine"], b["affine"])
    assert len(next(iter(build_pretrain_loader(three, 3)))["views"]) == 3


def test_a_batch_is_stacked_in_channels_last_memory(tmp_path):
    cfg = config([fill(tmp_path / "a", 10)], tmp_path, "INPUT.VIEWS.SIZE", (32, 48))
    batch = batches(cfg, 1)[0]
    for view, side in zip(batch["views"], (32, 48)):
        image = view["image"]
        assert image.shape == (8, 3, side, side) and image.dtype == torch.uint8
        assert image.is_contiguous(memory_format=torch.channels_last)
        assert view["affine"].shape == (8, 4) and view["affine"].dtype == torch.float64
    assert batch["seed"].shape == (8,) and batch["seed"].dtype == torch.int64
    assert len(set(batch["seed"].tolist())) == 8
    assert len(batch["file_name"]) == 8


def test_stacking_keeps_every_sample_in_its_row():
    samples = [
        {"seed": 2**62 - i, "file_name": str(i),
         "views": [{"image": torch.full((3, 4, 5), i + v, dtype=torch.uint8),
                    "affine": [i, v, 0.5, 1]} for v in range(2)]}
        for i in range(3)
    ]  # fmt: skip
    batch = stack_samples(samples)
    for i in range(3):
        assert batch["seed"][i] == 2**62 - i and batch["file_name"][i] == str(i)
        for v in range(2):
            assert (batch["views"][v]["image"][i] == i + v).all()
            assert batch["views"][v]["affine"][i].tolist() == [i, v, 0.5, 1]


def test_several_sources_give_all_their_images(tmp_path):
    folders = [fill(tmp_path / name, count) for name, count in (("a", 3), ("b", 9), ("c", 4))]
    names = [x for batch in batches(config(folders, tmp_path), 4) for x in batch["file_name"]]
    assert len(names) == 32
    seen = [os.path.basename(os.path.dirname(x)) for x in names]
    assert {x: seen[:16].count(x) for x in "abc"} == {"a": 3, "b": 9, "c": 4}
    assert len(set(names)) == 16


def test_annotations_do_not_come_along(tmp_path):
    folder = fill(tmp_path / "a", 4)
    name = f"labelled_{tmp_path.name}"
    DatasetCatalog.register(name, lambda: [
        {"file_name": str(folder / f"0{i}.png"), "image_id": i, "annotations": [{"bbox": [0]}]}
        for i in range(4)
    ])  # fmt: skip
    cfg = config([folder], tmp_path)
    cfg.DATASETS.TRAIN = (name,)
    assert all(x.keys() == {"file_name", "source"} for x in pretrain_dataset_dicts(cfg))


def test_the_dicts_of_one_config_do_not_leak_into_the_next(tmp_path):
    first = config([fill(tmp_path / "a", 4)], tmp_path)
    second = config([fill(tmp_path / "b", 5)], tmp_path)
    pretrain_dataset_dicts(first)[0].clear()
    assert [len(pretrain_dataset_dicts(x)) for x in (first, second, first)] == [4, 5, 4]


def test_broken_images_are_replaced_by_the_same_source(tmp_path):
    folders = [fill(tmp_path / "a", 6, broken=(0, 3)), fill(tmp_path / "b", 6),
               fill(tmp_path / "c", 6, broken=(5,))]  # fmt: skip
    count = 0
    for batch in batches(config(folders, tmp_path), 9):
        for name, reports in zip(batch["file_name"], batch["broken"]):
            for broken, reason in reports:
                count += 1
                assert os.path.dirname(broken) == os.path.dirname(name) and broken != name
                assert broken in reason
    assert count >= 4 * 3  # four epochs of three broken files


def test_each_broken_image_is_named_once_in_the_log(tmp_path, warnings):
    cfg = config([fill(tmp_path / "a", 8, broken=(2, 5))], tmp_path)
    broken = BrokenImages(max_share=1.0)
    for batch in batches(cfg, 4):
        broken.report(batch)
    assert len(warnings) == 2
    assert sorted(name for name in ("02.png", "05.png") if any(name in x for x in warnings)) == [
        "02.png", "05.png"]  # fmt: skip
    assert broken.failures >= 8 and broken.reads == 32 + broken.failures


def test_too_many_broken_images_stop_the_run_with_the_key(warnings):
    good = {"broken": [[] for _ in range(10)]}
    bad = {"broken": [[("x.jpg", "x.jpg: cut off")]] + [[] for _ in range(9)]}
    few = BrokenImages(max_share=0.1)
    for _ in range(50):
        few.report(bad)  # 1 of 11
    many = BrokenImages(max_share=0.05)
    for _ in range(MIN_READS // 11):
        many.report(bad)  # too few reads to tell
    with pytest.raises(RuntimeError, match="DATALOADER.MAX_BROKEN_SHARE 0.05"):
        many.report(bad)
    none = BrokenImages(max_share=0.0)
    for _ in range(50):
        none.report(good)
    assert len(warnings) == 2


def test_a_folder_of_broken_images_is_an_error(tmp_path):
    cfg = config([fill(tmp_path / "a", 4, broken=range(4))], tmp_path)
    with pytest.raises(RuntimeError, match="in a row.*DATASETS.TRAIN"):
        batches(cfg, 1)


def test_no_data_set_is_an_error(tmp_path):
    cfg = config([fill(tmp_path / "a", 1)], tmp_path)
    cfg.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match="DATASETS.TRAIN is empty"):
        build_pretrain_loader(cfg, 0)


def test_a_data_set_without_images_is_an_error(tmp_path):
    name = f"nothing_{tmp_path.name}"
    DatasetCatalog.register(name, list)
    cfg = config([fill(tmp_path / "a", 1)], tmp_path)
    cfg.DATASETS.TRAIN = (*cfg.DATASETS.TRAIN, name)
    with pytest.raises(ValueError, match=f"{name}.*DATASETS.TRAIN"):
        build_pretrain_loader(cfg, 0)


def test_a_batch_that_cannot_be_accumulated_names_the_keys(tmp_path):
    cfg = config([fill(tmp_path / "a", 1)], tmp_path, "SOLVER.ACCUMULATE", 3)
    with pytest.raises(ValueError, match="SOLVER.IMS_PER_BATCH 8.*SOLVER.ACCUMULATE 3"):
        build_pretrain_loader(cfg, 0)


def test_the_number_of_workers_changes_no_bit(tmp_path):
    folder = fill(tmp_path / "a", 10, broken=(4,))
    alone, helped = (
        batches(config([folder], tmp_path, "DATALOADER.NUM_WORKERS", workers), 4)
        for workers in (0, 2)
    )
    for a, b in zip(alone, helped):
        assert a["file_name"] == b["file_name"] and a["broken"] == b["broken"]
        assert torch.equal(a["seed"], b["seed"])
        for x, y in zip(a["views"], b["views"]):
            assert torch.equal(x["image"], y["image"]) and torch.equal(x["affine"], y["affine"])


def test_accumulation_makes_parts_of_the_same_stream(tmp_path):
    folder = fill(tmp_path / "a", 10)
    whole = batches(config([folder], tmp_path), 2)
    parts = batches(config([folder], tmp_path, "SOLVER.ACCUMULATE", 4), 8)
    assert [x for b in whole for x in b["file_name"]] == [x for b in parts for x in b["file_name"]]
    assert torch.equal(
        torch.cat([x["views"][0]["image"] for x in whole]),
        torch.cat([x["views"][0]["image"] for x in parts]),
    )
