"""What a config needs beside the plain installation."""

import re
import subprocess
import sys
from argparse import Namespace
from importlib import metadata

import pytest
from helpers import CONFIGS, ROOT, base_config

from dense_ssl.config.packages import check_packages
from dense_ssl.engine import setup
from dense_ssl.utils.packages import REQUIREMENTS


@pytest.fixture
def without(monkeypatch):
    """A function that makes modules look as if they were not installed."""
    return lambda *names: [monkeypatch.setitem(sys.modules, x, None) for x in names]


@pytest.mark.parametrize("key, value, module", [
    ("SOLVER.OPTIMIZER", "LARS", "timm"),
    ("MODEL.BACKBONE.NAME", "build_timm_backbone", "timm"),
    ("MODEL.BACKBONE.NAME", "build_retinanet_timm_fpn_backbone", "timm"),
    ("MODEL.BACKBONE.NAME", "build_vit_fpn_backbone", "timm"),
    ("MODEL.META_ARCHITECTURE", "Distillation", "timm"),
    ("MODEL.SSL.OBJECTIVES", ("SCRLObjective", "DistillationObjective@res4"), "timm"),
    ("MODEL.WEIGHTS", "some/model.safetensors", "safetensors"),
])  # fmt: skip
def test_a_missing_package_names_key_and_command(without, key, value, module):
    cfg = base_config(key, value)
    check_packages(cfg)  # it is installed here
    without("timm", "safetensors")
    command = f"pip install '{REQUIREMENTS[module]}'"
    with pytest.raises(ImportError) as error:
        check_packages(cfg)
    text = str(error.value)
    assert text.startswith(f"{key} is {value!r}, but {module} is not installed")
    assert f"Run: {command}. Or " in text


def test_one_message_for_all_keys(without):
    without("timm")
    cfg = base_config("SOLVER.OPTIMIZER", "LARS", "MODEL.BACKBONE.NAME", "build_timm_backbone")
    with pytest.raises(ImportError, match=r"OPTIMIZER is .*; MODEL\.BACKBONE\.NAME is ") as error:
        check_packages(cfg)
    assert str(error.value).count("pip install 'timm>=1.0.9'") == 1


def test_what_is_not_needed_may_be_missing(without):
    without("timm", "safetensors")
    check_packages(base_config("MODEL.WEIGHTS", "model.pth"))
    check_packages(base_config("SOLVER.OPTIMIZER", "LARS"), eval_only=True)


def test_an_old_version_is_named(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "0.4.12")
    with pytest.raises(ImportError, match=r"timm 0\.4\.12 is too old. Run: pip install 'timm>=1"):
        check_packages(base_config("SOLVER.OPTIMIZER", "LARS"))


def test_a_run_stops_before_anything_is_built(without, tmp_path, restore_process):
    without("timm")
    options = ["SOLVER.OPTIMIZER", "LARS", "OUTPUT_DIR", str(tmp_path / "output"),
               "DATASETS.TRAIN", "('folder:/does/not/exist',)"]  # fmt: skip
    file = str(CONFIGS / "mini/pretrain/scrl_R_18.yaml")
    with pytest.raises(ImportError, match="SOLVER.OPTIMIZER is 'LARS'"):
        setup(Namespace(config_file=file, opts=options, eval_only=False))
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("module, advice", [
    ("cv2", "pip install opencv-python-headless"),
    ("detectron2", "tools/install_detectron2.py"),
])  # fmt: skip
def test_import_says_what_is_missing(module, advice):
    program = f"import sys; sys.modules[{module!r}] = None; import dense_ssl"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: dense_ssl needs {module}: ") and advice in last


def test_every_package_is_in_an_extra_and_every_extra_on_the_page():
    source = (ROOT / "setup.py").read_text()
    extras = re.search(r"extras_require=\{(.*?)\n    \},", source, re.DOTALL).group(1)
    for requirement in REQUIREMENTS.values():
        assert f'["{requirement}"]' in extras
    page = (ROOT / "docs/install.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == re.findall(r'^        "(\w+)": \[', extras, re.MULTILINE)
