"""tools/export.py: its files, its messages and its exit status."""

import json

import pytest
from export_models import write_run
from tool_helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("export")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with the runs of a pre-training and of a detector."""
    folder = tmp_path_factory.mktemp("runs")
    write_run("resnet", folder / "resnet")
    write_run("faster_rcnn_fpn", folder / "faster_rcnn_fpn")
    return folder


def call(tool, weights, output, *more, file_format="torchscript"):
    return tool.main(
        ["--weights", str(weights), "--format", file_format, "--output", str(output), *more]
    )


def test_a_backbone_with_chosen_maps(tool, runs, tmp_path, capsys):
    maps = ["--image-size", "64", "96", "MODEL.RESNETS.OUT_FEATURES", "('res3','res5')"]
    assert call(tool, runs / "resnet/backbone.pkl", tmp_path, *maps) == 0
    printed = capsys.readouterr().out
    assert "  res3: 0 of the largest value (accepted: 0.0001)" in printed
    facts = json.loads((tmp_path / "model.pt.json").read_text())
    assert [x["name"] for x in facts["outputs"]] == ["res3", "res5"]
    assert facts["input"]["shape"] == ["N", 3, 64, 96]


@pytest.mark.parametrize(
    "weights, more, message",
    [
        ("nowhere", [], "There is no config.yaml in"),
        ("nowhere.pth", [], "There is no config.yaml in"),
        ("resnet/other.pkl", [], "There is no file"),
        ("resnet", ["NO.KEY", "1"], "NO.KEY"),
        ("resnet", ["--images", "nowhere"], "'nowhere'"),
        # a backbone is not a detector
        ("resnet/backbone.pkl", ["--config-file", "DETECTOR"], "the complete model is needed"),
    ],
)
def test_errors_are_messages(tool, runs, tmp_path, capsys, weights, more, message):
    more = [str(runs / "faster_rcnn_fpn/config.yaml") if x == "DETECTOR" else x for x in more]
    assert call(tool, runs / weights, tmp_path / "out", *more) == 1
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))
