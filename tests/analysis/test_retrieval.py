"""Retrieval by whole maps: what counts as close, and the shares of classes."""

import numpy as np
import pytest
import torch
from oracle_maps import GivenSamples, OracleMaps, rectangle_image

from dense_ssl.analysis.embedding import Embedding
from dense_ssl.analysis.retrieval import Retrieval, class_shares, main_class, vector

LEFT, RIGHT = (0, 0, 32, 64), (32, 0, 64, 64)


def colours(cells):
    """Red and blue around 0, so that other colours are not close."""
    return 2 * cells - 1


def images(boxes, colour=(255, 0, 0)):
    return [(rectangle_image((64, 64), box, colour), [box]) for box in boxes]


def neighbours(**options):
    pairs = images([LEFT, RIGHT, LEFT, RIGHT])
    options = {"side": 64, "neighbours": 1, "queries": 4, **options}
    outcome = Retrieval(**options).measure(OracleMaps(colours, 16, "res5"), GivenSamples(pairs))
    _, queries, found, cosines = outcome.drawn
    assert queries.tolist() == [0, 1, 2, 3]
    return found[:, 0].tolist(), cosines[:, 0].tolist()


def test_places_count_unless_the_map_is_pooled():
    for kind in ("map", "cells"):
        found, cosines = neighbours(features=kind)
        assert found == [2, 3, 0, 1] and cosines == pytest.approx([1] * 4)
    # the means of all four images are equal
    assert neighbours(features="pooled")[1] == pytest.approx([1] * 4)
    assert neighbours(features="pooled", neighbours=3)[1] == pytest.approx([1] * 4)


def test_vectors_are_what_they_are_called():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(3, 2, 2, generator=generator) for _ in range(2))
    flat = [x.flatten() for x in (first, second)]
    cosine = float(flat[0] @ flat[1] / (flat[0].norm() * flat[1].norm()))
    assert float(vector(first, "map") @ vector(second, "map")) == pytest.approx(cosine, abs=1e-6)
    cells = [
        float(first[:, i, j] @ second[:, i, j] / (first[:, i, j].norm() * second[:, i, j].norm()))
        for i in range(2)
        for j in range(2)
    ]
    product = float(vector(first, "cells") @ vector(second, "cells"))
    assert product == pytest.approx(sum(cells) / 4, abs=1e-6)
    mean = first.mean(dim=(1, 2))
    assert vector(first, "pooled").tolist() == pytest.approx((mean / mean.norm()).tolist())


def test_the_class_of_an_image_is_that_of_its_largest_object():
    (sample,) = GivenSamples([(np.zeros((64, 64, 3), np.uint8), [LEFT, (0, 0, 60, 60)])])
    sample.item["annotations"][1]["category_id"] = 5
    assert main_class(sample) == 5
    sample.item["annotations"][1]["iscrowd"] = 1
    assert main_class(sample) == 0
    del sample.item["annotations"]
    assert main_class(sample) == -1


def test_shares_of_classes():
    embedding = Embedding(np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32),
                          np.array(list("abcd")), np.zeros((4, 4)), np.array([0, 1, 1, 1]), (),
                          "res5", "")  # fmt: skip
    shares = class_shares(embedding, np.array([[1, 2], [0, 3], [3, 0], [2, -1]]))
    # nearest: 0-1 other, 1-0 other, 2-3 same, 3-2 same
    assert shares["same_class_1"] == 50
    assert shares["same_class"] == pytest.approx(100 * 3 / 7)
    assert shares["by_chance"] == pytest.approx(100 * 6 / 12)
    embedding.classes = np.full(4, -1)
    assert class_shares(embedding, np.zeros((4, 1), int)) == {}
