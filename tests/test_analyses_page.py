"""Every command of docs/analyses.md runs, and its tables have every analysis and every option."""

import json
import re
import shlex
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from dataset_files import make_voc
from helpers import CONFIGS, ROOT, base_config, photo, tiny_config
from tool_helpers import load_tool, save_run

from dense_ssl.analysis.registry import all_analyses, flag

PAGE = (ROOT / "docs/analyses.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python tools/.*$", PAGE, re.MULTILINE)
SECTIONS = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
DETECTOR = "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml"


def detector_config(classes):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / DETECTOR))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
                         "MODEL.ROI_HEADS.NUM_CLASSES", classes, "DATASETS.TRAIN", (),
                         "DATASETS.TEST", ()])  # fmt: skip
    return cfg


def write_scores(folder):
    """A comparison, a run of tools/analyze.py, and a probe."""
    folder.mkdir(parents=True)
    scores = {name: {"values": {"1": 10.0 + i, "2": 11.5 + i}} for i, name in enumerate("abcd")}
    protocols = {"coco/frozen": {"bbox/AP": scores}, "coco/probe": {"probe/accuracy": scores}}
    (folder / "comparison.json").write_text(json.dumps({"protocols": protocols}))
    for name, key in (("matching", "within_1"), ("correspondence", "accuracy")):
        results = {x: {key: i**2} for i, x in enumerate("abcd")}
        record = {"analysis": name, "results": results}
        (folder / f"{name}.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def made(tmp_path_factory, scenes):
    """The working folder: runs, photos, labels with masks, a VOC folder, scores."""
    folder = tmp_path_factory.mktemp("analyses")
    torch.manual_seed(0)
    for name, method in (("scrl", "SCRL"), ("byol", "BYOL"), ("self_emd", "SelfEMD")):
        save_run(folder / f"output/my_{name}", tiny_config(method, "unused", ""))
    labels = json.loads((scenes / "annotations/instances_train.json").read_text())
    classes = [x["name"] for x in sorted(labels["categories"], key=lambda x: x["id"])]
    for name in ("scrl", "byol"):
        save_run(folder / f"output/{name}_detector", detector_config(len(classes)),
                 labels={"thing_classes": classes})  # fmt: skip
    kept = {x["id"] for x in labels["images"][:3]}
    labels["images"] = [x for x in labels["images"] if x["id"] in kept]
    labels["annotations"] = [x for x in labels["annotations"] if x["image_id"] in kept]
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "photos").mkdir()
    for item in labels["images"]:
        data = (scenes / "train" / item["file_name"]).read_bytes()
        (folder / "photos" / item["file_name"]).write_bytes(data)
    box = ("cat", "<difficult>0</difficult>", 3, 3, 30, 28)
    root = make_voc(folder, {"1": [box], "2": [box]}, "val")
    for i in (1, 2):
        image = photo(np.random.default_rng(i), 40, 30)
        cv2.imwrite(str(root / f"JPEGImages/{i}.jpg"), image)
    root.rename(folder / "VOC2012")
    write_scores(folder / "output/compare")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(made, monkeypatch, restore_catalogs, command, tmp_path):
    monkeypatch.chdir(made)
    program, tool, *arguments = shlex.split(command)
    assert (program, tool) == ("python", "tools/analyze.py")
    place = arguments.index("--output") + 1
    arguments[place] = str(tmp_path / arguments[place])
    assert load_tool("analyze").main(arguments) == 0
    name = arguments[0]
    record = json.loads((tmp_path / arguments[place] / f"{name}.json").read_text())
    assert (tmp_path / arguments[place] / f"{name}.png").stat().st_size > 5000
    words = arguments[arguments.index("--weights") + 1 :] if "--weights" in arguments else []
    named = [x.partition("=")[0] for x in words if "=" in x]
    if named:
        expected = named if name == "detections" else [*named, "random"]
        assert list(record["results"]) == expected
    assert record["results"]
    if name == "transport":
        assert [x["heads"] for x in record["results"].values()] == [True, False, False]


def test_the_page_has_a_section_with_a_figure_for_each_analysis():
    named = {shlex.split(x)[2] for x in COMMANDS}
    assert named == set(SECTIONS) and len(COMMANDS) == 14
    pages = ("docs/probes.md", "docs/classification.md")
    others = "".join((ROOT / x).read_text(encoding="utf-8") for x in pages)
    assert all(f"analyze.py {x} " in others for x in set(all_analyses()) - named)
    for name, text in SECTIONS.items():
        (figure,) = re.findall(r"!\[[a-z-]+\]\((images/.*?)\)", text)
        assert (ROOT / "docs" / figure).stat().st_size < 150_000
        assert "*How to read it.*" in text and f"[{name}](#{name})" in PAGE


def test_every_option_and_its_default_are_on_the_page():
    for name, text in SECTIONS.items():
        kind = all_analyses()[name]
        for item in fields(kind.Options):
            row = re.search(rf"^\|.*`--{flag(item.name)}`.*$", text, re.MULTILINE)
            assert row, (name, item.name)
            default = getattr(kind.Options(), item.name)
            if item.name not in ("level", "points", "right_class", "heads"):
                shown = f"{default:g}" if isinstance(default, float) else str(default)
                assert re.search(rf"(?<![\d.]){re.escape(shown)}(?![\d.])", row[0]), (
                    name,
                    item.name,
                )


def test_sources_are_those_of_the_analyses():
    table = PAGE[: PAGE.index("## Options of all")]
    for name in SECTIONS:
        source = all_analyses()[name].source
        assert source in re.search(rf"^\| \[{name}\].*$", table, re.MULTILINE)[0], source
