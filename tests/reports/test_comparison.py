"""Statistics and tables of a comparison, against hand-computed values."""

import csv
import importlib
import io
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dense_ssl.reports.comparison import KEYS, compare, differences_to, summarise
from dense_ssl.reports.comparison_files import (
    csv_report,
    json_report,
    markdown_report,
    write_reports,
)
from dense_ssl.visualization import comparison as plots
from dense_ssl.visualization.comparison import draw_comparison, panel_metrics

NAN = math.nan


class Scored:
    """A run with results."""

    def __init__(self, protocol, backbone, seed, metrics, zeros=()):
        self.protocol, self.backbone, self.seed = protocol, backbone, seed
        self.metrics, self.zeros = metrics, list(zeros)

    def __str__(self):
        return f"{self.protocol} {self.backbone} {self.seed}"

    def results(self):
        return None if self.metrics is None else (self.metrics, self.zeros)


def table(p="p", **rows):
    """Runs from {backbone: values of the seeds 1, 2, ...} of one metric."""
    return [
        Scored(p, name, seed, None if value is None else {"bbox/AP": value})
        for name, values in rows.items()
        for seed, value in enumerate(values, start=1)
    ]


def frame(**rows):
    """Scores of {backbone: values of the seeds 1, 2, ...} with one metric."""
    scores = pd.DataFrame(rows, index=range(1, 1 + max(map(len, rows.values()))))
    scores.columns = pd.MultiIndex.from_tuples([("p", "bbox/AP", x) for x in rows], names=KEYS)
    return scores


def cells(**rows):
    """Statistics of the scores, and of their differences to the first backbone."""
    scores = frame(**rows)
    differences = summarise(differences_to(scores, next(iter(rows))))
    return (x.loc[("p", "bbox/AP")] for x in (summarise(scores), differences))


def test_mean_and_sample_standard_deviation():
    cell = summarise(frame(a=[2.0, 4.0, 9.0])).iloc[0]
    # deviations -3, -1, 4: squares 26, divided by 2
    assert (cell["n"], cell["mean"], cell["sd"]) == (3, 5.0, pytest.approx(math.sqrt(13)))


@pytest.mark.parametrize("n, quantile", [(2, 12.7062), (3, 4.3027), (5, 2.7764), (10, 2.2622)])
def test_the_interval_is_that_of_students_t(n, quantile):
    """The quantiles are those of printed tables: 97.5 % with n - 1 degrees of freedom."""
    values = [float(x % 3) for x in range(n)]
    mean = sum(values) / n
    sd = math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1))
    cell, half = summarise(frame(a=values)).iloc[0], quantile * sd / math.sqrt(n)
    assert cell[["low", "high"]].tolist() == pytest.approx([mean - half, mean + half], rel=1e-4)


def test_the_interval_of_a_mean_holds_it_in_95_of_100_cases():
    generator = np.random.default_rng(0)
    scores = generator.normal(5, 2, (3, 4000))
    table = summarise(pd.DataFrame(scores))
    assert ((table["low"] < 5) & (5 < table["high"])).mean() == pytest.approx(0.95, abs=0.012)


def test_differences_are_paired_by_seed():
    means, differences = cells(a=[10.0, 20.0, NAN, 7.0], b=[11.0, 24.0, 100.0, NAN])
    # +1 and +4 with seeds 1 and 2; seeds 3 and 4 have no partner
    cell = differences.loc["b"]
    assert (cell["n"], cell["mean"], cell["sd"]) == (2, 2.5, pytest.approx(math.sqrt(4.5)))
    # paired, the interval can be much shorter than those of the means
    means, differences = cells(a=[10.0, 20.0, 30.0], b=[11.0, 21.1, 31.0])
    assert means.loc["b", "high"] - means.loc["b", "low"] > 40
    assert differences.loc["b", "high"] - differences.loc["b", "low"] < 0.3


def test_one_value_has_no_interval_and_none_has_no_mean():
    means, differences = cells(a=[1.0], b=[3.0], c=[NAN])
    nothing = {"sd": NAN, "low": NAN, "high": NAN}
    assert means.loc["b"].to_dict() == pytest.approx({"n": 1, "mean": 3.0, **nothing}, nan_ok=True)
    assert differences.loc["b", "mean"] == 2.0 and math.isnan(differences.loc["b", "low"])
    assert means.loc["c", "n"] == 0 and means.loc["c"].isna().sum() == 4


def tables(report):
    """Return the cells of the tables of a report, a list of rows, without the rules."""
    lines = [x for x in report.splitlines() if x.startswith("|") and "---" not in x]
    return [[x.strip() for x in line.strip("|").split("|")] for line in lines]


def test_a_difference_of_fewer_seeds_says_their_number():
    """Of seeds that the reference lacks there is no pair."""
    comparison = compare(table(a=(5.0, 7.0, None), b=(5.5, 7.7, 6.0)))
    cells = tables(markdown_report(comparison, decimals=1))
    assert cells[2][1].endswith("(+0.6 ± 1.3 n=2)") and "n=" not in cells[2][1].partition("(")[0]


def test_the_report():
    runs = table(a=(10.0, 12.0), b=(13.0, None), c=(None, None))
    comparison = compare(runs + table("q", a=(5.0, NAN), b=(5.0, 5.0)))
    report = markdown_report(comparison, decimals=1)
    assert tables(report) == [
        ["backbone", "bbox/AP"],
        ["a", "11.0 ± 12.7"],
        ["b", "13.0 n=1, no interval"],
        ["c", "–"],
        ["backbone", "bbox/AP"],
        ["a", "5.0 n=1, no interval"],
        ["b", "5.0 ± 0.0 (no interval)"],
        ["c", "–"],
    ]
    assert "Mean ± half of its 95% interval (Student's t over the seeds 1, 2;" in report
    assert comparison.notes == [
        "not done: p b 2", "not done: p c 1", "not done: p c 2",
        "bbox/AP is NaN, left out: q a 2",
    ]  # fmt: skip
    assert all(note in report for note in comparison.notes)


def test_columns_have_the_order_of_the_papers_and_can_be_chosen():
    metrics = {
        "segm/AP": 1.0,
        "bbox/AP75": 2.0,
        "bbox/AP": 3.0,
        "bbox/AP-cat": 4.0,
        "bbox/APl": NAN,
    }
    runs = [Scored("p", "a", 1, metrics)]
    assert [x for _, x in compare(runs).columns] == ["bbox/AP", "bbox/AP75", "segm/AP"]
    chosen = compare(runs, ["bbox/AP-*", "segm/AP", "mIoU"])
    assert [x for _, x in chosen.columns] == ["bbox/AP-cat", "segm/AP"]
    (note,) = chosen.notes
    assert note.startswith("no run has 'mIoU'; there are bbox/AP, ")


def test_metrics_of_several_test_sets_and_of_unknown_evaluators_are_shown():
    several = [Scored("p", "a", 1, {"coco_a/bbox/AP": 1.0, "coco_b/bbox/AP": 2.0, "coco_a/x": 3.0})]
    assert [x for _, x in compare(several).columns] == ["coco_a/bbox/AP", "coco_b/bbox/AP"]
    own = [Scored("p", "a", 1, {"depth/error": 1.0})]
    assert compare(own).columns == [("p", "depth/error")]


def test_a_metric_that_a_backbone_lacks_leaves_its_cell_empty():
    runs = [
        Scored("p", "a", 1, {"bbox/AP": 1.0, "segm/AP": 2.0}),
        Scored("p", "b", 1, {"bbox/AP": 3.0}),
    ]
    comparison = compare(runs)
    assert comparison.cells.loc[("p", "segm/AP", "b"), "n"] == 0
    assert tables(markdown_report(comparison))[2] == ["b", "3.00", "–"]


def test_only_a_difference_whose_interval_leaves_out_0_is_bold():
    runs = table(a=(10.0, 12.0, 14.0), b=(13.0, 15.1, 17.0), c=(9.0, 16.0, 14.0), d=(9.0, 11.1, 13))
    report = markdown_report(compare(runs), decimals=1)
    texts = {x[0]: x[1].partition(" (")[2] for x in tables(report)[1:]}
    # b - a: 3, 3.1, 3; sd 0.058, 4.303 * 0.058 / sqrt(3)
    assert texts == {
        "a": "", "b": "**+3.0 ± 0.1**)", "c": "+1.0 ± 6.6)", "d": "**-1.0 ± 0.1**)"
    }  # fmt: skip


def test_every_reference_has_its_difference():
    runs = table(a=(10.0, 12.0), b=(13.0, 15.0), c=(14.0, 16.0))
    comparison = compare(runs, references=["b", "a"])
    cells = {x[0]: x[1].partition(" (")[2] for x in tables(markdown_report(comparison, 1))[1:]}
    assert cells == {
        "a": "**-3.0 ± 0.0**, –)",
        "b": "",  # its difference to a is in the row of a
        "c": "**+1.0 ± 0.0**, **+4.0 ± 0.0**)",
    }
    assert "the difference to 'b' and 'a' with its interval" in markdown_report(comparison)
    found = json.loads(json_report(comparison))["protocols"]["p"]["bbox/AP"]
    assert {x: set(found[x]["differences"]) for x in found} == {"a": {"b"}, "b": {"a"},
                                                                "c": {"a", "b"}}  # fmt: skip
    assert found["b"]["differences"]["a"]["mean"] == 3.0


def test_one_seed_shows_no_difference():
    report = markdown_report(compare(table(a=(10.0,), b=(13.0,))))
    assert tables(report)[1:] == [["a", "10.00"], ["b", "13.00"]]
    assert "Seed 1 alone: no interval, so no difference is shown." in report


def test_a_score_counted_as_zero_is_noted():
    runs = [Scored("p", "a", 1, {"bbox/AP": 0.0}, ["bbox/AP"])]
    assert compare(runs).notes == ["nothing found, counted as 0: p a 1"]


def test_csv_and_json_hold_every_value():
    comparison = compare(table(a=(10.0, 12.0), b=(13.0, NAN), c=(NAN, None)))
    rows = list(csv.DictReader(io.StringIO(csv_report(comparison))))
    assert [x["backbone"] for x in rows] == ["a", "b", "c"]
    assert (rows[0]["seed1"], rows[0]["seed2"], rows[1]["seed2"]) == ("10.0", "12.0", "")
    assert rows[1]["minus_a_mean"] == "3.0" and rows[1]["sd"] == rows[1]["minus_a_low"] == ""
    assert rows[2]["n"] == "0" and rows[2]["mean"] == ""
    report = json.loads(json_report(comparison))
    cells = report["protocols"]["p"]["bbox/AP"]
    half = 12.7062  # of two seeds whose scores differ by 2
    assert cells["a"] == {
        "n": 2, "mean": 11.0, "sd": pytest.approx(math.sqrt(2)),
        "interval": pytest.approx([11 - half, 11 + half], rel=1e-4), "differences": {},
        "values": {"1": 10.0, "2": 12.0},
    }  # fmt: skip
    assert cells["b"]["interval"] is None
    assert cells["b"]["differences"]["a"] == {"n": 1, "mean": 3.0, "sd": None, "interval": None}
    assert cells["c"]["mean"] is None
    assert report["references"] == ["a"] and report["seeds"] == [1, 2]
    assert report["confidence"] == 0.95


def test_a_comparison_without_results():
    comparison = compare(table(a=(None, None)))
    assert not comparison.columns and not comparison.protocols
    assert "* not done: p a 1\n* not done: p a 2\n" in markdown_report(comparison)
    assert json.loads(json_report(comparison))["protocols"] == {}
    assert len(csv_report(comparison).splitlines()) == 1


def test_files_and_plot_are_written(tmp_path):
    rows = {"a": (10.0, 12.0), "b": (13.0, None), "c": (NAN, None)}
    comparison = compare([x for p in "pqrs" for x in table(p, **rows)])
    write_reports(comparison, tmp_path)
    assert {x.name for x in tmp_path.iterdir()} == {
        f"comparison.{x}" for x in ("md", "csv", "json")
    }
    draw_comparison(comparison, tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as image:
        assert image.width > 1000 and len(image.convert("RGB").getcolors(1 << 20)) > 10
    assert panel_metrics(comparison, "q") == ["bbox/AP"]


@pytest.mark.parametrize("panels", ["p", "pqrs"])
def test_the_legend_of_the_plot_is_not_cut_off(tmp_path, monkeypatch, panels):
    rows = {"point_region_contrast": (10.0, 12.0), "b": (13.0, 14.0)}
    comparison = compare([x for p in panels for x in table(p, **rows)])
    figures = []
    monkeypatch.setattr(plots.plt, "close", figures.append)
    draw_comparison(comparison, tmp_path / "comparison.png")
    (figure,) = figures
    box = figure._supxlabel.get_window_extent()
    assert "intervals" in figure._supxlabel.get_text()
    assert 0 <= box.x0 and box.x1 <= figure.bbox.width and box.y0 >= 0


@pytest.mark.parametrize("package", ["pandas", "scipy.stats"])
def test_missing_packages_are_explained(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "dense_ssl.reports.comparison")
    with pytest.raises(ImportError, match="pip install 'pandas"):
        importlib.import_module("dense_ssl.reports.comparison")
