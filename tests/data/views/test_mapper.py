"""The multi-view mapper: number, size, seeds and options of the views."""

import cv2
import numpy as np
import pytest
import torch
from helpers import base_config, photo

from dense_ssl.data.views import mapper as mapper_module
from dense_ssl.data.views.crops import crop_affine
from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.structures import Views

WIDTH, HEIGHT = 200, 150
# colours do not change
PLAIN = [
    "INPUT.VIEWS.JITTER_PROB", (0.0,), "INPUT.VIEWS.GRAY_PROB", (0.0,),
    "INPUT.VIEWS.BLUR_PROB", (0.0,), "INPUT.VIEWS.SOLARIZE_PROB", (0.0,),
]  # fmt: skip


class Guarded(dict):
    """A dataset dict of which only the file name may be read."""

    def __getitem__(self, key):
        assert key in ("file_name", "image_id"), f"{key} was read"
        return super().__getitem__(key)

    def _refuse(self, *args, **kwargs):
        raise AssertionError("the dict was read as a whole")

    get = pop = items = keys = values = copy = __iter__ = __copy__ = __deepcopy__ = _refuse


def build(*options):
    return MultiViewMapper(base_config("INPUT.FORMAT", "RGB", "INPUT.VIEWS.SIZE", (32,), *options))


def geometry(sample):
    """The views of a sample as a list of :class:`Views` of one image."""
    return [Views(x["image"][None], x["affine"][None]) for x in sample["views"]]


def overlap_sides(a, b):
    """Sides of the overlap in pixels of the view of lower zoom."""
    region = a.overlap(b)[0]
    return (region[2:] - region[:2]) * torch.minimum(a.zoom, b.zoom)[0]


def assert_equal(a, b):
    assert len(a["views"]) == len(b["views"]) and a["seed"] == b["seed"]
    for x, y in zip(a["views"], b["views"]):
        assert torch.equal(x["image"], y["image"]) and torch.equal(x["affine"], y["affine"])


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "a.png"
    cv2.imwrite(str(path), photo(np.random.default_rng(0), WIDTH, HEIGHT)[..., ::-1])
    return {"file_name": str(path)}


@pytest.mark.parametrize("backend", ["fast", "exact"])
def test_number_size_and_type_of_the_views(picture, backend):
    sample = build("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.SIZE", (32, 48, 16),
                   "INPUT.VIEWS.BLUR_PROB", (1.0,), "INPUT.VIEWS.SOLARIZE_PROB", (0.5,),
                   "INPUT.VIEWS.BACKEND", backend)(picture, 1)  # fmt: skip
    assert [tuple(x["image"].shape) for x in sample["views"]] == [
        (3, 32, 32), (3, 48, 48), (3, 16, 16)]  # fmt: skip
    assert all(x["image"].dtype == torch.uint8 for x in sample["views"])
    assert all(x["affine"].dtype == torch.float64 for x in sample["views"])
    assert (sample["width"], sample["height"]) == (WIDTH, HEIGHT)
    assert sample["file_name"] == picture["file_name"]


def test_one_entry_serves_all_views_and_several_serve_one_each(picture):
    shared = build("INPUT.VIEWS.FLIP_PROB", (1.0,))(picture, 0)
    assert all(x["affine"][0] < 0 for x in shared["views"])
    own = build("INPUT.VIEWS.FLIP_PROB", (1.0, 0.0))(picture, 0)
    assert own["views"][0]["affine"][0] < 0 < own["views"][1]["affine"][0]


def test_each_view_has_its_own_crop_sampler(picture):
    """A crop of the whole area and of ratio 3 / 4 does not fit this image of ratio 4 / 3."""
    options = ("INPUT.VIEWS.CROP_SCALE", ((1.0, 1.0),), "INPUT.VIEWS.CROP_RATIO", ((0.75, 0.75),))
    clamp = crop_affine((0, 0, 150, HEIGHT), 32, False)
    centre = crop_affine((44, 0, 112, HEIGHT), 32, False)
    for samplers in (("torchvision",), ("clamp", "torchvision"), ("torchvision", "clamp")):
        mapper = build(*options, "INPUT.VIEWS.CROP_SAMPLER", samplers)
        for view, sample in enumerate(mapper(picture, 0)["views"]):
            expected = clamp if samplers[view % len(samplers)] == "clamp" else centre
            assert abs(sample["affine"][0]) == pytest.approx(expected[0])


def test_the_default_blur_is_strong_in_the_first_view_only():
    first, second = build().views
    assert (first.blur_prob, second.blur_prob) == (1.0, 0.1)
    assert (first.solarize_prob, second.solarize_prob) == (0.0, 0.2)


@pytest.mark.parametrize("key, value", [
    ("SIZE", (32, 32, 32)), ("BLUR_PROB", (0.1, 0.2, 0.3)), ("CROP_RATIO", ()),
    ("CROP", ("centre",)), ("INTERPOLATION", ("nearest",)), ("BLUR", ("box",)),
    ("CROP_SAMPLER", ("none",)),
    ("BACKEND", "gpu"), ("HUE", (0.7,)), ("CONTRAST", (-0.1,)), ("BLUR_SIGMA", ((2.0, 0.1),)),
    ("CROP_SCALE", (0.2, 1.0)), ("CROP_SCALE", ((1.0, 0.2),)), ("CROP_RATIO", ((0.0, 1.0),)),
    ("CROP_RATIO", (0.75, 1.33)), ("BLUR_SIGMA", (0.1, 2.0)), ("FLIP_PROB", (1.5,)),
    ("GRAY_PROB", (-0.1,)), ("SIZE", (0,)),
])  # fmt: skip
def test_wrong_lengths_and_values_name_their_key(key, value):
    with pytest.raises(ValueError, match=f"INPUT.VIEWS.*{key}"):
        build(f"INPUT.VIEWS.{key}", value)


def test_unknown_colour_order_names_its_key():
    with pytest.raises(ValueError, match="INPUT.FORMAT"):
        build("INPUT.FORMAT", "L")


def test_views_are_a_function_of_the_seed(picture):
    mapper = build()
    before = mapper(picture, [3, 17])
    torch.manual_seed(0)
    np.random.seed(0)
    for seed in range(5):
        mapper(picture, seed)
    assert_equal(mapper(picture, [3, 17]), before)
    assert_equal(build()(picture, [3, 17]), before)


def test_other_seeds_give_other_views(picture):
    mapper = build()
    samples = [mapper(picture, [seed, position]) for seed in range(3) for position in range(10)]
    for view in range(2):
        crops = {tuple(x["views"][view]["affine"].tolist()) for x in samples}
        assert len(crops) == 30
    assert len({x["seed"] for x in samples}) == 30
    assert not torch.equal(samples[0]["views"][0]["affine"], samples[0]["views"][1]["affine"])


def test_geometry_does_not_depend_on_backend_or_colour(picture):
    plain, colourful = build(*PLAIN), build("INPUT.VIEWS.BACKEND", "exact")
    for seed in range(10):
        a, b = plain(picture, seed), colourful(picture, seed)
        for x, y in zip(a["views"], b["views"]):
            assert torch.equal(x["affine"], y["affine"])
        assert a["seed"] == b["seed"]


def test_annotations_are_never_read(picture):
    guarded = Guarded(file_name=picture["file_name"], image_id=1, annotations="secret", width=1)
    with pytest.raises(AssertionError):
        guarded["annotations"]
    assert_equal(build()(guarded, 4), build()(picture, 4))


def test_bgr_is_rgb_with_the_channels_reversed(picture):
    rgb, bgr = (build("INPUT.VIEWS.GRAY_PROB", (0.0,), "INPUT.FORMAT", x)(picture, 5)
                for x in ("RGB", "BGR"))  # fmt: skip
    for a, b in zip(rgb["views"], bgr["views"]):
        assert torch.equal(a["image"].flip(0), b["image"])
        assert not torch.equal(a["image"], b["image"])


def test_rgb_is_rgb(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((20, 20, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    view = build(*PLAIN)({"file_name": str(path)}, 0)["views"][0]["image"]
    assert view.flatten(1).float().mean(1).tolist() == [255, 0, 0]


@pytest.mark.parametrize("sizes", [(32, 32), (64, 32)])
def test_min_overlap_is_honoured(picture, sizes):
    options = ("INPUT.VIEWS.SIZE", sizes, "INPUT.VIEWS.CROP_SCALE", ((0.08, 0.2),))
    free = build(*options)
    bound = build(*options, "INPUT.VIEWS.MIN_OVERLAP", 12, "INPUT.VIEWS.OVERLAP_TRIES", 1000)
    sides = {
        x: [overlap_sides(*geometry(x(picture, seed))).min() for seed in range(30)]
        for x in (free, bound)
    }
    assert min(sides[bound]) > 12
    assert min(sides[free]) < 0  # without the key some pairs do not even touch


def test_every_pair_of_three_views_overlaps(picture):
    mapper = build("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.BLUR_PROB", (0.5,),
                   "INPUT.VIEWS.SOLARIZE_PROB", (0.0,), "INPUT.VIEWS.CROP_SCALE", ((0.1, 0.4),),
                   "INPUT.VIEWS.MIN_OVERLAP", 4, "INPUT.VIEWS.OVERLAP_TRIES", 1000)  # fmt: skip
    for seed in range(20):
        views = geometry(mapper(picture, seed))
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert (overlap_sides(views[a], views[b]) > 4).all()


def test_min_overlap_is_given_up_after_overlap_tries(picture, monkeypatch):
    draws = []
    original = mapper_module.draw_crop
    monkeypatch.setattr(
        mapper_module, "draw_crop", lambda *args: draws.append(1) or original(*args)
    )
    sample = build("INPUT.VIEWS.MIN_OVERLAP", 1000, "INPUT.VIEWS.OVERLAP_TRIES", 7)(picture, 0)
    assert len(draws) == 7 * 2 and len(sample["views"]) == 2


def test_crop_same_is_that_of_the_first_view(picture):
    mapper = build("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.CROP", ("random", "same", "random"),
                   "INPUT.VIEWS.BLUR_PROB", (0.5,),
                   "INPUT.VIEWS.SOLARIZE_PROB", (0.0,))  # fmt: skip
    flips = set()
    for seed in range(20):
        first, second, third = geometry(mapper(picture, seed))
        assert torch.allclose(first.footprint(), second.footprint(), atol=1e-9)
        assert not torch.allclose(first.footprint(), third.footprint(), atol=1.0)
        assert not torch.equal(first.images, second.images)  # other colours
        flips.add((bool(first.scale[0, 0] < 0), bool(second.scale[0, 0] < 0)))
    assert len(flips) == 4
    with pytest.raises(ValueError, match="INPUT.VIEWS.CROP.*first view"):
        build("INPUT.VIEWS.CROP", ("same", "random"))


def test_crop_whole_shows_the_whole_image(picture):
    sample = build(*PLAIN, "INPUT.VIEWS.CROP", ("whole", "random"),
                   "INPUT.VIEWS.FLIP_PROB", (0.0,))(picture, 2)  # fmt: skip
    whole = crop_affine((0, 0, WIDTH, HEIGHT), 32, False)
    assert sample["views"][0]["affine"].tolist() == pytest.approx(whole.tolist())
    assert geometry(sample)[0].footprint()[0].tolist() == pytest.approx([0, 0, WIDTH, HEIGHT])
    assert sample["views"][1]["affine"].tolist() != pytest.approx(whole.tolist())


RADIUS, SIDE = 7.0, 96


def marked(folder, rng, number):
    """A grey picture with a smooth-edged red disc; its path and the centre of the disc."""
    centre = rng.uniform((60, 50), (WIDTH - 60, HEIGHT - 50))
    y, x = (np.mgrid[0 : HEIGHT * 4, 0 : WIDTH * 4] + 0.5) / 4  # edge coordinates
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS**2
    share = inside.reshape(HEIGHT, 4, WIDTH, 4).mean((1, 3))[..., None]
    image = (1 - share) * (90, 90, 90) + share * (60, 60, 250)  # BGR
    path = folder / f"disc{number}.png"
    cv2.imwrite(str(path), image.round().astype(np.uint8))
    return {"file_name": str(path)}, torch.from_numpy(centre)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("discs")
    return [marked(folder, rng, i) for i in range(6)]


def centre_of_red(image):
    """Where the red is in a view (3, H, W), in edge coordinates."""
    red = (image[0].double() - image[1].double()).clamp(min=0)
    cells = torch.arange(image.shape[-1]).double() + 0.5
    return torch.stack([(red.sum(0) * cells).sum(), (red.sum(1) * cells).sum()]) / red.sum()


@pytest.mark.parametrize("backend", ["fast", "exact"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_painted_disc_is_where_to_view_says(discs, backend, interpolation):
    mapper = build(*PLAIN, "INPUT.VIEWS.SIZE", (SIDE,), "INPUT.VIEWS.BACKEND", backend,
                   "INPUT.VIEWS.INTERPOLATION", (interpolation,),
                   "INPUT.VIEWS.CROP_SCALE", ((0.2, 1.0),))  # fmt: skip
    errors = {True: [], False: []}
    for seed in range(90):
        dataset_dict, centre = discs[seed % len(discs)]
        sample = mapper(dataset_dict, seed)
        for view, entry in zip(geometry(sample), sample["views"]):
            expected = view.to_view(centre[None, None])[0, 0]
            radius = view.zoom[0] * RADIUS + 2
            if (expected > radius).all() and (expected < SIDE - radius).all():  # wholly in view
                error = centre_of_red(entry["image"]) - expected
                assert error.abs().max() < 1
                errors[bool(view.affine[0, 0] < 0)].append(error)
    for of_one_flip in errors.values():
        assert len(of_one_flip) >= 40
        # half a pixel too far would still be within one: the average shows it
        assert torch.stack(of_one_flip).mean(0).abs().max() < 0.1
