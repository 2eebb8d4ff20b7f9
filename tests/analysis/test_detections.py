"""How well detections fit objects, by hand."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from dense_ssl.analysis.detections import count_found, overlaps, right_ones, summarise


def instances(boxes, classes, scores=None):
    found = Instances((100, 100), pred_boxes=Boxes(torch.tensor(boxes).view(-1, 4).float()),
                      pred_classes=torch.tensor(classes, dtype=torch.int64))  # fmt: skip
    if scores is not None:
        found.scores = torch.tensor(scores)
    return found


TRUTH = instances([[0, 0, 10, 10], [50, 50, 70, 60]], [0, 1])
FOUND = instances(
    [[0, 0, 10, 8], [0, 0, 10, 6], [50, 50, 70, 60], [50, 50, 66, 60]], [0, 0, 0, 1], [0.9] * 4
)


def test_overlaps():
    assert overlaps(FOUND, TRUTH)[:, 0].tolist() == pytest.approx([0.8, 0.6, 0, 0])
    assert overlaps(FOUND, TRUTH)[:, 1].tolist() == pytest.approx([0, 0, 1, 0.8])


def test_an_object_is_found_by_the_best_box_of_its_class():
    count, objects = count_found(FOUND, TRUTH)
    assert count == 4
    assert [x for x, _ in objects] == pytest.approx([0.8, 0.8])  # not 1.0, of the wrong class
    assert [x for _, x in objects] == [1, 0]


def test_numbers_of_a_detector():
    found = summarise([count_found(FOUND, TRUTH), count_found(instances([], []), TRUTH)])
    assert found == {"detections": 2.0, "objects": 4, "found_50": 50.0, "found_75": 50.0,
                     "iou": pytest.approx(0.8), "duplicates": 0.5}  # fmt: skip
    nothing = summarise([count_found(instances([], []), TRUTH)])
    assert nothing["found_50"] == 0 and nothing["iou"] is None and nothing["duplicates"] is None


def test_detections_of_the_right_class():
    assert right_ones(FOUND, TRUTH).pred_boxes.tensor.tolist() == [
        [0, 0, 10, 8], [0, 0, 10, 6], [50, 50, 66, 60],
    ]  # fmt: skip
    far = instances([[90, 90, 99, 99]], [0], [0.9])
    assert len(right_ones(far, TRUTH)) == 0
    assert len(right_ones(FOUND, instances([], []))) == 0
    assert len(right_ones(instances([], [], []), TRUTH)) == 0
