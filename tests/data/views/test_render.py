"""The backends of views: exact against torchvision on PIL images, fast against exact."""

import colorsys
from itertools import product

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from dense_ssl.data.views import render_exact
from dense_ssl.data.views.photometry import Photometry, PhotometrySettings, draw_photometry
from dense_ssl.data.views.render import get_renderer

BACKENDS = ("exact", "fast")
SIDE = 96
WHOLE = (0, 0, SIDE, SIDE)


def photo_like(height, width):
    """Smooth shading with falling detail, hard edges of strong colour and a little noise."""
    rng = np.random.default_rng(0)
    image = 128.0 + rng.normal(scale=4.0, size=(height, width, 3))
    for octave in range(1, 6):
        cells = rng.normal(scale=50.0 / octave, size=(2**octave, 2**octave, 3))
        image += cv2.resize(cells, (width, height))
    image[: height // 3, : width // 4] = (250, 40, 30)
    image[height // 2 :, width // 2 : 3 * width // 4] = (10, 20, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


def reference_image(name, height=SIDE, width=SIDE):
    if name == "photo":
        return photo_like(height, width)
    if name == "gradient":
        x, y = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
        return np.stack(np.broadcast_arrays(x, y, 255 - x), axis=-1).astype(np.uint8)
    # "extremes" are black, white and the six pure colours; hue is coarse where it is "dark".
    levels = {"noise": 256, "gray": 256, "dark": 12, "extremes": 2}[name]
    channels = 1 if name == "gray" else 3
    image = np.random.default_rng(1).integers(0, levels, (height, width, channels), np.uint8)
    return image.repeat(3 // channels, axis=2) * np.uint8(255 if name == "extremes" else 1)


IMAGES = ("noise", "extremes", "gradient", "gray", "dark", "photo")


def apply(backend, image, **photometry):
    """The photometry alone: whole image, same size."""
    box, size = (0, 0, image.shape[1], image.shape[0]), image.shape[0]
    return get_renderer(backend)(image, box, size, "bicubic", False, Photometry(**photometry))


def distance(view, reference):
    """Absolute difference in grey levels, (H, W, 3)."""
    return np.abs(view.astype(int) - np.asarray(reference).astype(int))


JITTER = list(product(("brightness", "contrast", "saturation"), (0.0, 0.6, 0.97, 1.0, 1.4, 2.0)))
JITTER += product(("hue",), (-0.5, -0.1, -0.04, -0.001, 0.0, 0.03, 0.1, 0.5))


@pytest.mark.parametrize("name, factor", JITTER)
@pytest.mark.parametrize("kind", IMAGES)
def test_exact_jitter_is_torchvisions(kind, name, factor):
    image = reference_image(kind)
    view = apply("exact", image, jitter=((name, factor),))
    reference = getattr(TF, f"adjust_{name}")(Image.fromarray(image), factor)
    assert distance(view, reference).max() <= 1 and distance(view, reference).mean() < 0.1


@pytest.mark.parametrize("sigma", (0.1, 0.3, 0.5, 1.0, 2.0, 8.0))
@pytest.mark.parametrize("kind", ("noise", "extremes", "photo"))
def test_blur_is_torchvisions(kind, sigma):
    image = reference_image(kind, 224, 224)
    reference = TF.gaussian_blur(Image.fromarray(image), [23, 23], [sigma, sigma])
    assert distance(apply("exact", image, blur_sigma=sigma), reference).max() <= 1
    fast = distance(apply("fast", image, blur_sigma=sigma), reference)
    assert fast.max() <= 2 and fast.mean() < 0.1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", IMAGES)
def test_gray_is_torchvisions(backend, kind):
    image = reference_image(kind)
    reference = TF.to_grayscale(Image.fromarray(image), 3)
    assert distance(apply(backend, image, gray=True), reference).max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("threshold", (0, 100, 128, 255, 256))
def test_solarize_is_torchvisions(backend, threshold):
    image = reference_image("noise")
    reference = TF.solarize(Image.fromarray(image), threshold)
    np.testing.assert_array_equal(apply(backend, image, solarize_threshold=threshold), reference)


@pytest.mark.parametrize("factor, side", [(1.1, 203), (1.2, 186), (1.5, 149)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_resize_blur_is_that_of_scrls_code(backend, factor, side):
    """PIL shrinks to a side that is rounded down, and enlarges again."""
    image = reference_image("photo", 224, 224)
    small = Image.fromarray(image).resize((side, side), Image.BICUBIC)
    reference = small.resize((224, 224), Image.BICUBIC)
    view = distance(apply(backend, image, blur_resize=factor), reference)
    # Two resizes in a row: the second may enlarge a difference of the first.
    assert view.max() <= 2 and view.mean() < 0.02 if backend == "exact" else view.mean() < 0.5


def test_resize_blur_keeps_a_pixel():
    assert apply("exact", reference_image("photo", 1, 1), blur_resize=1.5).shape == (1, 1, 3)


# (left, top, width, height): wide, square, tall, small, whole, one row and one column.
BOXES = [(7, 5, 300, 150), (20, 10, 180, 180), (3, 2, 120, 190), (50, 40, 60, 45)]
BOXES += [(0, 0, 320, 200), (10, 100, 90, 1), (319, 0, 1, 100)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("interpolation", ("bicubic", "bilinear"))
@pytest.mark.parametrize("kind", ("noise", "extremes", "gradient", "photo"))
def test_exact_crop_is_torchvisions(kind, interpolation, box):
    image = reference_image(kind, 200, 320)
    left, top, width, height = box
    part = TF.crop(Image.fromarray(image), top, left, height, width)
    if height > SIDE and height > width:
        # Pillow shrinks the height first, but only since version 13: make it do so.
        part = part.resize((width, SIDE), getattr(Image, interpolation.upper()))
    reference = TF.resize(part, [SIDE, SIDE], InterpolationMode(interpolation))
    view = get_renderer("exact")(image, box, SIDE, interpolation, False, Photometry())
    # Overshooting bicubic rounds twice: about one value in a million is two levels off.
    assert distance(view, reference).max() <= (2 if interpolation == "bicubic" else 1)
    assert (distance(view, reference) > 1).mean() < 1e-4


def test_exact_crop_without_torchs_resize(monkeypatch):
    monkeypatch.setattr(render_exact, "_TORCH_RESIZES", False)
    image = reference_image("noise", 200, 320)
    view = get_renderer("exact")(image, (7, 5, 300, 150), SIDE, "bicubic", False, Photometry())
    reference = TF.resized_crop(
        Image.fromarray(image), 5, 7, 150, 300, [SIDE, SIDE], InterpolationMode.BICUBIC
    )
    np.testing.assert_array_equal(view, reference)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("interpolation", ("bicubic", "bilinear"))
@pytest.mark.parametrize("kind", ("noise", "photo"))
def test_identity_returns_the_input(backend, interpolation, kind):
    image = reference_image(kind)
    view = get_renderer(backend)(image, WHOLE, SIDE, interpolation, False, Photometry())
    np.testing.assert_array_equal(view, image)
    assert not np.shares_memory(view, image)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(8))
def test_flip_mirrors_the_view(backend, seed):
    image = reference_image("photo", 120, 160)
    settings = PhotometrySettings(0.9, 0.4, 0.4, 0.2, 0.1, 0.2, 0.8, solarize_prob=0.3, size=SIDE)
    photometry = draw_photometry(settings, np.random.default_rng(seed))
    box, render = (11, 7, 120, 90), get_renderer(backend)
    plain, flipped = (render(image, box, SIDE, "bicubic", f, photometry) for f in (False, True))
    assert distance(flipped, plain[:, ::-1]).max() <= 1  # the blur sums in the other direction


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gray", (False, True))
def test_views_are_contiguous_uint8_and_leave_the_image_alone(backend, gray):
    image = reference_image("photo", 120, 160)
    image.flags.writeable = False  # as memory shared between processes may be
    before = image.copy()
    photometry = Photometry((("hue", 0.1), ("contrast", 1.2)), gray, 1.0, 0.0, 128)
    view = get_renderer(backend)(image, (1, 2, 100, 80), 64, "bilinear", True, photometry)
    assert view.dtype == np.uint8 and view.shape == (64, 64, 3)
    assert view.flags.c_contiguous and view.flags.writeable
    assert not gray or (view[..., 0] == view[..., 1]).all() and (view[..., 0] == view[..., 2]).all()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flip", (False, True))
def test_pixels_lie_where_the_edge_coordinates_say(backend, flip):
    # A bright square of edges [40, 60] x [30, 70] in the crop (20, 10, 80, 160), view side 240:
    # x * 3 and y * 1.5 after the crop's corner is taken off.
    image = np.zeros((200, 160, 3), np.uint8)
    image[30:70, 40:60] = 255
    view = get_renderer(backend)(image, (20, 10, 80, 160), 240, "bilinear", flip, Photometry())
    columns, rows = (np.flatnonzero((view[..., 0] > 127).any(axis)) for axis in (0, 1))
    assert (rows[0], rows[-1] + 1) == (30, 90)
    assert (columns[0], columns[-1] + 1) == ((120, 180) if flip else (60, 120))


def test_fast_photometry_is_near_exact():
    image, rng = reference_image("photo"), np.random.default_rng(0)
    settings = PhotometrySettings(1.0, 0.4, 0.4, 0.2, 0.1, 0.2, 1.0, size=SIDE)
    drawn = [vars(draw_photometry(settings, rng)) for _ in range(30)]
    means = [distance(*(apply(b, image, **each) for b in BACKENDS)).mean() for each in drawn]
    # Mostly the exact backend's dropped fractions: half a level at each of three operations.
    assert np.mean(means) < 2.5 and max(means) < 6.0


@pytest.mark.parametrize("name, factor", JITTER)
def test_fast_single_operation_is_near_exact(name, factor):
    views = [apply(b, reference_image("photo"), jitter=((name, factor),)) for b in BACKENDS]
    assert distance(*views).max() <= (18 if name == "hue" else 1)  # PIL's hue has coarse steps
    assert distance(*views).mean() < 1.5


@pytest.mark.parametrize("turns", (-0.5, -0.3, -0.17, -0.1, 0.0, 0.02, 0.16, 0.17, 0.34, 0.5))
@pytest.mark.parametrize("kind", ("noise", "gray", "photo"))
def test_fast_hue_is_hsvs(kind, turns):
    image = reference_image(kind, 24, 24)
    hsv = (colorsys.rgb_to_hsv(*color) for color in image.reshape(-1, 3) / 255.0)
    reference = [colorsys.hsv_to_rgb((hue + turns) % 1.0, *rest) for hue, *rest in hsv]
    view = apply("fast", image, jitter=(("hue", turns),))
    assert np.abs(view - 255.0 * np.reshape(reference, (24, 24, 3))).max() <= 1


@pytest.mark.parametrize("other", (("contrast", 0.2), ("saturation", 0.2)))
def test_fast_keeps_the_drawn_order(other):
    # Yellow to blue takes the grey value along: only hue does not commute with the others.
    image, hue = reference_image("photo") // 4 + np.array([150, 150, 0], np.uint8), ("hue", 0.5)
    first, first_fast = (apply(b, image, jitter=(hue, other)) for b in BACKENDS)
    second, second_fast = (apply(b, image, jitter=(other, hue)) for b in BACKENDS)
    assert distance(first, second).mean() > 50.0
    assert distance(first, first_fast).mean() < 4.0 and distance(second, second_fast).mean() < 4.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_arguments_are_refused(backend):
    with pytest.raises(ValueError, match="INPUT.VIEWS.BACKEND"):
        get_renderer(f"not {backend}")
    image, render = reference_image("photo"), get_renderer(backend)
    with pytest.raises(ValueError, match="uint8"):
        render(image.astype(np.float32), WHOLE, SIDE, "bicubic", False, Photometry())
    with pytest.raises(ValueError, match="box inside"):
        render(image, (10, 0, SIDE, SIDE), SIDE, "bicubic", False, Photometry())
