"""Names of files that are no plain text, and files that are no files."""

import argparse
import json
import logging
import os
import socket

import cv2
import numpy as np
import pytest
from helpers import photo, recorded_log, tiny_config
from isolation import restored_process

from dense_ssl.config import load_config
from dense_ssl.data.image_io import BrokenImageError, read_image
from dense_ssl.data.sources.classes import classes_source
from dense_ssl.data.sources.coco import coco_source
from dense_ssl.data.sources.folder import list_image_folder
from dense_ssl.engine import run
from dense_ssl.prediction.images import read_images
from dense_ssl.utils.printable import PrintableMessages, printable

NAMES = {
    b"\x1b[31mred.jpg": r"\x1b[31mred.jpg",
    b"two\n[12:00:00] WARNING: forged.jpg": r"two\n[12:00:00] WARNING: forged.jpg",
    b"back\r.jpg": r"back\r.jpg",
    "right\u202egpj.jpg".encode(): r"right\u202egpj.jpg",
    "isolate\u2066.jpg".encode(): r"isolate\u2066.jpg",
    "line\u2028.jpg".encode(): r"line\u2028.jpg",
    "c1\u009b31m.jpg".encode(): r"c1\x9b31m.jpg",
    b"latin_\xe9.jpg": r"latin_\udce9.jpg",
    "plain \u00e9 \u65e5 \U0001f600.jpg".encode(): "plain \u00e9 \u65e5 \U0001f600.jpg",
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_photo(path, rng):
    path = os.fsencode(path) if isinstance(path, str) else path
    with open(path, "wb") as file:
        file.write(cv2.imencode(".jpg", photo(rng, 64, 48))[1].tobytes())


@pytest.fixture
def hostile(tmp_path):
    """A folder of broken images with the names of NAMES."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"no image")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_printable(name):
    text = printable(os.fsdecode(name))
    assert text == NAMES[name]
    assert text.isprintable() and text.encode()


def test_the_error_of_an_image_is_one_line(hostile):
    for name, text in NAMES.items():
        path = os.path.join(str(hostile), os.fsdecode(name))
        with pytest.raises(BrokenImageError) as error:
            read_image(path)
        assert str(error.value).startswith(f"{hostile}/{text}: ")
        assert str(error.value).isprintable()


def test_the_images_of_a_folder_that_cannot_be_read(hostile):
    names = [os.path.basename(x["file_name"]) for x in list_image_folder(str(hostile))]
    broken = []
    with recorded_log("dense_ssl", logging.WARNING) as messages:
        assert list(read_images(str(hostile), names, broken, "Reading")) == []
    assert len(messages) == len(broken) == len(NAMES)
    assert all(x.isprintable() for x in messages)


def test_what_other_code_logs_is_escaped_too():
    record = logging.makeLogRecord(
        {"msg": "a %s\n\tb \x1b[32mgreen\x1b[0m", "args": ("\x1b]0;t\x07\udce9\u202e",)}
    )
    assert PrintableMessages().filter(record)
    assert record.getMessage() == "a \\x1b]0;t\\x07\\udce9\\u202e\n\tb \x1b[32mgreen\x1b[0m"
    record = logging.makeLogRecord({"msg": "%d plain", "args": (3,)})
    PrintableMessages().filter(record)
    assert record.args == (3,)


def test_a_run_on_such_a_folder(tmp_path, rng, capfd):
    folder = tmp_path / os.fsdecode(b"data_\xe9_\x1b[8m")
    folder.mkdir()
    for name in NAMES:
        write_photo(os.path.join(os.fsencode(folder), name), rng)
    with open(os.path.join(os.fsencode(folder), b"bad_\x1b[8m\n.jpg"), "wb") as file:
        file.write(b"no image")
    cfg = tiny_config("BYOL", folder, tmp_path / "out", "SOLVER.MAX_ITER", 3, "LOG.REPORT", True)
    cfg.DATALOADER.MAX_BROKEN_SHARE = 1.0
    with restored_process():
        run(argparse.Namespace(cfg=cfg, config_file="", opts=[], eval_only=False, resume=False))
    output = capfd.readouterr()
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    for text in (output.out, output.err, log):
        assert "\x1b[8m" not in text and "Logging error" not in text
    assert r"bad_\x1b[8m\n.jpg" in log
    assert json.loads((tmp_path / "out" / "run.json").read_text())
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in report
    again = load_config(str(tmp_path / "out" / "config.yaml"))
    assert again.DATASETS.TRAIN == cfg.DATASETS.TRAIN


@pytest.fixture
def odd_folder(tmp_path, rng, monkeypatch):
    """A folder with one photo, and everything else that may be named like one."""
    folder = tmp_path / "odd"
    (folder / "sub").mkdir(parents=True)
    write_photo(str(folder / "sub" / "photo.jpg"), rng)
    os.mkfifo(folder / "fifo.jpg")
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(folder)
    server.bind("socket.png")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "lost.jpg").symlink_to(folder / "nowhere")
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "secret").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):  # chmod does not keep root out
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    yield folder
    server.close()


def test_what_is_no_file_is_skipped_and_counted(odd_folder):
    with recorded_log("dense_ssl", logging.WARNING) as messages:
        found = list_image_folder(str(odd_folder))
    assert [os.path.basename(x["file_name"]) for x in found] == ["photo.jpg"]
    text = "\n".join(messages)
    assert "2 pipes, sockets or devices skipped, the first one " in text and "fifo.jpg" in text
    assert "3 links that lead nowhere skipped" in text
    assert "1 sub-folders that cannot be read (permission denied) skipped" in text


def test_classes_leave_out_a_link_to_itself(odd_folder):
    with pytest.raises(ValueError, match="at least two"):
        classes_source(str(odd_folder / "sub"))
    names = classes_source(str(odd_folder)).metadata["image_classes"]
    assert names == ["loop", "secret", "sub"]


@pytest.mark.parametrize("name", ["fifo.jpg", "device.jpg", "socket.png"])
def test_no_pipe_is_opened(odd_folder, name):
    with pytest.raises(BrokenImageError, match="a pipe, a socket or a device"):
        read_image(str(odd_folder / name))


@pytest.mark.parametrize("name, outside", [
    ("in.jpg", False), ("./sub/../in.jpg", False), ("..foo.jpg", False),
    ("../out.jpg", True), ("/etc/passwd", True), ("sub/../../out.jpg", True),
])  # fmt: skip
def test_images_outside_of_their_folder_are_named(tmp_path, name, outside, rng):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    for place in (root / "in.jpg", root / "..foo.jpg", tmp_path / "out.jpg"):
        write_photo(str(place), rng)
    data = {"images": [{"id": 1, "file_name": name}, {"id": 2, "file_name": "in.jpg"}]}
    (tmp_path / "a.json").write_text(json.dumps(data))
    source = coco_source("x", str(tmp_path / "a.json"), str(root))
    with recorded_log("dense_ssl", logging.WARNING) as messages:
        assert len(source.images()) == 2
    assert bool(messages) == outside
    assert not outside or "1 of 2 images outside of" in messages[0] and "trust" in messages[0]
