"""Every block of docs/deployment.md runs, the Python ones without DenseSSL and detectron2."""

import re
import shlex
import subprocess
import sys

import cv2
import numpy as np
import pytest
from export_models import needs_onnx, write_run
from helpers import ROOT, photo

PAGE = (ROOT / "docs/deployment.md").read_text()
_BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
COMMANDS = [shlex.split(text.replace("\\\n", " ")) for kind, text in _BLOCKS if not kind]
SCRIPTS = [text for kind, text in _BLOCKS if kind == "python"]
LINE = r"(cell|plate|dot) 0\.\d+ \[(\d+, ){3}\d+\]$"
# What the exported files must not need.
BLOCK = "import sys\nsys.modules.update(dict.fromkeys(('detectron2', 'dense_ssl', 'fvcore')))\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands of the page work: two runs, a photo and a folder of photos."""
    folder = tmp_path_factory.mktemp("deployment")
    write_run("mask_rcnn_fpn", folder / "output/my_detector",
              labels={"thing_classes": ["cell", "plate", "dot"]})  # fmt: skip
    write_run("resnet", folder / "output/my_scrl")
    (folder / "photos").mkdir()
    for i in range(3):
        image = photo(np.random.default_rng(i), 150, 110)
        cv2.imwrite(str(folder / f"photos/{i}.jpg"), image)
    cv2.imwrite(str(folder / "photo.jpg"), image)
    return folder


def start(folder, *arguments):
    result = subprocess.run([sys.executable, *arguments], cwd=folder, text=True,
                            capture_output=True, timeout=600)  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def export(folder, command, **changes):
    program, tool, *arguments = command
    assert (program, tool) == ("python", "tools/export.py")
    arguments = [changes.get(x, x) for x in arguments]
    return start(folder, str(ROOT / tool), *arguments)


def test_the_page_has_what_the_tests_run():
    assert len(COMMANDS) == 2 and len(SCRIPTS) == 3 and len(_BLOCKS) == 5


def run_detector(folder, script, **changes):
    changes["/path/to/photos"] = str(folder / "photos")
    assert "largest differences" in export(folder, COMMANDS[0], **changes)
    lines = start(folder, "-c", BLOCK + script).splitlines()
    assert lines and all(re.match(LINE, x) for x in lines)
    boxes = [list(map(int, re.findall(r"\d+", x.partition("[")[2]))) for x in lines]
    assert 96 < max(max(x) for x in boxes) <= 150  # in pixels of the photo, not of the input


def test_torchscript(folder):
    run_detector(folder, SCRIPTS[0])


@needs_onnx
def test_onnx(folder):
    run_detector(folder, SCRIPTS[1], torchscript="onnx")


def test_backbone(folder):
    export(folder, COMMANDS[1])
    printed = start(folder, "-c", BLOCK + SCRIPTS[2])
    assert "'res2': (1, 16, 56, 56)" in printed and "torch.Size([1, 128])" in printed
