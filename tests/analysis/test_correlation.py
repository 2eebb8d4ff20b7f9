"""Scores of a folder, and their correlations."""

import json

import numpy as np
import pytest
import yaml
from scipy.stats import linregress, pearsonr, spearmanr

from dense_ssl.analysis.correlation import Correlation, choose, paired
from dense_ssl.analysis.job import Job
from dense_ssl.reports.rank_correlation import correlation
from dense_ssl.reports.score_table import read_scores
from dense_ssl.visualization.correlation import draw_scatter, regression

AP = {"random": [10, 11], "byol": [12, 13], "scrl": [20, 22], "dupr": [21]}
PROBE = {"random": [30, 31], "byol": [40, 41], "scrl": [50, 50], "dupr": [55]}


def write_comparison(folder):
    def entries(values):
        return {
            name: {"values": {str(i + 1): x for i, x in enumerate(scores)}}
            for name, scores in values.items()
        }

    protocols = {"coco/frozen": {"bbox/AP": entries(AP), "bbox/AP50": entries(AP)},
                 "coco/probe": {"probe/class_accuracy": entries(PROBE)}}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps({"protocols": protocols}))
    write_metrics(folder / "pretraining/scrl/seed1", [{"total_loss": 5.0}, {"total_loss": 0.5}])


def write_metrics(run, records, **config):
    run.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"iteration": i, **x}) for i, x in enumerate(records)]
    (run / "metrics.json").write_text("\n".join(lines) + "\n")
    (run / "config.yaml").write_text(yaml.safe_dump({"MODEL": {"WEIGHTS": "", **config}}))


def test_scores_of_a_comparison(tmp_path):
    write_comparison(tmp_path)
    (tmp_path / "matching.json").write_text(json.dumps({
        "analysis": "matching", "results": {"scrl": {"within_0": 7.0, "level": "res4", "x": None},
                                            "moco": {"within_0": 3.0}}}))  # fmt: skip
    rows = read_scores(tmp_path)
    assert rows[("byol", "seed2")] == {
        "coco/frozen bbox/AP": 13, "coco/frozen bbox/AP50": 13,
        "coco/probe probe/class_accuracy": 41,
    }  # fmt: skip
    assert rows[("scrl", "seed1")]["pretraining total_loss"] == 0.5
    assert "pretraining total_loss" not in rows[("scrl", "seed2")]
    assert [rows[("scrl", f"seed{i}")]["matching within_0"] for i in (1, 2)] == [7, 7]
    assert rows[("moco", "moco")] == {"matching within_0": 3}
    # the runs of a comparison are not counted once more by their folders
    assert {run for _, run in rows} == {"seed1", "seed2", "moco"}


def test_scores_of_several_comparisons_stay_apart(tmp_path):
    write_comparison(tmp_path / "long")
    write_comparison(tmp_path / "short")
    path = tmp_path / "short/comparison.json"
    path.write_text(path.read_text().replace("20", "7"))
    (tmp_path / "short/pretraining/scrl/seed1/metrics.json").unlink()
    rows = read_scores(tmp_path)
    scores = [rows[("scrl", f"{x}/seed1")]["coco/frozen bbox/AP"] for x in ("long", "short")]
    assert scores == [20, 7] and len(rows) == 2 * 7
    assert "pretraining total_loss" in rows[("scrl", "long/seed1")]
    assert "pretraining total_loss" not in rows[("scrl", "short/seed1")]


@pytest.mark.parametrize("content", [
    {"results": [1, 2]}, {"results": {"a": {"acc": 1}}}, {"analysis": "x", "results": None}
])  # fmt: skip
def test_files_of_other_programs_are_left_out(tmp_path, content):
    write_metrics(tmp_path / "det", [{"bbox/AP": 12.5}])
    (tmp_path / "other.json").write_text(json.dumps(content))
    (tmp_path / "det/config.yaml").write_text("")  # a start that was killed
    assert read_scores(tmp_path) == {("det", "det"): {"bbox/AP": 12.5}}


def test_relative_weights_are_those_of_the_folder_of_the_training(tmp_path, monkeypatch):
    write_metrics(tmp_path / "output/pre", [{"probe/accuracy": 60.0}])
    (tmp_path / "output/pre/backbone.pkl").touch()
    write_metrics(tmp_path / "output/det", [{"bbox/AP": 12.5}], WEIGHTS="output/pre/backbone.pkl")
    path = tmp_path / "output/det/config.yaml"
    path.write_text(path.read_text() + "OUTPUT_DIR: output/det\n")
    monkeypatch.chdir("/")
    row = read_scores(tmp_path / "output")[("det", "det")]
    assert row == {"bbox/AP": 12.5, "pretraining probe/accuracy": 60}


def test_a_figure_has_no_empty_panels_and_says_why_a_number_is_absent():
    entry = {x: {"r": None} for x in ("pearson", "spearman")}
    constant = {x: np.array([[1.0, i]]) for i, x in enumerate("abc")}
    panels = [("x", "y", constant, entry)] * 3 + [("x", "y", {"a": np.ones((1, 2))}, entry)]
    axes = draw_scatter(panels).axes
    assert len(axes) == 4
    titles = [x.get_title() for x in axes]
    assert titles == ["one of the scores never differs"] * 3 + ["fewer than three backbones"]


def test_scores_of_runs(tmp_path):
    write_metrics(tmp_path / "pre", [{"probe/accuracy": 1.0}, {"probe/accuracy": 60.0}])
    nan = float("nan")
    write_metrics(tmp_path / "det", [{"bbox/AP": 12.5, "loss": nan, "eta": "x"}],
                  WEIGHTS=str(tmp_path / "pre/backbone.pkl"))  # fmt: skip
    rows = read_scores(tmp_path)
    assert rows[("pre", "pre")] == {"probe/accuracy": 60}
    assert rows[("det", "det")] == {"bbox/AP": 12.5, "pretraining probe/accuracy": 60}
    with pytest.raises(FileNotFoundError, match="no comparison.json"):
        read_scores(tmp_path / "nothing")


def test_a_run_that_evaluates_its_own_weights_has_no_pretraining(tmp_path):
    run = tmp_path / "det"
    write_metrics(run, [{"bbox/AP": 12.5}], WEIGHTS=str(run / "model_final.pth"))
    assert read_scores(tmp_path) == {("det", "det"): {"bbox/AP": 12.5}}


def test_runs_are_paired_by_backbone(tmp_path):
    write_comparison(tmp_path)
    groups = paired(read_scores(tmp_path), "coco/probe probe/class_accuracy", "coco/frozen bbox/AP")
    assert groups["scrl"].tolist() == [[50, 20], [50, 22]] and groups["dupr"].tolist() == [[55, 21]]
    assert set(groups) == set(AP)


def test_correlations_are_those_of_scipy(tmp_path):
    write_comparison(tmp_path)
    numbers, figures = Correlation(y="coco/frozen bbox/AP").run(Job(data=str(tmp_path)))
    (key,) = numbers
    assert key == "coco/probe probe/class_accuracy | coco/frozen bbox/AP"
    x, y = (np.concatenate(list(z.values())) for z in (PROBE, AP))
    found = numbers[key]
    assert found["runs"] == 7 and found["backbones"] == 4
    for kind, function in (("pearson", pearsonr), ("spearman", spearmanr)):
        low, high = found[kind]["interval"]
        assert found[kind]["r"] == pytest.approx(function(x, y)[0])
        assert low <= found[kind]["r"] <= high + 1e-9
    (axis,) = figures[""].axes
    assert axis.get_xlabel() == "coco/probe probe/class_accuracy"
    texts = {x.get_text() for x in axis.texts}
    assert texts == set(AP) and "pearson 0.9" in axis.get_title()


def test_a_curved_relation_is_a_rank_correlation_of_1():
    x = np.linspace(1, 5, 12)
    groups = [x[None] for x in np.stack([x, np.exp(x)], axis=1)]
    assert correlation(groups, "spearman")[0] == pytest.approx(1)
    assert correlation(groups, "pearson")[0] == pytest.approx(pearsonr(x, np.exp(x))[0])
    assert correlation(groups, "pearson")[0] < 0.9


def test_the_line_and_its_band_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    x = rng.random(12)
    points = np.stack([x, 3 * x + 0.2 * rng.standard_normal(12)], axis=1)
    places, middle, half = regression(points)
    fit = linregress(*points.T)
    assert middle.tolist() == pytest.approx((fit.intercept + fit.slope * places).tolist())
    # at the mean of x the error is s / sqrt(n); 2.228 is Student's t of 10 degrees of freedom
    residual = points[:, 1] - fit.intercept - fit.slope * points[:, 0]
    smallest = 2.228 * np.sqrt((residual**2).sum() / 10 / 12)
    assert half.min() == pytest.approx(smallest, rel=0.01)
    assert regression(points[:2]) is None
    assert regression(np.stack([np.ones(5), np.arange(5)], 1)) is None


def test_names_that_fit_nothing_have_a_message(tmp_path):
    assert choose(["a/AP", "b/AP", "c"], "*/AP, c", "--x") == ["a/AP", "b/AP", "c"]
    with pytest.raises(ValueError, match=r"--x: no score fits '\*mAP'. There are: a/AP"):
        choose(["a/AP"], "*mAP", "--x")
    write_metrics(tmp_path / "a", [{"bbox/AP": 1.0}])
    write_metrics(tmp_path / "b", [{"probe/accuracy": 1.0}])
    with pytest.raises(ValueError, match="no run has both"):
        Correlation().run(Job(data=str(tmp_path)))
