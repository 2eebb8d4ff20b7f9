"""Names and values from files never become a part of the page's code."""

from html.parser import HTMLParser

import pytest
from report_runs import BOLD, IMAGE, SCRIPT, write_everything

from dense_ssl.reports.html import write_report


class Page(HTMLParser):
    """The elements of a page, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self._inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = write_everything(tmp_path_factory.mktemp("escaping") / "runs")
    return Page(write_report([root]).read_text(encoding="utf-8"))


def test_scripts_are_only_our_own(page):
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    nonces = {x.get("nonce") for x in scripts}
    assert len(nonces) == 1 and len(nonces.pop()) == 32
    assert sum("type" not in x for x in scripts) == 1  # the others are data
    assert {x.get("type") for x in scripts} == {None, "application/json", "text/plain"}


def test_no_element_runs_code_or_loads_anything(page):
    for tag, attributes in page.elements:
        assert not [x for x in attributes if x.startswith("on")], (tag, attributes)
        assert tag not in ("iframe", "object", "embed", "base", "b>", "i")
        for name in ("src", "href"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("data:", "#")), (tag, value)


def test_the_policy_of_the_page_forbids_other_scripts(page):
    [policy] = [
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy and "script-src 'nonce-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_names_are_shown_as_they_are(page):
    for place in (
        f"dog{SCRIPT}",  # a class
        f"coco:a{IMAGE}.json:images",  # a data set
        f"ERROR: the bbox of annotation {IMAGE} is no box",  # its check
        f"{SCRIPT}/backbone.pkl",  # the start of a detector
        f"60 steps are few {SCRIPT}",  # a warning
        f"python x.py {SCRIPT}",  # a command
        f"not done: {SCRIPT}",  # a note of the comparison
        BOLD,  # a backbone of the comparison
        f"matching · {SCRIPT}",  # an analysis
        "detections & <i>more",  # a picture
        "views <b>, iteration 1",
        IMAGE.replace('"', '\\"'),  # a config value, as json
    ):
        assert place in page.text, place


def test_every_report_has_another_nonce(tmp_path):
    root = write_everything(tmp_path / "runs")
    nonces = set()
    for _ in range(2):
        page = Page(write_report([root]).read_text(encoding="utf-8"))
        nonces |= {attributes["nonce"] for tag, attributes in page.elements if tag == "script"}
    assert len(nonces) == 2
