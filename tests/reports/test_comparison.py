"""Statistics and tables of a comparison, against values computed by hand."""

import csv
import io
import json
import math

import pytest

from dense_ssl.reports.comparison import Cell, compare, summarise
from dense_ssl.reports.comparison_files import (
    csv_report,
    format_cell,
    json_report,
    markdown_report,
    markdown_table,
    write_reports,
)

NAN = math.nan


class Scored:
    """A run that has scored."""

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


def test_mean_and_sample_standard_deviation():
    cell = summarise({1: 2.0, 2: 4.0, 3: 9.0}, {})
    # deviations -3, -1, 4: squares 26, divided by 2
    assert (cell.n, cell.mean, cell.sd) == (3, 5.0, pytest.approx(math.sqrt(13)))
    assert cell.difference is None and cell.difference_sd is None


def test_differences_are_paired_by_seed():
    cell = summarise({1: 11.0, 2: 24.0, 3: 100.0}, {1: 10.0, 2: 20.0, 4: 7.0})
    # +1 and +4 with seeds 1 and 2; seeds 3 and 4 have no partner
    assert cell.difference == 2.5
    assert cell.difference_sd == pytest.approx(math.sqrt(4.5))


def test_one_value_has_no_deviation_and_none_no_mean():
    assert summarise({5: 3.0}, {5: 1.0}) == Cell({5: 3.0}, 3.0, None, 2.0, None)
    empty = summarise({}, {1: 1.0})
    assert empty.n == 0 and math.isnan(empty.mean) and empty.difference is None


@pytest.mark.parametrize(
    "cell, bold, text",
    [
        (Cell({1: 1.0, 2: 2.0}, 1.5, 0.5, 0.25), True, "**1.50 ± 0.50** (+0.25)"),
        (Cell({1: 1.0, 2: 2.0}, 1.5, 0.5, -0.25), False, "1.50 ± 0.50 (-0.25)"),
        (Cell({2: 1.0}, 1.0), False, "1.00 n=1"),
        (Cell({}), False, "–"),
    ],
)
def test_text_of_a_cell(cell, bold, text):
    assert format_cell(cell, 2, bold) == text


REPORT = """\
|          | p                   | q                    |
|----------|---------------------|----------------------|
| backbone | *bbox/AP*           | *bbox/AP*            |
| a        | 11.0 ± 1.4          | **5.0** n=1          |
| b        | **13.0** (+3.0) n=1 | **5.0 ± 0.0** (+0.0) |

Mean ± sample standard deviation over seeds 1, 2; the best of a column is bold; in brackets the \
difference to 'a' over the seeds that both have.

* not done: p b 2
* bbox/AP is NaN, left out: q  a  seed 2
"""


def test_the_whole_report():
    runs = table(a=(10.0, 12.0), b=(13.0, None)) + table("q", a=(5.0, NAN), b=(5.0, 5.0))
    assert markdown_report(compare(runs), decimals=1) == REPORT


def test_columns_stand_in_the_order_of_the_papers_and_can_be_chosen():
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
    assert comparison.cells["b", "p", "segm/AP"].n == 0
    assert comparison.best(("p", "segm/AP"), 2) == set()  # alone it is no best
    assert "| –" in markdown_table(comparison, comparison.columns)


def test_equal_as_printed_are_equally_good():
    comparison = compare(table(a=(10.001,), b=(10.004,), c=(9.0,)))
    assert comparison.best(("p", "bbox/AP"), 2) == {"a", "b"}
    assert comparison.best(("p", "bbox/AP"), 3) == {"b"}


def test_counted_as_nought_is_noted():
    runs = [Scored("p", "a", 1, {"bbox/AP": 0.0}, ["bbox/AP"])]
    assert compare(runs).notes == ["nothing found, counted as 0: p a 1"]


def test_csv_and_json_hold_every_value():
    comparison = compare(table(a=(10.0, 12.0), b=(13.0, NAN), c=(NAN, None)))
    rows = list(csv.DictReader(io.StringIO(csv_report(comparison))))
    assert [x["backbone"] for x in rows] == ["a", "b", "c"]
    assert rows[0]["values"] == "10.0 12.0" and rows[0]["seeds"] == "1 2"
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


def test_nothing_done_is_said():
    report = markdown_report(compare(table(a=(None, None))))
    assert report == "There is nothing to show yet.\n\n* not done: p a 1\n* not done: p a 2\n"


def test_files_and_picture_are_written(tmp_path):
    from PIL import Image

    from dense_ssl.visualization.comparison import draw_comparison, panel_metrics

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
