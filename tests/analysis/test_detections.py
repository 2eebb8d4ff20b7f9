"""How well detections fit objects, by hand."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, BoxMode, Instances

from dense_ssl.analysis import detections
from dense_ssl.analysis.detections import count_found, overlaps, right_ones, summarise
from dense_ssl.visualization.detections import as_instances


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


def test_crowds_and_difficult_objects_are_no_labels():
    box = {"bbox": [0, 0, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    item = {"annotations": [box, {**box, "difficult": 1}, {**box, "iscrowd": 1}]}
    assert len(as_instances(item, (20, 20))) == 1


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


def test_a_box_is_found_from_half_and_from_three_quarters():
    boxes = [[0, 0, 10, 4.9], [20, 0, 30, 7.4], [40, 0, 50, 7.6]]
    truth = instances([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 0])
    numbers = summarise([count_found(instances(boxes, [0, 0, 0]), truth)])
    assert numbers["found_50"] == pytest.approx(200 / 3)
    assert numbers["found_75"] == pytest.approx(100 / 3)
    assert numbers["iou"] == pytest.approx((0.74 + 0.76) / 2)  # not of the one that is missed


class Samples(list):
    """Three images with an object of each of two classes."""

    entry = "coco:a.json:images"
    metadata = Metadata(name="of the test", thing_classes=["cat", "dog"])

    def __init__(self, count, needs):
        annotations = [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": i}
            for i, box in enumerate(TRUTH.pred_boxes.tensor.tolist())
        ]
        item = {"annotations": annotations}
        super().__init__(SimpleNamespace(item=item, image=None) for _ in range(count))
        assert needs == "boxes"


class Job:
    weights = {"a": "a.pth", "b": "b.pth"}
    config_file, overrides = None, {}
    samples = staticmethod(Samples)

    def record(self, *args):
        """Nothing to keep."""


@pytest.fixture
def run(monkeypatch):
    """A function that runs the analysis with detectors that find FOUND at given scores."""

    def start(scores=(0.9, 0.6, 0.5, 0.4), classes=("cat", "dog"), **options):
        def load_detector(*args):
            found = instances(FOUND.pred_boxes.tensor.tolist(), FOUND.pred_classes.tolist(), scores)
            detector = lambda image: {"instances": found}  # noqa: E731
            return type("Detector", (), {
                "cfg": None, "labels": {"thing_classes": list(classes)},
                "__call__": lambda self, image: detector(image),
            })()  # fmt: skip

        monkeypatch.setattr(detections, "load_detector", load_detector)
        monkeypatch.setattr(detections, "draw_detection_grid", lambda *args: args)
        return detections.Detections(**{"images": 3, **options}).run(Job())

    return start


def test_detections_below_the_threshold_are_left_out(run):
    numbers, _ = run()
    assert numbers["a"]["detections"] == numbers["b"]["detections"] == 3
    assert run(threshold=0.55)[0]["a"]["detections"] == 2
    assert run(threshold=0.0)[0]["a"]["found_50"] == 100


def test_the_figure_has_some_images_of_each_detector(run):
    labels, items, columns = run(pictures=2)[1][""]
    assert labels["thing_classes"] == ["cat", "dog"] and len(items) == 2
    assert {k: [len(x) for x in v] for k, v in columns.items()} == {"a": [3, 3], "b": [3, 3]}
    columns = run(pictures=1, right_class=True)[1][""][2]
    assert {k: [len(x) for x in v] for k, v in columns.items()} == {"a": [2], "b": [2]}


@pytest.mark.parametrize("classes", [("dog", "cat"), ("cat",), ("cat", "cow")])
def test_classes_of_other_data_are_refused(run, classes):
    with pytest.raises(ValueError, match="--weights a: the classes of the detector"):
        run(classes=classes)
