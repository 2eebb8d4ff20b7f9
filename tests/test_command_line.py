"""Wrong options: the message names the option, and what was meant."""

import argparse
import errno
import subprocess
import sys

import pytest
from helpers import ROOT
from tool_helpers import load_tool

from dense_ssl.utils.command_line import parse_options
from dense_ssl.utils.plain_errors import plain_errors


@pytest.fixture
def parser():
    made = argparse.ArgumentParser()
    made.add_argument("--output", required=True)
    made.add_argument("--level", default="")
    made.add_argument("--weights", nargs="+", default=[])
    made.add_argument("opts", nargs=argparse.REMAINDER)
    return made


def error_of(parser, arguments, capsys, **options):
    with pytest.raises(SystemExit) as stop:
        parse_options(parser, arguments, **options)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words, message", [
    ("--levels p3 --output x", "unknown option --levels. Did you mean '--level'?"),
    ("--levels=p3 --output x", "unknown option --levels. Did you mean '--level'?"),
    ("--output x --zzz", "unknown option --zzz."),
    ("--level p3 A.B 1 --output x", "--output comes after A.B: config keys and values must come"),
    ("--output x A.B 1 --levels p3", "unknown option --levels. Did you mean '--level'?"),
    ("--level p3", "the following arguments are required: --output"),
])  # fmt: skip
def test_wrong_options_are_named(parser, words, message, capsys):
    assert message in error_of(parser, words.split(), capsys)


@pytest.mark.parametrize("words", [
    "--output x --level p3 A.B 1 C.D 2", "--output x --lev p3", "--level=p3 --output=x A.B 1",
    "--output x -- A.B --odd", "--output x A.B -1", "--weights a=b c --output x A.B 1",
])  # fmt: skip
def test_right_ones_pass(parser, words):
    assert parse_options(parser, words.split()).output == "x"


def test_keys_may_come_first_where_an_option_takes_them(parser):
    words = "--weights A.B 1 --output x".split()
    assert parse_options(parser, words, keys_last=False).weights == ["A.B", "1"]


@pytest.mark.parametrize("command, message", [
    (("train_net.py", "--config-file", "x.yaml", "--num-gpu", "2", "--resum", "--nun-gpus", "3"),
     "unknown option --nun-gpus. Did you mean '--num-gpus'?"),
    (("train_net.py", "--config-file", "x.yaml", "SOLVER.MAX_ITER", "3", "--num-gpus", "2"),
     "--num-gpus comes after SOLVER.MAX_ITER: config keys and values must come last"),
    (("tools/analyze.py", "matching", "--weights", "a=b", "--levels", "p3", "--output", "x"),
     "unknown option --levels. Did you mean '--level'"),
    (("tools/compare.py", "--backbone", "random", "--protocol", "x.yaml", "--seed", "1",
      "--outputs", "x"), "unknown option --outputs. Did you mean '--output'"),
    (("tools/roi_probe.py", "--config-file", "x.yaml", "--sides", "3", "A.B", "1"),
     "unknown option --sides. Did you mean '--side'?"),
])  # fmt: skip
def test_every_command_says_so(command, message):
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and message in result.stderr


@pytest.mark.parametrize("words, message", [
    (("regions", "--neighbours", "0"), "--neighbours is 0; it must be at least 1"),
    (("regions", "--ridge", "-1"), "--ridge is -1.0; it must be above 0"),
    (("regions", "--side", "100", "--cell", "32"), "--cell 32 does not divide --side 100"),
    (("health", "--crop-scale", "2"), "--crop-scale is 2.0; it must be above 0, and at most 1"),
    (("health", "--side", "0"), "--side is 0; it must be at least 1"),
    (("matching", "--pictures", "-1"), "--pictures is -1; it must be at least 0"),
    (("transport", "--flip-prob", "1.5"), "--flip-prob is 1.5; it must be at least 0, and at most"),
])  # fmt: skip
def test_values_of_an_analysis_are_checked(words, message, capsys):
    words = [*words, "--weights", "a=b.pkl", "--data", "folder:no", "--output", "x"]
    words += ["--test", "folder:no"] if words[0] == "regions" else []
    assert load_tool("analyze").main(words) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("tool, words", [
    ("roi_probe", ("--config-file", "x", "--side", "0")),
    ("export", ("--weights", "x", "--format", "onnx", "--output", "y", "--image-size", "0", "9")),
])  # fmt: skip
def test_numbers_of_tools_are_above_0(tool, words, capsys):
    with pytest.raises(SystemExit):
        load_tool(tool).main(list(words))
    assert "'0' must be a whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "4294967296", "1.5"])
def test_seeds_are_those_that_numpy_takes(value, capsys):
    words = ["matching", "--data", "folder:x", "--output", "y", f"--seed={value}"]
    with pytest.raises(SystemExit):
        load_tool("analyze").main(words)
    assert f"'{value}' must be a whole number from 0" in capsys.readouterr().err


def test_a_full_disk_is_no_fault_of_the_program():
    @plain_errors
    def main():
        raise OSError(errno.ENOSPC, "No space left on device")

    assert main() == 1
