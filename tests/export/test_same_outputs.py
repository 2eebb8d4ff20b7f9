"""Masks without loops, and the comparison of detections."""

import math

import pytest
import torch
from detectron2.layers.mask_ops import paste_masks_in_image

from dense_ssl.export import ExportError
from dense_ssl.export.masks import paste_masks
from dense_ssl.export.verify import check, differences


def test_pasted_masks_are_those_of_detectron2():
    torch.manual_seed(0)
    corner, side = torch.rand(20, 2) * 60 - 10, torch.rand(20, 2) * 50 + 1.5
    boxes, masks = torch.cat([corner, corner + side], dim=1), torch.rand(20, 14, 14)
    expected = paste_masks_in_image(masks, boxes, (50, 70), 0.5)
    assert expected.any() and torch.equal(paste_masks(masks, boxes, (50, 70)), expected)


def detections(boxes, scores, classes):
    return {"boxes": torch.tensor(boxes).view(-1, 4), "scores": torch.tensor(scores),
            "classes": torch.tensor(classes)}  # fmt: skip


A, B = [0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 20.0, 30.0]


def test_detections_in_another_order_are_the_same():
    first = detections([A, B, B], [0.9, 0.9, 0.8], [0, 1, 0])
    second = detections([B, B, [0.0, 0.0, 10.0, 10.05]], [0.8, 0.9, 0.9], [0, 1, 0])
    found = differences(first, second)
    assert found["unmatched"] == 0 and found["boxes"] == pytest.approx(0.05, abs=1e-5)
    check(found)


@pytest.mark.parametrize(
    "other, unmatched",
    [
        (detections([A, B], [0.9, 0.8], [0, 0]), 0.5),  # another class
        (detections([A, [5.0, 5.0, 20.0, 31.0]], [0.9, 0.8], [0, 1]), 0.5),  # another box
        (detections([A, B], [0.9, 0.7], [0, 1]), 0.5),  # another score
        (detections([A, A, B], [0.9, 0.9, 0.8], [0, 0, 1]), 1 / 3),  # one twice
        (detections([], [], []), 1),
    ],
)
def test_other_detections_are_errors(other, unmatched):
    first = detections([A, B], [0.9, 0.8], [0, 1])
    for pair in ((first, other), (other, first)):
        found = differences(*pair)
        assert found["unmatched"] == pytest.approx(unmatched)
        with pytest.raises(ExportError, match="differ in unmatched"):
            check(found)


def test_masks_and_maps():
    one = {**detections([A], [0.9], [0]), "masks": torch.zeros(1, 9, 9, dtype=torch.bool)}
    one["masks"][:, :5] = True
    other = {**one, "masks": one["masks"].clone()}
    other["masks"][0, 0, 0] = False
    assert differences(one, other)["masks"] == pytest.approx(1 / 45)
    x = torch.tensor([[2.0, -4.0]])
    assert differences({"res5": x}, {"res5": x + 0.4})["res5"] == pytest.approx(0.1)
    assert differences({"res5": x}, {"res5": x[:, :1]})["res5"] == math.inf
    with pytest.raises(ExportError):  # also where it is not a number
        check(differences({"res5": x}, {"res5": x * math.nan}))
