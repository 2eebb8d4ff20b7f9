"""The boxes of a pre-training: numbers of planted boxes, and of SCRL's own."""

import numpy as np
import pytest
import torch
from helpers import tiny_config

from dense_ssl.analysis.boxes import Boxes, summarise
from dense_ssl.analysis.job import Job
from dense_ssl.structures import Views


def views():
    """The second view is mirrored and twice as large."""
    affines = torch.tensor([[[1.0, 0, 1, 0]] * 2, [[-2.0, 128, 2, 0]] * 2], dtype=torch.float64)
    return [Views(torch.zeros(2, 3, 64, 64), x) for x in affines]


def test_numbers_of_planted_boxes():
    first = torch.tensor([[[4.0, 4, 20, 20], [0, 0, 8, 32]], [[0.0, 0, 0, 0]] * 2])
    second = views()[1].boxes_to_view(first.double()).float() * (first.sum(dim=2) > 0)[..., None]
    found = summarise({0: first, 1: second}, views())
    assert found == {"usable": 50.0, "boxes": 2.0, "side": 16.0, "iou": pytest.approx(1)}
    # not mirrored back: another place
    wrong = second.clone()
    wrong[..., [0, 2]] = 128 - second[..., [2, 0]]
    assert summarise({0: first, 1: wrong}, views())["iou"] < 0.7
    shifted = second + torch.tensor([8.0, 0, 8, 0])  # 4 pixels of the image
    ious = [12 / 20, 4 / 12]
    assert summarise({0: first[:1], 1: shifted[:1]}, _rows(views()))["iou"] == pytest.approx(
        np.mean(ious)
    )


def _rows(both):
    return [Views(x.images[:1], x.affine[:1]) for x in both]


def test_objectives_without_boxes_have_no_numbers():
    assert summarise({}, views()) == {}
    none = {0: torch.zeros(2, 3, 4), 1: torch.zeros(2, 3, 4)}
    assert summarise(none, views()) == {"usable": 0.0}


@pytest.mark.parametrize("method, jitter, boxes", [("SCRL", 0.0, 3), ("SCRL", 0.2, 3),
                                                   ("BYOL", 0.0, 0)])  # fmt: skip
def test_boxes_of_a_config(method, jitter, boxes, image_folder, tmp_path, restore_catalogs):
    cfg = tiny_config(method, image_folder, tmp_path / "run")
    if boxes:
        cfg.merge_from_list(["MODEL.SCRL.NUM_BOXES", boxes, "MODEL.SCRL.BOX_JITTER", jitter])
    (tmp_path / "c.yaml").write_text(cfg.dump())
    job = Job(data=f"folder:{image_folder}", config_file=str(tmp_path / "c.yaml"))
    numbers, figures = Boxes(images=8, pictures=2).run(job)
    (found,) = numbers.values()
    (figure,) = figures.values()
    width, height = figure.get_size_inches() * figure.dpi
    assert (round(width), round(height)) == (2 * 68, 2 * 68)
    if not boxes:
        assert found == {}
    else:
        assert found["boxes"] == pytest.approx(boxes, abs=0.3)
        assert found["iou"] > 0.999 if not jitter else 0.4 < found["iou"] < 0.9
