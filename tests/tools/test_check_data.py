"""tools/check_data.py."""

import json

import pytest
from dataset_files import make_coco, make_image
from tool_helpers import load_tool

pytestmark = pytest.mark.usefixtures("restore_catalogs")
main = load_tool("check_data").main


def test_sound_data(tmp_path, capsys):
    entry = make_coco(tmp_path)
    make_image(tmp_path / "photos/a.png")
    assert main([entry, f"folder:{tmp_path / 'photos'}", "--json", str(tmp_path / "c.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        entry,
        "  images    2 images: 2 JPEG, 40 x 30 pixels, headers read",
        "  labels    objects: 1, 2 classes",
        "  classes   cat 1, dog 0",
        f"folder:{tmp_path / 'photos'}",
        "  images    1 image: 1 PNG, 40 x 30 pixels, headers read",
    ]
    first, second = json.loads((tmp_path / "c.json").read_text())
    assert first["labels"]["classes"] == {"cat": 1, "dog": 0} and second["labels"] is None
    assert "sample" not in first["labels"]
    assert first["errors"] == [] and first["images"]["formats"] == {"JPEG": 2}


def test_faults_end_with_1_and_nothing_is_raised(tmp_path, capsys):
    entry = make_coco(tmp_path, categories=[{"id": 7, "name": x} for x in "ab"])
    assert main([entry, "folder:/nowhere", "nonsense", "--decode"]) == 1
    text = capsys.readouterr().out
    assert text.count("  ERROR     ") == 3 and "all decoded" in text
    assert "ids of categories occur several times: 7" in text and "DATASETS.TRAIN" not in text


def test_few_broken_photos_do_not_stop_pre_training(tmp_path, capsys):
    for i in range(60):
        make_image(tmp_path / f"{i}.png")
    (tmp_path / "0.png").write_text("")
    assert main([f"folder:{tmp_path}"]) == 0
    assert "  odd       1 of 60 images cannot be read, first" in capsys.readouterr().out
    (tmp_path / "1.png").write_text("")
    assert main([f"folder:{tmp_path}"]) == 1


def test_names_with_control_characters_are_escaped(tmp_path, capsys):
    (tmp_path / "a\x1b[31m\nb.png").write_text("")
    assert main([f"folder:{tmp_path}"]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text and r"a\x1b[31m\nb.png: the file is empty" in text


def test_a_json_that_cannot_be_written(tmp_path, capsys):
    make_image(tmp_path / "a.png")
    assert main([f"folder:{tmp_path}", "--json", str(tmp_path / "no/c.json")]) == 2
    assert "error: --json: " in capsys.readouterr().err
