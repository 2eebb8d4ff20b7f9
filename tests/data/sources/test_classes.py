"""Folders of class folders."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dense_ssl.data.sources.entries import resolve_dataset


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))


def test_classes_are_the_folders_in_order(tmp_path, restore_catalogs):
    write(tmp_path, "dog/b.png", "dog/a.png", "cat/deep/a.png", "loose.png", ".cache/x.png")
    name = resolve_dataset(f"classes:{tmp_path}")
    assert MetadataCatalog.get(name).image_classes == ["cat", "dog"]
    found = [(x["image_id"], x["category_id"]) for x in DatasetCatalog.get(name)]
    assert found == [("cat/deep/a.png", 0), ("dog/a.png", 1), ("dog/b.png", 1)]


def test_faults_have_a_message(tmp_path, restore_catalogs):
    write(tmp_path, "one/a.png")
    with pytest.raises(ValueError, match="at least two; it has \\['one'\\]"):
        resolve_dataset(f"classes:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="one folder of images for each class"):
        resolve_dataset(f"classes:{tmp_path}/nowhere")
    (tmp_path / "two").mkdir()
    name = resolve_dataset(f"classes:{tmp_path}/")
    with pytest.raises(ValueError, match="no images in .*two"):
        DatasetCatalog.get(name)
