"""Dataset strings and image folders."""

import logging
import os

import numpy as np
import pytest
from dataset_files import make_cfg, make_coco, make_image
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from dense_ssl.data.image_io import read_image
from dense_ssl.data.sources.entries import register_datasets, resolve_dataset
from dense_ssl.data.sources.folder import list_image_folder

pytestmark = pytest.mark.usefixtures("restore_catalogs")


# Image folders


def test_folder_is_listed_in_order_at_any_depth(tmp_path):
    for name in ("b/2.JPG", "b/a/1.webp", "a.png", "c.TIFF", "z.jpeg"):
        make_image(tmp_path / name.lower())
        (tmp_path / name.lower()).rename(tmp_path / name)
    for name in ("notes.txt", ".hidden.jpg", ".git/x.jpg", "b/jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dicts = list_image_folder(str(tmp_path))
    names = [os.path.relpath(x["file_name"], tmp_path) for x in dicts]
    assert names == ["a.png", "b/2.JPG", "b/a/1.webp", "c.TIFF", "z.jpeg"]
    assert [x["image_id"] for x in dicts] == list(range(5))


def test_folder_follows_links_but_no_circles(tmp_path):
    make_image(tmp_path / "real" / "1.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "data")
    (name,) = [x["file_name"] for x in list_image_folder(str(tmp_path / "data"))]
    assert name == str(tmp_path / "data" / "link" / "1.jpg")


def test_folder_errors_name_path_and_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.TRAIN: .*/nowhere.* does not exist"):
        resolve_dataset(f"folder:{tmp_path / 'nowhere'}")
    (tmp_path / "file.jpg").touch()
    with pytest.raises(NotADirectoryError, match=r"DATASETS\.TRAIN: .*file\.jpg.* is a file"):
        resolve_dataset(f"folder:{tmp_path / 'file.jpg'}")
    folder = tmp_path / "empty"
    folder.mkdir()
    entry = resolve_dataset(f"folder:{folder}", "DATASETS.TEST")
    with pytest.raises(ValueError, match=r"^DATASETS\.TEST: 'folder:.*/empty': .*no files at all"):
        DatasetCatalog.get(entry)
    for name in ("1.npy", "2.NPY", "README"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"found 2 x \.npy, 1 without"):
        DatasetCatalog.get(entry)


# Strings


def test_relative_paths_may_be_below_the_folder_of_the_data_sets(tmp_path, monkeypatch):
    data, here = tmp_path / "data", tmp_path / "here"
    here.mkdir()
    for i in range(3):
        make_image(data / "photos" / f"{i}.png")
        (data / "labels").mkdir(exist_ok=True)
        Image.new("L", (40, 30)).save(data / "labels" / f"{i}.png")
    entry = make_coco(data / "coco").replace(str(data) + "/", "")
    assert entry.startswith("coco:coco/")
    monkeypatch.chdir(here)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(data))
    assert len(DatasetCatalog.get(resolve_dataset("folder:photos"))) == 3
    assert DatasetCatalog.get(resolve_dataset(entry))
    maps = DatasetCatalog.get(resolve_dataset("semseg:photos:labels"))
    assert maps[0]["sem_seg_file_name"] == str(data / "labels" / "0.png")
    # what is here comes first
    make_image(here / "pictures" / "1.png")
    make_image(data / "pictures" / "1.png")
    (item,) = DatasetCatalog.get(resolve_dataset("folder:pictures"))
    assert item["file_name"] == os.path.join("pictures", "1.png")
    with pytest.raises(FileNotFoundError, match="'nowhere'.* does not exist"):
        resolve_dataset("folder:nowhere")


def test_registered_names_and_repeated_strings_are_returned(tmp_path):
    assert resolve_dataset("coco_2017_val") == "coco_2017_val"
    make_image(tmp_path / "a:b" / "1.png")
    entry = f"folder:{tmp_path}/a:b"
    assert resolve_dataset(entry) == resolve_dataset(entry) == entry
    assert len(DatasetCatalog.get(entry)) == 1


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("coco_2017_trian", "Did you mean 'coco_2017_train'"),
        ("foldr:/data", "Did you mean 'folder:/data'"),
        ("folder:", "folder:IMAGES"),
        ("coco:/a.json", "coco:ANNOTATIONS.json:IMAGES"),
        ("voc:/root", "voc:ROOT:SPLIT"),
        ("{tmp}", "Did you mean 'folder:{tmp}'"),
        ("{tmp}/a.json", "Did you mean 'coco:{tmp}/a.json:IMAGES'"),
    ],
)
def test_unknown_entries_are_refused_with_a_hint(tmp_path, entry, hint):
    (tmp_path / "a.json").touch()
    with pytest.raises(ValueError, match="DATASETS.TEST") as error:
        resolve_dataset(entry.format(tmp=tmp_path), "DATASETS.TEST")
    assert hint.format(tmp=tmp_path) in str(error.value)


def test_register_datasets_leaves_the_config_alone(tmp_path):
    make_image(tmp_path / "1.jpg")
    train, test = (f"folder:{tmp_path}", "coco_2017_val"), (make_coco(tmp_path),)
    cfg = make_cfg(train, test)
    cfg.freeze()
    register_datasets(cfg)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (train, test)
    assert all(x in DatasetCatalog for x in train + test)
    with pytest.raises(ValueError, match=r"^DATASETS\.TEST: 'x:y': not a data set"):
        register_datasets(make_cfg(test=("x:y",)))


def test_absent_builtin_data_are_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    meta = MetadataCatalog.get("mine")
    meta.set(json_file=str(tmp_path / "coco" / "x.json"))
    DatasetCatalog.register("mine", list)
    with caplog.at_level("WARNING"):
        register_datasets(make_cfg(("mine",)))
    assert "DATASETS.TRAIN" in caplog.text and "DETECTRON2_DATASETS" in caplog.text


def test_builtin_folders_are_found_below_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="^'imagenet_train': .*DETECTRON2_DATASETS"):
        DatasetCatalog.get("imagenet_train")
    make_image(tmp_path / "imagenet" / "train" / "n01" / "1.png")
    make_image(tmp_path / "coco" / "unlabeled2017" / "2.png")
    for name, file in (("imagenet_train", "1.png"), ("coco_2017_unlabeled", "2.png")):
        (image,) = DatasetCatalog.get(name)
        assert image["file_name"].endswith(file)


def test_images_of_any_extension_are_used_and_other_files_counted(tmp_path, caplog):
    picture = Image.new("RGB", (12, 8), (200, 40, 90))
    kinds = {"a.jpg": "JPEG", "b.JPG": "JPEG", "c.jfif": "JPEG", "d.jpe": "JPEG", "e.gif": "GIF",
             "f.ppm": "PPM", "g.jp2": "JPEG2000", "h.avif": "AVIF", "i.TIFF": "TIFF"}  # fmt: skip
    kinds = {name: kind for name, kind in kinds.items() if kind in Image.SAVE}
    for name, kind in kinds.items():
        picture.save(tmp_path / name, kind)
    for name in ("x.heic", "y.txt", "z.txt", "none"):
        (tmp_path / name).write_bytes(b"?")
    with caplog.at_level(logging.INFO):
        dicts = DatasetCatalog.get(resolve_dataset(f"folder:{tmp_path}"))
    assert [os.path.basename(x["file_name"]) for x in dicts] == list(kinds)
    for item in dicts:
        assert np.abs(read_image(item["file_name"]).astype(int) - (200, 40, 90)).max() < 12
    assert f"{len(kinds)} images; left out by their extensions: 2 x .txt, " in caplog.text
    assert "1 x .heic" in caplog.text and "1 without" in caplog.text
