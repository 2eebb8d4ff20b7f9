"""Curves of a metrics.json."""

import json
import sys

import cv2
from matplotlib.figure import Figure

from dense_ssl.visualization.curves import draw_curves, draw_run, read_metrics, run_panels


def _write(path, records):
    path.write_text("".join(json.dumps(x) + "\n" for x in records))
    return path


def test_what_a_resumed_run_repeats_counts_once(tmp_path):
    values = [(19, 3.0), (39, 2.0), (59, 1.0), (39, 1.5), (59, 0.5), (79, 0.4)]
    path = _write(tmp_path / "metrics.json", [{"iteration": i, "loss_a": x} for i, x in values])
    assert read_metrics(path)["loss_a"] == ([19, 39, 59, 79], [3.0, 1.5, 0.5, 0.4])


def test_panels_of_both_stages():
    curve = ([1], [1.0])
    names = ("total_loss", "loss_scrl", "lr", "time", "scrl/feature_std", "backbone/res4_angle",
             "scrl/overlap_rate", "backbone/res4_norm")  # fmt: skip
    panels = dict(run_panels(dict.fromkeys(names, curve)))
    assert [sorted(x) for x in panels.values()] == [
        ["loss_scrl"], ["scrl/feature_std"], ["backbone/res4_angle"], ["lr"]
    ]  # fmt: skip
    names = ("loss_cls", "roi/accuracy", "roi/top1_accuracy", "probe/linear", "probe/res4/linear")
    panels = dict(run_panels(dict.fromkeys(names, curve)))
    assert [sorted(x) for x in panels.values()] == [
        ["loss_cls"], ["roi/top1_accuracy"], ["probe/linear"], ["roi/accuracy"]
    ]  # fmt: skip
    names = ("total_loss", "loss_cls", "loss_rpn_cls", "lr", "bbox/AP", "bbox/AP50", "bbox/AP-cat")
    panels = dict(run_panels(dict.fromkeys(names, curve)))
    assert sorted(panels["loss"]) == ["loss_cls", "loss_rpn_cls", "total_loss"]
    assert sorted(panels["evaluation"]) == ["bbox/AP", "bbox/AP50"]


def test_there_is_no_empty_panel(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **more: figures.append(figure))
    draw_curves([(str(i), {"a": ([1], [1.0])}) for i in range(5)], tmp_path / "x.png")
    assert len(figures[0].axes) == 5


def test_a_picture_is_drawn_without_the_interface_of_notebooks(tmp_path):
    records = [{"iteration": i, "total_loss": 3.0 / i, "loss_a": 3.0 / i, "lr": 0.1,
                "a/feature_std": 0.5, "a/top1": float("nan"), "backbone/angle": 1.0 * i}
               for i in range(1, 9)]  # fmt: skip
    sys.modules.pop("matplotlib.pyplot", None)
    picture = tmp_path / "curves.png"
    draw_run(_write(tmp_path / "metrics.json", records), picture)
    assert "matplotlib.pyplot" not in sys.modules
    assert cv2.imread(str(picture)).std() > 10


def test_nothing_is_drawn_before_the_first_report(tmp_path):
    draw_run(tmp_path / "metrics.json", tmp_path / "curves.png")
    draw_run(_write(tmp_path / "metrics.json", []), tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
