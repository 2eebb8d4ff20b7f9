"""Progress of long loops: lines where there is no terminal, a bar where there is one."""

import io
import logging
import sys

import pytest

from dense_ssl.utils import progress as module
from dense_ssl.utils.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by itself."""
    time = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: time[0])
    return time


def _consume(items, clock, seconds):
    """The items of a loop whose every step takes some seconds."""
    seen = []
    for item in items:
        clock[0] += seconds
        seen.append(item)
    return seen


def test_a_line_every_ten_seconds_with_the_time_that_is_left(clock, caplog):
    caplog.set_level(logging.INFO, module.__name__)
    assert _consume(progress(range(10), "Embedding images"), clock, 4.0) == list(range(10))
    assert caplog.messages == [
        "Embedding images: 3 of 10 (30%), eta 0:00:28",
        "Embedding images: 6 of 10 (60%), eta 0:00:16",
        "Embedding images: 9 of 10 (90%), eta 0:00:04",
    ]


def test_a_short_loop_prints_nothing(clock, caplog):
    caplog.set_level(logging.INFO, module.__name__)
    _consume(progress(range(9), "Embedding images"), clock, 1.0)
    assert caplog.messages == []


def test_a_total_may_be_unknown_or_given(clock, caplog):
    caplog.set_level(logging.INFO, module.__name__)
    _consume(progress(iter("abc"), "Listing files"), clock, 9.0)
    _consume(progress(iter("abc"), "Listing files", total=3), clock, 9.0)
    assert caplog.messages == [
        "Listing files: 2 so far",
        "Listing files: 2 of 3 (66%), eta 0:00:09",
    ]


def test_a_tool_without_a_log_still_shows_the_lines(clock, capsys):
    logging.getLogger(module.__name__).setLevel(logging.WARNING)
    try:
        _consume(progress(range(3), "Probing"), clock, 20.0)
    finally:
        logging.getLogger(module.__name__).setLevel(logging.NOTSET)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "Probing: 1 of 3 (33%), eta 0:00:40",
        "Probing: 2 of 3 (66%), eta 0:00:20",
    ]
    assert captured.out == ""  # what a tool prints as its result stays clean


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress([1, 2, 3], "Probing")) == [1, 2, 3]
    assert "Probing:   0%" in terminal.getvalue() and "0/3" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")  # it is removed: the next line begins at the margin


def test_only_the_main_process_shows_it(clock, caplog, monkeypatch):
    monkeypatch.setattr(module.comm, "is_main_process", lambda: False)
    caplog.set_level(logging.INFO, module.__name__)
    assert _consume(progress(range(3), "Probing"), clock, 20.0) == [0, 1, 2]
    assert caplog.messages == []
