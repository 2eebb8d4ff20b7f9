"""Packages import in one direction: what is below never imports what is above, not even late."""

import ast
from pathlib import Path

import pytest

import dense_ssl

ROOT = Path(dense_ssl.__file__).parent
# From the bottom to the top; packages of one row do not import each other.
FLOORS = (
    {"utils"},
    {"structures", "losses", "scenes"},
    {"data"},
    {"visualization"},
    {"modeling"},
    {"config"},
    {"checkpoint", "evaluation", "solver"},
    {"prediction", "reports"},
    {"analysis", "export"},
    {"engine"},
    {"api"},
)


def floor(name):
    return next(k for k, names in enumerate(FLOORS) if name in names)


def test_every_package_has_a_floor():
    found = {x.stem for x in ROOT.iterdir() if x.suffix == ".py" or (x / "__init__.py").is_file()}
    assert found - {"__init__"} == set().union(*FLOORS)


@pytest.mark.parametrize("package", sorted(set().union(*FLOORS)))
def test_imports_go_down(package):
    files = [*(ROOT / package).rglob("*.py"), *ROOT.glob(f"{package}.py")]
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in files
        for other in imported_packages(path)
        if other != package and floor(other) >= floor(package)
    ]
    assert files and not wrong


def imported_packages(path):
    """Return the packages of dense_ssl that a file imports, at its top or within functions."""
    parents = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parents[: len(parents) - node.level + 1]
            module = tuple((node.module or "").split(".")) if node.module else ()
            names = [(*base, *module)] if base or module else [(x.name,) for x in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [tuple(node.module.split("."))[1:]] if is_ours(node.module) else []
        elif isinstance(node, ast.Import):
            names = [tuple(x.name.split("."))[1:] for x in node.names if is_ours(x.name)]
        else:
            continue
        found.update(x[0] for x in names if x)
    return found


def is_ours(module):
    return module.split(".")[0] == "dense_ssl"


@pytest.mark.parametrize(
    "line, expected",
    [
        ("from ..engine.setup import setup", {"engine"}),
        ("from .. import api, engine", {"api", "engine"}),
        ("from . import job", {"analysis"}),
        ("def f():\n    from ..reports import html", {"reports"}),
        ("import dense_ssl.data.views", {"data"}),
        ("import torch\nfrom torch import nn", set()),
    ],
)
def test_imports_are_found(line, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "analysis/one.py"
    path.parent.mkdir()
    path.write_text(line)
    assert imported_packages(path) == expected
