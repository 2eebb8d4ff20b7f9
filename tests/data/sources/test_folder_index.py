"""The index of a large folder: current, or not used."""

import os
import time
from types import SimpleNamespace

import pytest

from dense_ssl.data.sources import folder, folder_index
from dense_ssl.data.sources.folder import list_image_folder, skipped_files

ODD = ["a/1.jpg", "a/b/2.PNG", "a/b/\udcff.jpg", "c d/\u00e9 \u4e2d.jpeg", "z.tif"]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder that has not changed for a while, of which an index is kept."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folder_index, "LEAST_IMAGES", 1)
    for name in [*ODD, "a/notes.txt", "a/.hidden.jpg"]:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    settle(tmp_path / "images")
    return tmp_path / "images"


def settle(root):
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            os.utime(path, (0, time.time() - 60))


@pytest.fixture(autouse=True)
def later(monkeypatch):
    """A minute passes before each listing: times of folders themselves cannot be set back."""
    clock = SimpleNamespace(time=lambda: time.time() + 60)
    monkeypatch.setattr(folder, "time", clock)
    return clock


def listed(root):
    return [x["file_name"] for x in list_image_folder(str(root))]


@pytest.fixture
def walks(monkeypatch):
    """The folders that were listed anew."""
    found, walk = [], folder._list
    monkeypatch.setattr(folder, "_list", lambda *args: found.append(args[0]) or walk(*args))
    return found


def test_the_second_list_is_the_first(images, walks):
    first = listed(images)
    skipped = skipped_files(str(images))
    assert first == sorted(str(images / x) for x in ODD) and skipped == {"txt": 1}
    folder._skipped.clear()
    again = list_image_folder(str(images))
    assert [x["file_name"] for x in again] == first and len(walks) == 1
    assert again[2] == {"file_name": first[2], "image_id": 2}
    assert skipped_files(str(images)) == skipped


@pytest.mark.parametrize("change", ["add", "delete", "rename", "new folder", "less", "gone"])
def test_a_change_anywhere_is_seen(images, walks, change):
    first = listed(images)
    deep = images / "a" / "b"
    if change == "add":
        (deep / "3.jpg").touch()
    elif change == "delete":
        (deep / "2.PNG").unlink()
    elif change == "rename":
        (deep / "2.PNG").rename(deep / "4.png")
    elif change == "new folder":
        (images / "new").mkdir()
        (images / "new" / "5.jpg").touch()
    elif change == "less":
        (images / "z.tif").unlink()
    else:
        for path in (images / "c d").iterdir():
            path.unlink()
        (images / "c d").rmdir()
    found = listed(images)
    assert len(walks) == 2 and found != first
    expected = [x for x in images.rglob("*") if x.is_file() and x.suffix != ".txt"
                and x.name[0] != "."]  # fmt: skip
    assert sorted(found) == sorted(map(str, expected))


def test_a_folder_that_changes_just_now_is_not_kept(images, walks, later):
    later.time = time.time
    assert listed(images) == listed(images) and len(walks) == 2


def test_links_are_looked_at_every_time(images, walks):
    target = images.parent / "elsewhere.jpg"
    target.touch()
    (images / "link.jpg").symlink_to(target)
    settle(images)
    assert str(images / "link.jpg") in listed(images)
    target.unlink()
    assert str(images / "link.jpg") not in listed(images) and len(walks) == 2


def test_a_time_that_was_set_back_is_seen(images, walks):
    deep = images / "a" / "b"
    listed(images)
    before = os.stat(deep)
    (deep / "3.jpg").touch()
    os.utime(deep, ns=(before.st_atime_ns, before.st_mtime_ns))  # as tar and rsync -a do
    assert str(deep / "3.jpg") in listed(images) and len(walks) == 2


def test_a_link_that_will_lead_to_a_folder_is_looked_at_every_time(images, walks):
    target = images.parent / "disk"  # that is not mounted yet
    (images / "more").symlink_to(target)
    first = listed(images)
    target.mkdir()
    (target / "1.jpg").touch()
    assert len(listed(images)) == len(first) + 1


def test_other_extensions_make_another_list(images, walks, monkeypatch):
    listed(images)
    monkeypatch.setattr(folder, "IMAGE_EXTENSIONS", folder.IMAGE_EXTENSIONS | {"txt"})
    assert str(images / "a" / "notes.txt") in listed(images)


def test_any_damage_means_a_new_list(images, walks):
    first = listed(images)
    (index,) = folder_index.cache_folder().glob("*.npz")
    whole = index.read_bytes()
    for i in range(0, len(whole), 7):
        index.write_bytes(whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1 :])
        assert listed(images) == first
    assert len(walks) > 20


def test_nothing_is_left_of_an_index_that_could_not_be_written(images, walks, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_index.np, "savez_compressed", full)
    listed(images)
    assert not list(folder_index.cache_folder().iterdir())


def test_a_linked_folder_is_watched(images, walks):
    target = images.parent / "more"
    target.mkdir()
    (target / "1.jpg").touch()
    (images / "linked").symlink_to(target)
    settle(target)
    settle(images)
    assert len(listed(images)) == len(ODD) + 1 == len(listed(images)) and len(walks) == 1
    (target / "2.jpg").touch()
    assert len(listed(images)) == len(ODD) + 2


def test_short_lists_are_not_kept(images, walks, monkeypatch):
    monkeypatch.setattr(folder_index, "LEAST_IMAGES", len(ODD) + 1)
    assert listed(images) == listed(images) and len(walks) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", None])
def test_a_broken_or_shortened_index_is_not_used(images, walks, content):
    first = listed(images)
    (index,) = folder_index.cache_folder().glob("*.npz")
    index.write_bytes(index.read_bytes()[:-40] if content is None else content)
    assert listed(images) == first and len(walks) == 2


def test_a_cache_that_cannot_be_written_is_no_error(images, walks, monkeypatch):
    blocked = images.parent / "file"
    blocked.touch()
    monkeypatch.setenv("FVCORE_CACHE", str(blocked))
    assert listed(images) == listed(images) and len(walks) == 2


def test_other_names_of_a_folder_have_other_lists(images, walks, monkeypatch):
    first = listed(images)
    monkeypatch.chdir(images.parent)
    assert listed("images") == [os.path.relpath(x) for x in first] and len(walks) == 2
    monkeypatch.chdir(images)
    assert listed("../images")[0] == "../images/" + ODD[0]
