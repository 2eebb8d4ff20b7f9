"""tools/protocol_cost.py: its table."""

import pytest
from dataset_files import make_voc
from helpers import CONFIGS
from tool_helpers import load_tool

MINI = CONFIGS / "mini" / "finetune" / "COCO-Detection"
RETINANET, FASTER_RCNN = MINI / "retinanet_R_18_FPN.yaml", MINI / "faster_rcnn_R_18_FPN.yaml"


@pytest.fixture(scope="module")
def tool():
    return load_tool("protocol_cost")


def rows(printed):
    lines = [x for x in printed.splitlines() if x.startswith("|")]
    table = [[cell.strip() for cell in x.strip("|").split("|")] for x in lines]
    return [dict(zip(table[0], x)) for x in table[2:]]


def test_the_table_has_estimated_and_measured_hours(tool, capsys):
    tool.main(
        [str(RETINANET), str(FASTER_RCNN), "--measured", "*/retinanet*=36", "--num-gpus", "8"]
    )
    printed = capsys.readouterr().out
    measured, estimated = rows(printed)
    assert measured["protocol"] == "COCO-Detection/retinanet_R_18_FPN"
    assert measured["iterations x batch"] == "20 x 4" and estimated["from"] == "FLOPs"
    # 36 s x 20 iterations x 8 GPUs
    assert measured["GPU hours"] == "1.6" and measured["from"].startswith("36.000 s/it x 8 (")
    assert "7.85 TFLOP/s, 50% of the peak of 15.7" in printed


def test_the_rate_can_be_chosen(tool, capsys):
    hours = []
    for options in (["--peak", "1"], ["--peak", "2", "--utilisation", "1"]):
        tool.main([str(RETINANET), *options])
        hours.append(float(rows(capsys.readouterr().out)[0]["GPU hours"]))
    assert hours[0] == pytest.approx(4 * hours[1], rel=0.1)
    tool.main([str(RETINANET), "--gpu", "A100-bf16", "--utilisation", "0.2"])
    assert "62.4 TFLOP/s, 20% of the peak of 312" in capsys.readouterr().out


def test_keys_reach_the_config(tool, capsys):
    tool.main([str(RETINANET), "--image-size", "256x256", "--opts", "SOLVER.MAX_ITER", "7"])
    (row,) = rows(capsys.readouterr().out)
    assert row["iterations x batch"] == "7 x 4" and row["image"] == "145 x 145"


def test_a_length_in_epochs_is_that_of_the_run(tool, capsys, tmp_path, restore_catalogs):
    epochs = ["SOLVER.EPOCHS", "6"]
    root = make_voc(tmp_path, {str(i): [("cat", "", 1, 2, 30, 20)] for i in range(10)})
    tool.main([str(RETINANET), "--opts", *epochs, "DATASETS.TRAIN", f"voc:{root}:train"])
    assert rows(capsys.readouterr().out)[0]["iterations x batch"] == "15 x 4"
    missing = "('folder:" + str(tmp_path / "none") + "',)"
    tool.main([str(RETINANET), "--measured", "*=36", "--opts", *epochs, "DATASETS.TRAIN", missing])
    (row,) = rows(capsys.readouterr().out)
    assert (row["iterations x batch"], row["GPU hours"], row["EFLOP"]) == ("? x 4", "?", "?")
    assert row["from"] == "length not known"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--measured", "nothing*=3"], "--measured 'nothing*=3'"),
        (["--measured", "*=nowhere.json"], "nowhere.json"),
        (["--opts", "NO.KEY", "1"], "NO.KEY"),
        (["--utilisation", "40"], ""),
    ],
)
def test_errors_are_messages(tool, capsys, arguments, message):
    try:
        assert tool.main([str(RETINANET), *arguments]) == 1
    except SystemExit as stopped:  # of argparse
        assert stopped.code == 2
    assert message in capsys.readouterr().err
