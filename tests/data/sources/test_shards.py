"""Tar archives of images: what is read is what a folder of the same files gives."""

import io
import os
import sys
import tarfile
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from detectron2.utils.file_io import PathManager
from helpers import photo, tiny_config

from dense_ssl.data.image_io import BrokenImageError, read_header, read_image
from dense_ssl.data.sources import check_cache, shards
from dense_ssl.data.sources.entries import check_entry, register_datasets
from dense_ssl.data.tar_members import member_path
from dense_ssl.data.views.loader import build_pretrain_loader, pretrain_dataset_dicts

pytestmark = pytest.mark.usefixtures("restore_catalogs")


@pytest.fixture
def images(tmp_path):
    """A folder of 12 images in sub-folders."""
    rng = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "images" / f"{i // 4}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photo(rng, 60, 50))
    return tmp_path / "images"


def pack(path, files, form="w"):
    """Write {name: bytes} to a tar archive."""
    with tarfile.open(path, form) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def archives(images, tmp_path):
    """The same images in three archives, with labels and other things beside them."""
    for i in range(3):
        files = {}
        for path in sorted((images / str(i)).iterdir()):
            files[f"{i}/{path.stem}.cls"] = b"7"
            files[f"{i}/{path.name}"] = path.read_bytes()
        files[f"{i}/._hidden.png"] = b"a file of macOS"
        pack(tmp_path / f"shard-{i:03d}.tar", files)
    return f"{tmp_path}/shard-{{000..002}}.tar"


def listed(entry):
    return pretrain_dataset_dicts(config(entry))


def config(entry, *options):
    cfg = tiny_config("BYOL", "unused", "unused", "INPUT.VIEWS.SIZE", (32,), *options)
    cfg.DATASETS.TRAIN = (entry,)
    return cfg


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(images, archives, workers):
    def batches(entry, workers):
        cfg = config(entry, "DATALOADER.NUM_WORKERS", workers)
        return list(islice(build_pretrain_loader(cfg, 3), 4))

    for one, other in zip(batches(f"folder:{images}", 0), batches(f"shards:{archives}", workers)):
        for view, same in zip(one["views"], other["views"]):
            assert torch.equal(view["image"], same["image"])
            assert torch.equal(view["affine"], same["affine"])


def test_every_reader_reads_them(images, archives):
    files = [x["file_name"] for x in listed(f"folder:{images}")]
    members = [x["file_name"] for x in listed(f"shards:{archives}")]
    assert len(members) == 12
    for file, member in zip(files, members):
        assert (read_image(file) == read_image(member)).all()
        assert read_header(file) == read_header(member)
        assert os.path.basename(member).startswith(os.path.basename(file))


def test_the_order_is_that_of_the_pattern(archives, tmp_path):
    names = [x["file_name"] for x in listed(f"shards:{archives}")]
    assert [x["file_name"] for x in listed(f"shards:{tmp_path}/*.tar")] == names
    assert [x["file_name"] for x in listed(f"shards:{tmp_path}/shard-{{002,000}}.tar")] == (
        names[8:] + names[:4]
    )
    assert [x["file_name"] for x in listed(f"shards:{tmp_path}/shard-001.tar")] == names[4:8]


def test_a_relative_pattern_may_be_below_the_root(archives, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert len(listed("shards:shard-{000..002}.tar")) == len(listed("shards:*.tar")) == 12


def test_a_share(archives):
    whole, part = listed(f"shards:{archives}"), listed(f"shards:{archives}_50pct_seed1")
    assert len(part) == 6
    assert {x["file_name"] for x in part} < {x["file_name"] for x in whole}


def test_archives_that_are_not_there(archives, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"DATASETS.TRAIN: .*: 2 of the archives .*003.tar"):
        register_datasets(config(f"shards:{tmp_path}/shard-{{000..004}}.tar"))
    with pytest.raises(FileNotFoundError, match="all of the archives of .*no/"):
        register_datasets(config(f"shards:{tmp_path}/no/*.tar"))


def test_braces_need_a_package_and_stars_none(archives, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(ImportError, match="pip install braceexpand.*[*]"):
        shards.expand(archives)
    assert len(shards.expand(f"{tmp_path}/*.tar")) == 3


@pytest.mark.parametrize("form", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_archives_are_refused(tmp_path, form):
    path = pack(tmp_path / "a.tar", {"a.png": b"0" * 3000}, form)
    with pytest.raises(ValueError, match="must be complete and not compressed"):
        listed(f"shards:{path}")


@pytest.mark.parametrize("kept", [700, 1024, 1800])
def test_archives_that_are_cut_off(tmp_path, kept):
    path = pack(tmp_path / "a.tar", {"a.png": b"0" * 400, "b.png": b"1" * 3000})
    path.write_bytes(path.read_bytes()[:kept])
    if kept == 1024:  # exactly behind the first file: nothing is missing from it
        assert len(listed(f"shards:{path}")) == 1
        return
    with pytest.raises(ValueError, match="cut off|must be complete"):
        listed(f"shards:{path}")


@pytest.mark.parametrize("content", [b"", b"no archive at all " * 100])
def test_other_files_are_no_archives(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.tar"):
        listed(f"shards:{path}")


def test_archives_without_images(tmp_path):
    path = pack(tmp_path / "a.tar", {"a.txt": b"text", "b.cls": b"1"})
    with pytest.raises(ValueError, match="no images in 1 archives.*found 2 other files"):
        listed(f"shards:{path}")


@pytest.mark.parametrize("stem", ["a!b", "a@1+2", "ä b", "a\nb", "x" * 200])
def test_names_may_hold_any_character(images, tmp_path, stem):
    data = (images / "0" / "00.png").read_bytes()
    folder = tmp_path / "odd!@1+2 folder"
    folder.mkdir()
    path = pack(folder / "a.tar", {"first.png": data, f"{stem}.png": data})
    for item in listed(f"shards:{path}"):
        assert (read_image(item["file_name"]) == read_image(images / "0" / "00.png")).all()


def test_an_index_is_made_again_only_for_what_changed(archives, tmp_path, monkeypatch):
    made = []
    original = shards.index_archive
    monkeypatch.setattr(shards, "index_archive", lambda x: made.append(x) or original(x))
    paths = shards.expand(archives)
    shards.list_archives(paths)
    monkeypatch.setattr(check_cache, "_known", {})  # as in another process
    shards.list_archives(paths)
    assert made == paths
    pack(paths[1], {"new.png": b"1"})
    assert len(shards.list_archives(paths)) == 9 and made == [*paths, paths[1]]


def test_a_broken_image_is_named(tmp_path):
    path = pack(tmp_path / "a.tar", {"a.png": b"\x89PNG\r\n\x1a\n and nothing more"})
    with pytest.raises(BrokenImageError, match="a.tar!a.png"):
        read_image(listed(f"shards:{path}")[0]["file_name"])
    check = check_entry(f"shards:{path}")
    assert check.images.broken == 1 and any("a.tar!a.png" in x for x in check.errors)


def test_a_check_is_made_again_if_the_archive_changed(images, tmp_path):
    whole = sorted((images / "0").iterdir())[0].read_bytes()
    path = pack(tmp_path / "a.tar", {"a.png": whole})
    assert not check_entry(f"shards:{path}").images.broken
    damaged = pack(tmp_path / "a.tar", {"a.png": b"\0" * len(whole)})  # at the same place
    os.utime(damaged, (1, 1))
    assert check_entry(f"shards:{path}").images.broken == 1


def test_an_archive_that_is_cut_off_later(archives, tmp_path):
    last = listed(f"shards:{archives}")[-1]["file_name"]
    path = tmp_path / "shard-002.tar"
    path.write_bytes(path.read_bytes()[:-12000])
    with pytest.raises(BrokenImageError, match="ends in the middle|empty"):
        read_image(last)


def test_paths_are_read_only():
    with pytest.raises(ValueError, match="only be opened to read"):
        PathManager.open(member_path("a.tar", "b", 0, 1), "wb")
    with pytest.raises(ValueError, match="does not name the bytes"):
        PathManager.open("tar://a.tar", "rb")
