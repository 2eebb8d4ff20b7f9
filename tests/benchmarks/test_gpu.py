"""The parts of benchmarks/gpu.py, small and on the CPU."""

import json
import subprocess
import sys
import time
from importlib import import_module

import pytest
from detectron2.modeling import build_backbone
from helpers import METHODS, ROOT
from tool_helpers import load_tool

from dense_ssl.config import load_config
from dense_ssl.engine.step_numbers import StepNumbers

COMMAND = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--small"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "engine"))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    common = import_module("gpu_parts.common")
    return common.Settings("cpu", True, tmp_path, time.time() + 600, tmp_path, ("MoCoV2",))


def items(settings, part):
    return import_module(f"gpu_parts.{part}").items(settings)


def test_the_command_writes_results_and_tables(tmp_path):
    command = [*COMMAND, "--parts", "speed", "--methods", "MoCoV2", "--output", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    row = found["parts"]["speed"]["MoCoV2, 8"]
    assert row["batch"] / row["images/s"] == pytest.approx(row["step, ms"] / 1e3)
    assert "| MoCoV2, 8 | 8 |" in (tmp_path / "gpu.md").read_text()


def test_a_step_in_bfloat16_is_nearly_that_of_float32(settings):
    found = items(settings, "precision")
    assert list(found) == ["MoCoV2, float32", "MoCoV2, bfloat16", "MoCoV2, float16"]
    row = found["MoCoV2, bfloat16"]()
    assert row["ok"] and row["error"] > 0 and row["steps skipped"] == 0


def test_losses_that_are_read_a_step_later_are_those_of_their_step(settings, monkeypatch):
    expected = items(settings, "precision")["MoCoV2, bfloat16"]()
    make = StepNumbers.__init__

    def lagging(self, device):
        make(self, device)
        self._lag = 1  # as on a GPU

    monkeypatch.setattr(StepNumbers, "__init__", lagging)
    found = items(settings, "precision")["MoCoV2, bfloat16"]()
    assert found["error"] == expected["error"] and found["loss"] == expected["loss"]


def test_a_resumed_run_is_the_uninterrupted_one(settings):
    row = items(settings, "resume")["MoCoV2, float32"]()
    assert row["ok"] and row["equal to the bit"]


def test_the_loader_alone_and_in_training(settings):
    alone, feeding = (function() for function in items(settings, "loader").values())
    assert alone["views/s"] == 2 * alone["images/s"] > 0
    assert 0 <= feeding["share of time waiting"] <= 1


def test_failures_are_kept_and_shown(settings, tmp_path):
    results = import_module("gpu_parts.results")

    class Part:
        @staticmethod
        def items(settings):
            fine = {"ok": True, "x": 1.5, "_markdown": "| more |"}
            return {"fine": lambda: fine, "broken": lambda: 1 / 0, "faulty": faulty,
                    "not reached": lambda: {"ok": True}}  # fmt: skip

    def faulty():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    kept = results.Results(tmp_path / "gpu.json", {"device": "cpu"})
    assert not results.run_items(kept, "part", Part, settings)  # a new process is needed
    assert results.run_items(kept, "part", Part, settings, keep_failed=True)
    kept.rows("part")["fine"]["x"] = 1.25  # would be 1.5 again
    assert not results.run_items(kept, "part", Part, settings)
    assert list(kept.rows("part")) == ["fine", "broken", "faulty", "not reached"]
    assert not kept.are_fine()
    text = results.tables(results.Results(tmp_path / "gpu.json"), {"part": "a part"})
    assert "| fine | 1.25 |" in text and "| more |" in text and "broken: `ZeroDivisionError" in text
    with pytest.raises(SystemExit, match="another device"):
        results.Results(tmp_path / "gpu.json", {"device": "cuda"})


def test_every_method_and_nothing_on_the_gpu_alone(settings):
    settings.methods, settings.small = tuple(METHODS), False
    settings.batches = (256, 64)
    names = list(items(settings, "speed"))
    assert names[: len(METHODS)] == [f"{x}, 256" for x in METHODS]
    assert names[len(METHODS)] == "BYOL, 64" and names[-1].endswith("COLOR_ON_DEVICE, 256")
    assert "DUPR, LOSS_PRODUCTS, 256" in names
    assert len(items(settings, "sync")) == 6 and len(items(settings, "study")) == 6


def test_the_study_is_called_as_its_command_wants_it(settings, tmp_path):
    command = import_module("gpu_parts.study").command("BCCD", tmp_path, (1, 2))
    compare = load_tool("compare")
    args = compare.parse_arguments(command[2:])
    assert args.seeds == [1, 2] and args.output == tmp_path
    assert "scrl=configs/study/boxes/scrl.yaml" in args.backbones
    assert args.opts[:2] == ["MODEL.TIMM.NAME", "resnet50"]
    assert args.pretrain_opts[:4] == [
        "DATASETS.TRAIN", "('voc:BCCD:trainval',)", "MODEL.TIMM.NAME", "resnet50",
    ]  # fmt: skip
    # the network of the study is timm's: another key would change nothing
    cfg = load_config(str(ROOT / "configs" / "study" / "boxes" / "scrl.yaml"), args.opts)
    assert cfg.MODEL.BACKBONE.NAME == "build_timm_fpn_backbone"
    assert build_backbone(cfg).bottom_up.output_shape()["res5"].channels == 2048
