"""Whole chains of the exact backend against torchvision's transforms on PIL images."""

import numpy as np
import pytest
from helpers import photo
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from dense_ssl.data.views.crops import draw_crop
from dense_ssl.data.views.photometry import PhotometrySettings, draw_photometry
from dense_ssl.data.views.render import get_renderer

SIDE, VIEWS = 96, 60
SETTINGS = {"jitter_prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
            "gray_prob": 0.2, "blur_prob": 0.6, "solarize_prob": 0.2, "size": SIDE}  # fmt: skip


def torchvisions(image, box, interpolation, flip, photometry):
    """The view that torchvision makes with the same parameters."""
    left, top, width, height = box
    view = TF.crop(Image.fromarray(image), top, left, height, width)
    if height > SIDE and height > width:
        # Pillow shrinks the height first, but only since version 13: make it do so.
        view = view.resize((width, SIDE), getattr(Image, interpolation.upper()))
    view = TF.resize(view, [SIDE, SIDE], InterpolationMode(interpolation))
    view = TF.hflip(view) if flip else view
    for name, factor in photometry.jitter:
        view = getattr(TF, f"adjust_{name}")(view, factor)
    if photometry.gray:
        view = TF.to_grayscale(view, 3)
    if photometry.blur_sigma:
        view = TF.gaussian_blur(view, [9, 9], [photometry.blur_sigma] * 2)  # a tenth of the side
    if photometry.blur_resize:
        small = [int(SIDE / photometry.blur_resize)] * 2
        view = view.resize(small, Image.BICUBIC).resize((SIDE, SIDE), Image.BICUBIC)
    if photometry.solarize_threshold is not None:
        view = TF.solarize(view, photometry.solarize_threshold)
    return np.asarray(view).astype(int)


@pytest.mark.parametrize("interpolation", ("bicubic", "bilinear"))
@pytest.mark.parametrize("blur", ("gaussian", "resize"))
@pytest.mark.parametrize("kind", ("photo", "noise"))
def test_a_chain_of_exact_operations_is_torchvisions(kind, blur, interpolation):
    """One step of PIL's hue is up to 6 grey levels; a level before it may cause such a step."""
    rng, render = np.random.default_rng(0), get_renderer("exact")
    settings, distances = PhotometrySettings(blur=blur, **SETTINGS), []
    for _ in range(VIEWS):
        image = photo(rng, 320, 240) if kind == "photo" else noise(rng)
        box = draw_crop(rng, 320, 240, (0.08, 1.0), (3 / 4, 4 / 3))
        flip, photometry = bool(rng.random() < 0.5), draw_photometry(settings, rng)
        view = render(image, box, SIDE, interpolation, flip, photometry)
        distances.append(np.abs(view - torchvisions(image, box, interpolation, flip, photometry)))
    distances = np.stack(distances)
    assert distances.max() <= 10
    assert distances.mean() < 0.025 and (distances > 1).mean() < 0.002


def noise(rng):
    return rng.integers(0, 256, (240, 320, 3), np.uint8)
