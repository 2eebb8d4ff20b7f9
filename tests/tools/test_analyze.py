"""tools/analyze.py: its names, its options, its messages."""

import json
from dataclasses import fields

import cv2
import numpy as np
import pytest
from helpers import photo, tiny_config
from tool_helpers import load_tool, save_pretraining

from dense_ssl.analysis.registry import all_analyses


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_pretraining(tmp_path_factory.mktemp("runs") / "pre")


@pytest.fixture
def data(tmp_path, restore_catalogs):
    (tmp_path / "photos").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"photos/{i}.png"), photo(np.random.default_rng(i), 96, 64))
    return f"folder:{tmp_path / 'photos'}"


def analyze(*arguments):
    return load_tool("analyze").main([str(x) for x in arguments])


def test_it_lists_the_analyses(capsys):
    assert analyze("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in all_analyses())
    assert analyze("sensitivty") == 2 and "NAME is one of" in capsys.readouterr().out


def test_options_of_an_analysis_are_on_the_command_line(run, data, tmp_path, capsys):
    output = tmp_path / "out"
    words = ["--weights", f"mine={run}", run / "backbone.pkl", "--data", data, "--output", output,
             "--figures", "png", "svg", "--images", 2, "--side", 64, "--colours", "moco",
             "--level", "res4", "--seed", 5, "--norm-images", 1,
             "MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]", "MODEL.CHECK_WEIGHTS", "False"]  # fmt: skip
    assert analyze("correspondence", *words) == 0
    printed = capsys.readouterr().out
    for kind in ("json", "png", "svg"):
        assert f"wrote {output / 'correspondence'}.{kind}" in printed
    record = json.loads((output / "correspondence.json").read_text())
    assert list(record["results"]) == ["mine", "backbone.pkl", "random"]
    assert record["results"]["mine"] == record["results"]["backbone.pkl"]
    assert record["options"]["side"] == 64 and record["options"]["colours"] == "moco"
    assert record["seed"] == 5 and record["norm_images"] == 1
    assert record["weights"]["mine"]["config"]["MODEL.PIXEL_MEAN"] == [1, 2, 3]
    assert "<svg" in (output / "correspondence.svg").read_text()


def test_the_same_seed_gives_the_same_numbers(run, data, tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = ["--weights", f"x={run}", "--data", data, "--output", tmp_path / name]
        assert analyze("matching", *words, "--side", 64, "--images", 3, "--seed", seed) == 0
        found.append(json.loads((tmp_path / name / "matching.json").read_text())["results"])
    assert found[0] == found[1] != found[2]


def test_random_weights_alone(data, tmp_path):
    cfg = tiny_config("BYOL", "unused", "unused")
    (tmp_path / "c.yaml").write_text(cfg.dump())
    assert analyze("correspondence", "--config-file", tmp_path / "c.yaml", "--data", data,
                   "--output", tmp_path, "--side", 64) == 0  # fmt: skip
    record = json.loads((tmp_path / "correspondence.json").read_text())
    assert list(record["results"]) == ["random"]


@pytest.mark.parametrize("arguments, message", [
    (["--weights", "x=RUN", "--data", "folder:nowhere"], "--data: 'folder:nowhere'"),
    (["--weights", "x=RUN"], "give the data by --data"),
    (["--data", "DATA"], "give weights by --weights"),
    (["--weights", "x=RUN", "x=RUN", "--data", "DATA"], "'x' is there twice"),
    (["--weights", "x=nowhere/a.pkl", "--data", "DATA"], "there is no config.yaml beside"),
    (["--weights", "x=RUN", "--data", "DATA", "--level", "p3"], "--level is 'p3'"),
])  # fmt: skip
def test_mistakes_have_a_message(arguments, message, run, data, tmp_path, capsys):
    words = [x.replace("RUN", str(run)).replace("DATA", data) for x in arguments]
    assert analyze("matching", *words, "--output", tmp_path, "--side", 64) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name, option", [
    ("matching", "pictures"), ("correspondence", "pictures"), ("transport", "pictures"),
    ("retrieval", "queries"),
])  # fmt: skip
def test_no_pictures_are_no_figure(run, data, tmp_path, name, option):
    words = ["--weights", f"x={run}", "--data", data, "--output", tmp_path, "--side", 64]
    assert analyze(name, *words, "--images", 3, f"--{option}", 0) == 0
    assert [x.name for x in tmp_path.glob(f"{name}*")] == [f"{name}.json"]


def test_boxes_without_a_picture(data, tmp_path):
    (tmp_path / "c.yaml").write_text(tiny_config("SCRL", "unused", "unused").dump())
    assert analyze("boxes", "--config-file", tmp_path / "c.yaml", "--data", data,
                   "--output", tmp_path, "--pictures", 0) == 0  # fmt: skip
    assert [x.name for x in tmp_path.glob("boxes*")] == ["boxes.json"]


def test_weights_may_have_an_equals_sign_in_their_path(run, tmp_path):
    named_weights = load_tool("analyze").named_weights
    folder = tmp_path / "whole@SOLVER.BASE_LR=0.02" / "seed1"
    folder.mkdir(parents=True)
    assert named_weights([str(folder), f"a={folder}"]) == {"seed1": str(folder), "a": str(folder)}


def test_every_option_has_a_help_text():
    for kind in all_analyses().values():
        for item in fields(kind.Options):
            assert len(item.metadata["help"]) > 5, (kind.name, item.name)
