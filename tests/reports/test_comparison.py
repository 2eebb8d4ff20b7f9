"""Statistics and tables of a comparison, against hand-computed values."""

import csv
import importlib
import io
import json
import math
import sys

import pandas as pd
import pytest
from PIL import Image

from dense_ssl.reports.comparison import KEYS, best_cells, compare, summarise
from dense_ssl.reports.comparison_files import (
    csv_report,
    json_report,
    markdown_report,
    write_reports,
)
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


def cells(**rows):
    """Statistics of {backbone: values of the seeds 1, 2, ...}, compared with the first."""
    scores = pd.DataFrame(rows, index=range(1, 1 + max(map(len, rows.values()))))
    scores.columns = pd.MultiIndex.from_tuples([("p", "bbox/AP", x) for x in rows], names=KEYS)
    return summarise(scores, next(iter(rows))).loc[("p", "bbox/AP")]


def test_mean_and_sample_standard_deviation():
    cell = cells(a=[2.0, 4.0, 9.0]).loc["a"]
    # deviations -3, -1, 4: squares 26, divided by 2
    assert (cell["n"], cell["mean"], cell["sd"]) == (3, 5.0, pytest.approx(math.sqrt(13)))
    assert math.isnan(cell["difference"]) and math.isnan(cell["difference_sd"])


def test_differences_are_paired_by_seed():
    cell = cells(a=[10.0, 20.0, NAN, 7.0], b=[11.0, 24.0, 100.0, NAN]).loc["b"]
    # +1 and +4 with seeds 1 and 2; seeds 3 and 4 have no partner
    assert cell["difference"] == 2.5
    assert cell["difference_sd"] == pytest.approx(math.sqrt(4.5))


def test_one_value_has_no_deviation_and_none_has_no_mean():
    table = cells(a=[1.0], b=[3.0], c=[NAN])
    assert table.loc["b"].to_dict() == pytest.approx(
        {"n": 1, "mean": 3.0, "sd": NAN, "difference": 2.0, "difference_sd": NAN}, nan_ok=True
    )
    assert table.loc["c", "n"] == 0 and table.loc["c"].isna().sum() == 4


def tables(report):
    """Return the cells of the tables of a report, a list of rows, without the rules."""
    lines = [x for x in report.splitlines() if x.startswith("|") and "---" not in x]
    return [[x.strip() for x in line.strip("|").split("|")] for line in lines]


def test_the_report():
    runs = table(a=(10.0, 12.0), b=(13.0, None), c=(None, None))
    comparison = compare(runs + table("q", a=(5.0, NAN), b=(5.0, 5.0)))
    report = markdown_report(comparison, decimals=1)
    assert tables(report) == [
        ["backbone", "bbox/AP"],
        ["a", "11.0 ± 1.4"],
        ["b", "**13.0** (+3.0) n=1"],
        ["c", "–"],
        ["backbone", "bbox/AP"],
        ["a", "**5.0** n=1"],
        ["b", "**5.0 ± 0.0** (+0.0)"],
        ["c", "–"],
    ]
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
    assert not best_cells(comparison.cells, 2)["p", "segm/AP"].any()  # one value is not the best


def test_means_that_print_equal_are_equally_good():
    comparison = compare(table(a=(10.001,), b=(10.004,), c=(9.0,)))
    assert best_cells(comparison.cells, 2).tolist() == [True, True, False]
    assert best_cells(comparison.cells, 3).tolist() == [False, True, False]


def test_a_score_counted_as_zero_is_noted():
    runs = [Scored("p", "a", 1, {"bbox/AP": 0.0}, ["bbox/AP"])]
    assert compare(runs).notes == ["nothing found, counted as 0: p a 1"]


def test_csv_and_json_hold_every_value():
    comparison = compare(table(a=(10.0, 12.0), b=(13.0, NAN), c=(NAN, None)))
    rows = list(csv.DictReader(io.StringIO(csv_report(comparison))))
    assert [x["backbone"] for x in rows] == ["a", "b", "c"]
    assert (rows[0]["seed1"], rows[0]["seed2"], rows[1]["seed2"]) == ("10.0", "12.0", "")
    assert rows[1]["difference"] == "3.0" and rows[1]["sd"] == ""
    assert rows[2]["n"] == "0" and rows[2]["mean"] == ""
    report = json.loads(json_report(comparison))
    cells = report["protocols"]["p"]["bbox/AP"]
    assert cells["a"] == {
        "n": 2, "mean": 11.0, "sd": pytest.approx(math.sqrt(2)), "difference": None,
        "difference_sd": None, "values": {"1": 10.0, "2": 12.0},
    }  # fmt: skip
    assert cells["c"]["mean"] is None
    assert report["reference"] == "a" and report["seeds"] == [1, 2]


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


def test_missing_pandas_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "dense_ssl.reports.comparison")
    with pytest.raises(ImportError, match="pip install 'pandas"):
        importlib.import_module("dense_ssl.reports.comparison")
