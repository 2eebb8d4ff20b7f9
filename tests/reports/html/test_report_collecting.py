"""What a report collects of runs, without drawing it."""

import os
import shutil

import pytest
from report_runs import (
    CLASSES,
    IMAGE,
    finish,
    write_analysis,
    write_comparison,
    write_detector,
    write_picture,
    write_run,
)

from dense_ssl.reports.html.curves import thin
from dense_ssl.reports.html.data import read_data_sets
from dense_ssl.reports.html.report import collect
from dense_ssl.reports.html.run import read_run
from dense_ssl.reports.html.scores import parse, title
from dense_ssl.reports.html.tables import duration, entry_name, without_common_folder


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def table(report, title):
    return next(x for x in report.results if x.title == title)


@pytest.mark.parametrize(
    ("name", "score", "kind", "found"),
    [
        ("bbox/AP", "AP", None, None),
        ("segm/APs", "APs", None, None),
        ("val/a/keypoints/AP50", "AP50", None, None),
        ("sem_seg/mIoU", "mIoU", None, None),
        ("bbox/AP-traffic light", None, "AP", "traffic light"),
        ("bbox/AP-a/b", None, "AP", "a/b"),
        ("roi/top1_accuracy", "top1_accuracy", None, None),
        ("roi/acc-cat", None, "acc", "cat"),
        ("sem_seg/IoU-road", None, "IoU", "road"),
        ("image/top1_accuracy", "top1_accuracy", None, None),
        ("image_res4/top1_accuracy", "top1_accuracy", None, None),
        ("val/image_res4/acc-cat", None, "acc", "cat"),
        ("sem_seg/min(IoU, B-Iou)-road", None, None, None),
    ],
)
def test_scores_are_read_from_their_names(name, score, kind, found):
    part = parse(name)
    assert (part["score"], part["kind"], part["class"]) == (score, kind, found)


def test_the_map_of_a_classifier_is_in_its_title():
    assert title(parse("image_res4/top1_accuracy")) == "classes of images (res4)"
    assert title(parse("val/image_res4/top1_accuracy")) == "classes of images (res4, val)"
    assert title(parse("image/top1_accuracy")) == "classes of images"


@pytest.mark.parametrize("name", ["sem_seg/accuracy", "loss_bbox", "rpn/num_pos_anchors", "lr"])
def test_training_metrics_are_no_scores(name):
    assert parse(name) is None


def test_a_run_that_was_made_longer_is_not_done_yet(tmp_path):
    run = finish(write_run(tmp_path / "scrl"))
    config, final = run / "config.yaml", run / "model_final.pth"
    config.write_text(config.read_text().replace("MAX_ITER: 60", "MAX_ITER: 600"))
    final.touch()
    assert read_run(run, "scrl").state == "done"  # TEST.PATIENCE ended it
    os.utime(final, (1e9, 1e9))  # before the last start
    assert read_run(run, "scrl").state == "running"
    final.unlink()  # tools/compare.py --delete-checkpoints
    assert read_run(run, "scrl").state == "done"


def test_a_single_run(tmp_path):
    run = finish(write_run(tmp_path / "runs" / "scrl", **{"probe/linear": [1.0, 2.0, 33.3]}))
    report = collect([run])
    assert report.title == "scrl" and not report.results
    facts = {label: (value, unit) for label, value, unit in report.facts}
    assert facts["method"] == ("SCRL", "R-50") and facts["iterations"] == ("60", "done")
    assert facts["images"] == ("40", "24.0 epochs") and facts["probe/linear"][0] == "33.3"
    assert facts["time in steps"] == ("30 s", "0.50 s/step")  # 60 steps of half a second
    [details] = report.details
    assert dict(details.data)["images"] == "40; 24.0 epochs in 60 steps"
    started = dict(details.environment)["2026-11-26 02:13:49"]
    assert started.startswith("on cpu, 2 threads, 2 processes, torch 2.13.0, commit 0123456789ab")
    assert [x for x in details.warnings if x.startswith("60 steps are few")]
    commands = dict(details.commands)
    assert "cd /home/me\npython x.py" in commands["As it was started"]
    assert "Go on from its last checkpoint" not in commands


def test_settings_are_those_that_are_not_the_defaults(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", method="BYOL")
    [settings] = collect([tmp_path]).settings
    rows = {row[0].text: row[1:] for row in settings.rows}
    assert [x.text for x in rows["SOLVER.MAX_ITER"]] == ["40000", "60", "60"]
    assert [x.text for x in rows["MODEL.META_ARCHITECTURE"]][1:] == ['"SCRL"', '"BYOL"']
    assert [x.strong for x in rows["MODEL.META_ARCHITECTURE"]] == [False, True, True]
    assert not any(x.strong for x in rows["SOLVER.MAX_ITER"])
    assert "SOLVER.BASE_LR" not in rows and "OUTPUT_DIR" not in rows


def test_a_run_that_goes_on_and_half_a_line(tmp_path):
    run = write_run(tmp_path / "scrl", steps=4)
    lines = (run / "metrics.json").read_text()
    (run / "metrics.json").write_text(lines[: lines.rindex('"lr"')])
    report = collect([run])
    facts = {label: (value, unit) for label, value, unit in report.facts}
    assert facts["iterations"] == ("60", "of 80, running")
    assert "--resume" in dict(report.details[0].commands)["Go on from its last checkpoint"]
    curve = next(x for x in report.groups[0].panels if x.title == "Loss").curves[0]
    assert curve.x == [19, 39, 59]


def test_a_run_before_its_first_report(tmp_path):
    run = write_run(tmp_path / "scrl")
    (run / "metrics.json").unlink()
    report = collect([run])
    assert not report.groups
    assert {x[0]: x[1] for x in report.facts}["iterations"] == "0"


def test_folders_without_runs_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="No run lies in .*config.yaml"):
        collect([tmp_path])


def test_files_that_are_not_whole_cost_only_what_they_hold(tmp_path):
    run = write_run(tmp_path / "scrl")
    (run / "config.yaml").write_text("MODEL: [")
    (run / "backbone.pkl").write_bytes(b"")  # what it pre-trains is no longer stated
    (run / "run.json").write_text('{"starts": [')
    write_picture(run / "pictures" / "views_A_0000001.png")
    (run / "pictures" / "views_A_0000021.png").write_bytes(b"\x89PNG no picture")
    write_analysis(run)
    (run / "analyses" / "matching.json").write_text('{"results"')
    (tmp_path / "comparison.json").write_text('{"protocols": 3}')
    report = collect([tmp_path])
    assert [len(x.pictures) for x in report.galleries] == [1] and not report.comparisons
    [analysis] = report.analyses
    assert len(analysis.pictures) == 2 and not analysis.tables
    assert report.groups


class TestDetectors:
    """Detectors of a backbone."""

    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "out"
        pretrain = finish(write_run(root / "pretrain"))
        (pretrain / "backbone.pkl").write_bytes(b"")
        (pretrain / "backbone_best.pkl").write_bytes(b"")
        write_detector(root / "scrl", pretrain / "backbone.pkl", 20.0)
        write_detector(root / "of_best", pretrain / "backbone_best.pkl", 21.0)
        write_detector(root / "random", "", 10.0)
        write_detector(root / "other", root / "elsewhere" / "backbone.pkl", 30.0)
        return root

    def test_those_of_a_backbone_are_found_beside_it(self, root):
        scores = table(collect([root / "pretrain"]), "Scores of boxes")
        starts = {row[0]: row[1] for row in texts(scores)}
        assert starts == {"scrl": "pretrain/backbone.pkl", "of_best": "pretrain/backbone_best.pkl",
                          "random": "random weights"}  # fmt: skip

    def test_a_detector_is_shown_beside_others_from_its_weights(self, root):
        write_detector(root / "again", root / "pretrain" / "backbone.pkl", 19.0)
        scores = table(collect([root / "scrl"]), "Scores of boxes")
        assert {row[0] for row in texts(scores)} == {"scrl", "again", "random"}

    def test_scores_and_classes(self, root):
        report = collect([root])
        scores = table(report, "Scores of boxes")
        assert scores.columns[-3:] == ["AP", "AP50", "APl"]
        rows = {row[0].text: row for row in scores.rows}
        assert [x.text for x in rows["scrl"][-3:]] == ["20.0", "40.0", "–"]
        assert [x.strong for x in rows["other"][-3:]] == [True, True, False]
        assert not any(x.strong for x in rows["scrl"])
        classes = table(report, "AP of each class, boxes")
        assert [row[0].text for row in classes.rows] == list(CLASSES)
        column = classes.columns.index("random")
        assert [row[column].text for row in classes.rows] == ["10.0", "11.0", "12.0"]
        assert scores.note == "Tested on coco:val.json:val"

    def test_they_are_found_after_the_folder_was_moved(self, root, tmp_path):
        shutil.move(root, tmp_path / "moved")
        scores = table(collect([tmp_path / "moved" / "pretrain"]), "Scores of boxes")
        assert {row[0] for row in texts(scores)} == {"scrl", "of_best", "random"}

    def test_other_test_images_have_a_table_of_their_own(self, root):
        other = write_detector(root / "elsewhere", "", 50.0)
        config = (other / "config.yaml").read_text()
        (other / "config.yaml").write_text(config.replace("val.json", "test.json"))
        report = collect([root])
        notes = [x.note for x in report.results if x.title == "Scores of boxes"]
        assert sorted(notes) == ["Tested on coco:test.json:val", "Tested on coco:val.json:val"]
        assert {x["name"] for x in report.result_chart.rows} == {
            "scrl",
            "of_best",
            "random",
            "other",
        }


class TestCurves:
    """Which charts there are."""

    def test_one_run(self, tmp_path):
        names = {"loss_scrl": 1.0, "scrl/feature_std": 0.8, "backbone/angle": 1.0,
                 "backbone/body_norm": 1.0, "probe/linear": 3.0, "strange/thing": 1.0}  # fmt: skip
        [group] = collect([write_run(tmp_path / "a", **names)]).groups
        panels = {x.title: [y.metric for y in x.curves] for x in group.panels}
        assert panels["Loss"] == ["loss_scrl"]  # not total_loss, which is equal
        assert panels["Probe"] == ["probe/linear"]
        assert {"Spread of the features", "Angle of the backbone from its start", "Learning rate",
                "Seconds per step", "Time remaining"} <= set(panels)  # fmt: skip
        assert {x.title for x in group.more} == {"backbone … norm", "strange … thing"}

    def test_several_runs_lie_over_each_other(self, tmp_path):
        write_run(tmp_path / "a", loss_a=1.0, loss_b=2.0)
        write_run(tmp_path / "b", loss_a=1.0, loss_b=2.0)
        [group] = collect([tmp_path]).groups
        [loss] = [x for x in group.panels if x.title == "Loss"]
        assert [(x.run, x.metric) for x in loss.curves] == [(0, "total_loss"), (1, "total_loss")]
        assert {"Loss: loss_a", "Loss: loss_b"} <= {x.title for x in group.more}

    def test_a_metric_that_nobody_knows_is_shown(self, tmp_path):
        run = write_run(tmp_path / "a", **{"new/x_y": [1.0, float("nan"), 2.0]})
        [group] = collect([run]).groups
        [curve] = next(x for x in group.more if x.title == "new … y").curves
        assert curve.y == [1.0, None, 2.0]

    def test_time_remaining(self, tmp_path):
        [group] = collect([write_run(tmp_path / "a", time=[60.0, 30.0, 30.0])]).groups
        [panel] = [x for x in group.panels if x.title == "Time remaining"]
        assert panel.curves[0].y == [40.0, 10.0, 0.0] and panel.note.startswith("Minutes")

    def test_long_curves_keep_their_extremes(self):
        values = [1.0] * 10000
        values[1234], values[8765], values[5000] = 9.0, -9.0, float("nan")
        x, y = thin(list(range(10000)), values, 100)
        assert len(x) <= 102 and x == sorted(x) and x[0] == 0 and x[-1] == 9999
        assert dict(zip(x, y))[1234] == 9.0 and dict(zip(x, y))[8765] == -9.0
        assert thin([1, 2], [0.123456789, 2.0], 100) == ([1, 2], [0.123457, 2.0])


def test_pictures_over_the_course_of_a_run(tmp_path):
    run = write_run(tmp_path / "a")
    for step in range(1, 1000, 100):
        write_picture(run / "pictures" / f"views_X_{step:07d}.png")
    [gallery] = collect([run]).galleries
    steps = [x.caption.rpartition(" ")[2] for x in gallery.pictures]
    assert steps == ["1", "301", "601", "901"]


def test_large_pictures_become_smaller(tmp_path):
    run = write_run(tmp_path / "a" / "b")
    write_picture(tmp_path / "a" / "sheet.png", 2400, 600)
    [gallery] = collect([run.parent]).galleries
    [picture] = gallery.pictures
    assert (picture.width, picture.height) == (1800, 450)
    assert picture.source.startswith("data:image/jpeg;base64,")


def test_analyses_are_whatever_lies_in_their_folder(tmp_path):
    run = write_run(tmp_path / "a")
    write_analysis(run)
    write_analysis(run, "matching-other")
    write_picture(run / "analyses" / "alone.png")
    report = collect([run])
    found = {x.title: x for x in report.analyses}
    assert set(found) == {"matching", "matching-other", "alone"}
    assert [x.caption for x in found["matching"].pictures] == ["matching", "matching maps"]
    [numbers] = found["matching"].tables
    assert numbers.columns == ["weights", "within_0"] and texts(numbers)[0] == ["scrl", "12.5"]
    assert ["seed", "0"] in texts(found["matching"].more[0])


def test_a_comparison_is_found_from_its_folder_and_from_its_runs(tmp_path):
    run = write_run(tmp_path / "pretraining" / "scrl" / "seed1")
    write_comparison(tmp_path)
    for place in (tmp_path, run):
        [found] = collect([place]).comparisons
        [chart] = found.charts
        assert (chart.base, [x.name for x in chart.rows]) == (10.0, ["random", "scrl"])
        assert [(x.low, x.mean, x.high) for x in chart.rows][1] == (13.0, 14.0, 15.0)
        assert texts(found.tables[0])[1] == ["scrl", "14.00", "1.00", "+4.00 ± 0.50", "3"]
        assert found.tables[0].rows[1][3].strong


def test_several_runs_from_different_folders(tmp_path):
    first, second = write_run(tmp_path / "x" / "a"), write_run(tmp_path / "y" / "b")
    report = collect([first, second])
    assert [row[0] for row in texts(report.overview)] == ["x/a", "y/b"]
    assert report.groups[0].runs == ["x/a", "y/b"]


def test_texts():
    assert entry_name("coco:/a/val.json:/b/val/") == "coco:val.json:val"
    assert entry_name("voc_2007_test") == "voc_2007_test"
    assert without_common_folder(["a/b/c", "a/b/d/e"]) == ["c", "d/e"]
    found = [duration(x) for x in (5, 600, 7500, 400000)]
    assert found == ["5 s", "10 min", "2 h 05 min", "4.6 days"]


def test_data_sets_are_those_of_the_checks_of_all_runs(tmp_path):
    runs = [read_run(write_run(tmp_path / x), x) for x in "ab"]
    data = read_data_sets(runs)
    sets, classes = data.tables
    assert [[x.text for x in row] for row in sets.rows] == [
        [f"coco:a{IMAGE}.json:images", "12,000", "1,000", "1,000 PNG", "64 x 64",
         "34,567 objects, 30,000 masks as RLE", "–"],
        ["folder:photos", "40", "40", "39 JPEG", "96 x 72 to 640 x 480", "–",
         "3 .heic, 1 without extension"],
    ]  # fmt: skip
    assert [[x.text for x in row] for row in classes.rows] == [
        [CLASSES[1], "34,000"], [CLASSES[2], "567"]]  # fmt: skip
    assert [(x[0][:6], x[2]) for x in data.odd] == [("coco:a", True), ("folder", False)]
    assert read_data_sets([read_run(write_run(tmp_path / "c", record=False), "c")]) is None
