"""The table of equations: each function exists and names its equation, each key exists."""

import importlib
import re

import pytest
from helpers import ROOT

from dense_ssl.config import default_config
from dense_ssl.utils.checks import value_of

PAGE = ROOT / "projects/DenseSSL/README.md"
ROW = re.compile(r"^\| ([^|]+) \| Eq\. (\d+) \| [^|]+ \| ([^|]+) \| ([^|]*) ?\|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text())


def look_up(path):
    """The object behind "modeling.methods.DUPRObjective._pool"."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(["dense_ssl", *parts[:count]]))
        except ImportError:
            continue
        for name in parts[count:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


def test_the_table_has_every_numbered_equation():
    numbers = {}
    for paper, number, _, _ in ROWS:
        numbers.setdefault(paper, []).append(int(number))
    complete = {"SCRL": 3, "Self-EMD": 15, "DUPR": 9, "LC-loss": 5}
    complete["point-level region contrast"] = 6
    for paper, count in complete.items():
        assert numbers[paper] == list(range(1, count + 1)), paper


@pytest.mark.parametrize("paper, number, functions, keys", ROWS)
def test_functions_name_their_equation_and_keys_exist(paper, number, functions, keys):
    paths = re.findall(r"`([\w.]+)`", functions)
    assert paths or functions.startswith(("derivation", "not implemented"))
    for path in paths:
        assert re.search(rf"Eq\. {number}(?!\d)", look_up(path).__doc__), path
    cfg, node = default_config(), ""
    for key in re.findall(r"`([A-Z_.\d]+)[^`]*`", keys):
        node = key.rpartition(".")[0] if "." in key else node
        value_of(cfg, key if "." in key else f"{node}.{key}")


def test_equations_are_named_one_by_one():
    """One grep for "Eq. 3" finds every place; "Eq. 2 to 4" would hide it."""
    files = [PAGE, *(ROOT / "projects/DenseSSL/dense_ssl").rglob("*.py")]
    for path in files:
        assert not re.search(r"Eq\. \d+ ?(to|and|-|,) ?\d", path.read_text()), path
