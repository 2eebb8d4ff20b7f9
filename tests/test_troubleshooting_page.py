"""Each message that docs/troubleshooting.md quotes is in the source, each key in the config."""

import ast
import functools
import re

import pytest
from helpers import ROOT, base_config

from dense_ssl.utils.checks import value_of

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
SOURCES = [*(ROOT / "projects/DenseSSL/dense_ssl").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
_TABLES = [x for x in PAGE.splitlines() if x.startswith("| `")]
MESSAGES = [x.split("|")[1].strip().strip("`") for x in _TABLES]
KEY = r"\b(?:MODEL|SOLVER|INPUT|DATALOADER|DATASETS|TEST|GUARDS|LOG)\.[A-Z_.]*[A-Z]\b"
HOLE = "\0"


@functools.cache
def texts():
    """All strings of the source, with a hole for each value that is filled in."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [x.value if isinstance(x, ast.Constant) else HOLE for x in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(\.\d)?[sdgr]", HOLE, node.value))
    return found


def is_printed(message):
    """Whether the parts between '...' follow each other in one message."""
    parts = [re.escape(x.strip()) for x in message.split("...") if x.strip()]
    pattern = re.compile(f"[^{HOLE}]*{HOLE}.*?".join(parts), re.DOTALL)
    return any(pattern.search(x) for x in texts())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_in_the_source(message):
    assert is_printed(message)


def test_other_messages_are_not_found():
    assert len(MESSAGES) > 45
    assert is_printed("steps are few (GUARDS.") and not is_printed("steps are many (GUARDS.")
    assert not is_printed("has the class ... and the class")


@pytest.mark.parametrize("name", ["troubleshooting", "choosing", "quickstart"])
def test_keys_and_links_of_the_page_exist(name):
    page, cfg = (ROOT / f"docs/{name}.md").read_text(), base_config()
    for key in set(re.findall(KEY, page)):
        value_of(cfg, key)
    for link in re.findall(r"\]\(([^)#:]+)", page):
        assert (ROOT / "docs" / link).exists(), link
