"""Matches between views: exact for an oracle, chance for noise, and wrong under planted faults."""

import numpy as np
import pytest
import torch
from oracle_maps import GivenSamples, OracleMaps, coordinate_image, places, random_features

from dense_ssl.analysis.correspondence import Correspondence
from dense_ssl.analysis.matching import (
    Matching,
    accuracies,
    cell_distances,
    chance,
    match_views,
    most_similar,
)
from dense_ssl.analysis.views import make_view, whole

SMALL = {"side": 128, "crop_scale": 0.4, "colours": "none", "images": 6}
FLIPPED = {"side": 128, "colours": "none", "images": 3}


def samples(count=6):
    return GivenSamples([(coordinate_image(320, 256), None)] * count)


FAULTS = {
    "half a cell": lambda x: places(x[:, :, ::2].repeat_interleave(2, dim=2)),
    "no flip": lambda x: places(x.flip(2)),
    "x and y swapped": lambda x: places(x.transpose(1, 2)),
}


def both(fault):
    """Maps of which only those of every second image have a fault."""
    number = iter(range(10**6))
    return OracleMaps(lambda x: fault(x) if next(number) % 2 else places(x))


def test_features_that_are_places_are_matched_exactly():
    numbers = Matching(**SMALL).measure(OracleMaps(places), samples()).numbers
    assert numbers["within_0"] == numbers["within_1"] == 100
    assert numbers["images"] == 6 and numbers["cells"] > 100
    assert numbers["level"] == "res4"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_geometry_shows(fault):
    numbers = Matching(**SMALL).measure(both(FAULTS[fault]), samples()).numbers
    assert numbers["within_0"] < 70


def test_random_features_score_chance():
    maps = OracleMaps(random_features())
    numbers = Matching(**{**SMALL, "images": 40}).measure(maps, samples(40)).numbers
    assert numbers["chance_0"] == pytest.approx(100 / 64)
    for within in (0, 1):
        guess = numbers[f"chance_{within}"] / 100
        deviation = 100 * (guess * (1 - guess) / numbers["cells"]) ** 0.5
        assert numbers[f"within_{within}"] == pytest.approx(100 * guess, abs=4 * deviation)


@pytest.mark.parametrize("transform", ["flip", "crop"])
def test_correspondence_of_places_is_exact(transform):
    analysis = Correspondence(transform=transform, crop_scale=0.4, **FLIPPED)
    maps = OracleMaps(places, 32, "res5")
    numbers = analysis.measure(maps, samples(3)).numbers
    assert numbers["level"] == "res5" and numbers["images"] == 3
    assert numbers["accuracy"] == numbers["colours_only"] == 100
    assert numbers[f"{transform}_only"] == 100
    assert transform == "crop" or numbers["cells"] == 3 * 16


@pytest.mark.parametrize("fault", FAULTS)
def test_correspondence_sees_a_fault(fault):
    numbers = Correspondence(**FLIPPED).measure(both(FAULTS[fault]), samples(3)).numbers
    assert numbers["accuracy"] < 70


def test_colours_change_what_an_oracle_of_colours_finds():
    analysis = Correspondence(**{**FLIPPED, "colours": "byol"})
    numbers = analysis.measure(OracleMaps(places), samples(3)).numbers
    assert numbers["flip_only"] == 100 > numbers["accuracy"]
    assert numbers["colours_only"] < 100


def test_the_mirrored_column_is_right():
    """Column x of the image is column w - 1 - x of its mirror image, row by row."""
    image, rng = coordinate_image(64, 64), np.random.default_rng(0)
    pair = tuple(make_view(image, whole(image), 64, flip, "none", rng) for flip in (False, True))
    match = match_views(OracleMaps(places), "res4", pair)
    expected = [4 * row + 3 - column for row in range(4) for column in range(4)]
    assert match.found.tolist() == expected and match.valid.all()
    assert match.points.tolist() == [[x % 4, x // 4] for x in expected]


def test_distances_and_chance_are_those_of_the_grid():
    cells = (3, 4)
    points = torch.tensor([[0.2, 0.0], [3.4, 2.0], [1.0, 1.0], [0.0, 2.0]])
    found = torch.tensor([0, 6, 5, 3])  # (0, 0), (2, 1), (1, 1), (3, 0) as (x, y)
    assert cell_distances(found, points, cells).tolist() == [0, 1, 0, 3]
    assert chance(points, cells, 0).tolist() == pytest.approx([1 / 12] * 4)
    assert chance(points, cells, 1).tolist() == pytest.approx([4 / 12, 4 / 12, 9 / 12, 4 / 12])


def test_the_most_similar_cell_is_that_of_the_highest_cosine():
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(2, 1, 2)  # cells (1, 0) and (0, 2)
    second = torch.tensor([[0.1, 9.0, 1.0], [0.1, 3.0, 9.0]]).view(2, 1, 3)
    assert most_similar(first, second).tolist() == [1, 2]  # not the longest vector


def test_views_without_overlap_have_a_message():
    with pytest.raises(ValueError, match="raise --crop-scale"):
        accuracies([])
