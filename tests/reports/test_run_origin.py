"""The commit that a run is recorded with."""

import shutil
import subprocess

import pytest

from dense_ssl.reports.run_origin import checkout_state, run_origin


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a committed file, and the function that runs git in it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    git("init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "-qm", "first")
    return tmp_path, git


def test_the_commit_of_a_clean_checkout(checkout):
    folder, git = checkout
    (folder / "output").mkdir()
    (folder / "output" / "result.json").touch()  # what a run writes is no change of the code
    state = checkout_state(folder / "code.py")
    assert state == {"commit": git("rev-parse", "HEAD"), "dirty": False}


def test_uncommitted_changes_are_said(checkout):
    folder, _ = checkout
    (folder / "code.py").write_text("a = 2\n")
    assert checkout_state(folder / "code.py")["dirty"] is True


def test_the_checkout_of_another_project_is_not_named(checkout):
    folder, _ = checkout
    (folder / "installed.py").touch()
    assert checkout_state(folder / "installed.py") == {}


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / "code.py").touch()
    assert checkout_state(tmp_path / "code.py") == {}
    monkeypatch.setenv("PATH", "")
    assert "commit" not in run_origin() and run_origin()["torch"]
