"""Colours on the device of the model: those of the fast backend, for a batch, without a wait."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from devices import DEVICES
from helpers import base_config, final_weights, photo, tiny_config, train
from waits import NoNumbers, NoWaits

from dense_ssl.data.views.batch import stack_samples
from dense_ssl.data.views.device_colors import change_views, pack
from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.data.views.photometry import Photometry, PhotometrySettings, draw_photometry
from dense_ssl.data.views.render import get_renderer
from dense_ssl.reports.overview import choose_views

SIZE, BOX = 128, (3, 5, 150, 140)
JITTER = {"jitter_prob": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2}
EVERYTHING = {**JITTER, "jitter_prob": 0.8, "hue": 0.1, "gray_prob": 0.2, "blur_prob": 0.5,
              "solarize_prob": 0.2}  # fmt: skip


def views_of(count, settings, seed=0):
    """Plain views uint8 (N, 3, S, S), the same changed by the fast backend, and the numbers."""
    rng, render = np.random.default_rng(seed), get_renderer("fast")
    plain, changed, packed = [], [], []
    for _ in range(count):
        image, photometry = photo(rng, 160, 150), draw_photometry(settings, rng)
        for views, x in ((plain, Photometry()), (changed, photometry)):
            views.append(render(image, BOX, SIZE, "bicubic", False, x))
        packed.append(pack(photometry, SIZE))
    plain, changed = (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2) for x in (plain, changed))
    return plain, changed, torch.stack(packed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind, mean, worst", [
    (JITTER, 0.1, 1), ({"jitter_prob": 1.0, "hue": 0.5}, 0.05, 1), ({"gray_prob": 1.0}, 0.01, 1),
    ({"blur_prob": 1.0}, 0.01, 1), ({"solarize_prob": 1.0}, 0, 0), (EVERYTHING, 0.1, 6),
    # the small image is not rounded and cut off, where bicubic overshoots
    ({"blur_prob": 1.0, "blur": "resize"}, 0.4, 20), ({}, 0, 0),
])  # fmt: skip
def test_views_are_those_of_the_fast_backend(kind, mean, worst, device):
    plain, expected, packed = views_of(40, PhotometrySettings(size=SIZE, **kind))
    found = change_views(plain.to(device), packed.to(device)).cpu()
    distance = (found.int() - expected.int()).abs()
    assert found.dtype == torch.uint8 and distance.float().mean() <= mean
    assert distance.max() <= worst
    if kind:  # which says something
        assert (plain.int() - expected.int()).abs().float().mean() > 1


@pytest.mark.parametrize("turns", [-0.5, -0.35, -1 / 6, -0.1, 0.0, 0.02, 1 / 6, 0.3, 0.5])
def test_every_part_of_the_hue_circle(turns):
    colours = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    photometry = Photometry(jitter=(("hue", turns),))
    expected = get_renderer("fast")(colours, (0, 0, SIZE, SIZE), SIZE, "bicubic", False, photometry)
    found = change_views(torch.from_numpy(colours).permute(2, 0, 1)[None],
                         pack(photometry, SIZE)[None])[0].permute(1, 2, 0)  # fmt: skip
    assert np.abs(found.numpy().astype(int) - expected).max() <= 1


def test_a_large_batch_is_many_small_ones():
    plain, _, packed = views_of(70, PhotometrySettings(size=SIZE, **EVERYTHING))
    found = change_views(plain, packed)
    alone = torch.cat([change_views(plain[i : i + 1], packed[i : i + 1]) for i in range(70)])
    # sums in another order may round to the next level
    assert ((found.int() - alone.int()).abs() <= 1).float().mean() > 0.9999
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_channels_in_the_other_order():
    plain, _, packed = views_of(8, PhotometrySettings(size=SIZE, **EVERYTHING))
    found = change_views(plain.flip(1), packed, "BGR")
    assert torch.equal(found.flip(1), change_views(plain, packed))


@pytest.mark.parametrize("size", [1, 16, 33])
def test_small_views(size):
    settings = PhotometrySettings(size=size, **{**EVERYTHING, "blur_prob": 1.0})
    rng = np.random.default_rng(0)
    packed = torch.stack([pack(draw_photometry(settings, rng), size) for _ in range(4)])
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    assert change_views(images, packed).shape == images.shape


def test_the_device_is_not_waited_for():
    plain, _, packed = views_of(4, PhotometrySettings(size=SIZE, **EVERYTHING))
    change_views(plain, packed)  # makes the constants
    with NoWaits(), NoNumbers():
        change_views(plain, packed)


def test_autocast_changes_nothing():
    plain, _, packed = views_of(4, PhotometrySettings(size=SIZE, **EVERYTHING))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = change_views(plain, packed)
    assert torch.equal(found, change_views(plain, packed))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_the_key_changes_who_colours_the_views_and_nothing_else(tmp_path, order):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, photo(np.random.default_rng(0), 200, 150)[..., ::-1])
    views, samples = {}, {}
    for on_device in (False, True):
        options = ("INPUT.FORMAT", order, "INPUT.COLOR_ON_DEVICE", on_device)
        cfg = tiny_config("SCRL", "unused", "unused", *options)
        mapper, model = MultiViewMapper(cfg), build_model(cfg)
        samples[on_device] = [mapper({"file_name": path}, seed=i) for i in range(6)]
        views[on_device] = model.gather_views(stack_samples(samples[on_device]))
        scale = model.pixel_std
    for a, b in zip(samples[False], samples[True]):
        assert a["seed"] == b["seed"] and "photometry" not in a["views"][0]
        for x, y in zip(a["views"], b["views"]):
            assert torch.equal(x["affine"], y["affine"])
    for a, b in zip(views[False], views[True]):
        assert torch.equal(a.affine, b.affine) and torch.equal(a.seeds, b.seeds)
        distance = (a.images - b.images).abs() * scale  # in grey levels
        assert distance.mean() < 0.2 and distance.max() < 8


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_resumes_exactly(image_folder, tmp_path, workers):
    def run(folder, **options):
        cfg = tiny_config("SCRL", image_folder, tmp_path / folder, "INPUT.COLOR_ON_DEVICE", True,
                          "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2,
                          "DATALOADER.NUM_WORKERS", workers)  # fmt: skip
        train(cfg, **options)

    run("whole")
    run("parts", kill_at=3)
    run("parts", resume=True)
    whole, parts = (final_weights(tmp_path / x) for x in ("whole", "parts"))
    assert all(torch.equal(x, parts[key]) for key, x in whole.items())


def test_a_picture_of_views_has_its_colours(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), photo(np.random.default_rng(0), 400, 300))
    found = [choose_views(base_config("INPUT.COLOR_ON_DEVICE", x), path) for x in (False, True)]
    assert torch.equal(found[0][0][0].images, found[1][0][0].images)
