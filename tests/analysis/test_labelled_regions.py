"""What a probe classifies: boxes and cells, few of many, rare classes kept."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from dense_ssl.analysis.labelled_regions import keep_rare_classes, majority_cells, read_regions
from dense_ssl.data.sources.label_maps import label_map_metadata

KEY = "TEST.PROBE.TRAIN"


def boxes_of(count, first, **more):
    return [{"bbox": [i, 0, 4, 6], "bbox_mode": BoxMode.XYWH_ABS, "category_id": first, **more}
            for i in range(count)]  # fmt: skip


def register(name, dicts, **metadata):
    DatasetCatalog.register(name, lambda: dicts)
    MetadataCatalog.get(name).set(**metadata)


def test_boxes_of_evenly_spaced_images(restore_catalogs):
    dicts = [{"file_name": f"{i}.jpg", "annotations": boxes_of(2, i % 3)} for i in range(9)]
    dicts.insert(3, {"file_name": "empty.jpg", "annotations": []})
    dicts.insert(5, {"file_name": "crowd.jpg", "annotations": boxes_of(1, 0, iscrowd=1)})
    register("boxes", dicts, thing_classes=["a", "b", "c"])
    regions = read_regions("boxes", KEY, 3, 100, 4)
    assert [x.file_name for x in regions.images] == ["0.jpg", "4.jpg", "8.jpg"]
    assert regions.kind == "boxes" and regions.class_names == ["a", "b", "c"]
    assert regions.images[1].boxes.tolist() == [[0, 0, 4, 6], [1, 0, 5, 6]]
    assert regions.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(read_regions("boxes", KEY, 100, 100, 4).images) == 9  # neither empty nor crowd


def test_rare_classes_keep_their_regions():
    classes = np.repeat([0, 1, 2], [900, 30, 5])
    kept = keep_rare_classes(classes, 60)
    assert np.bincount(classes[kept]).tolist() == [28, 27, 5]
    assert (kept == keep_rare_classes(classes, 60)).all()  # the same each time
    assert keep_rare_classes(classes, 10**6).all()
    assert np.flatnonzero(kept[:900]).max() > 600  # not the first ones


def test_cells_have_the_class_of_half_of_their_pixels():
    labels = np.full((8, 12), 3, np.uint8)
    labels[:4, :6] = 255
    labels[4:, :3] = 1  # half of the lower left cell
    labels[4:, 3:6] = 2
    labels[4:, 6:8] = 0
    labels[4:, 8:10] = 1
    labels[4:, 10:] = 2
    boxes, classes = majority_cells(labels, 2)
    assert boxes.tolist() == [[6, 0, 12, 4], [0, 4, 6, 8]]
    assert classes.tolist() == [3, 1]


def test_cells_of_a_data_set(tmp_path, restore_catalogs):
    for i in range(3):
        labels = np.full((40, 60), i, np.uint8)
        labels[:, 30:] = 11
        cv2.imwrite(str(tmp_path / f"{i}.png"), labels)
    dicts = [{"file_name": f"{i}.jpg", "sem_seg_file_name": str(tmp_path / f"{i}.png")}
             for i in range(3)]  # fmt: skip
    register("maps", dicts, **label_map_metadata("abc", ignored=(11,)))
    regions = read_regions("maps", KEY, 10, 100, 4)
    assert regions.kind == "cells" and regions.class_names == ["a", "b", "c"]
    assert np.bincount(regions.classes).tolist() == [8, 8, 8]
    assert regions.images[0].boxes[:2].tolist() == [[0, 0, 15, 10], [15, 0, 30, 10]]


def test_data_without_labels_names_the_key(restore_catalogs):
    register("none", [{"file_name": "0.jpg"}])
    with pytest.raises(ValueError, match="TEST.PROBE.TRAIN: 'none': it has neither"):
        read_regions("none", KEY, 10, 100, 4)
    register("crowds", [{"file_name": "0.jpg", "annotations": boxes_of(1, 0, iscrowd=1)}])
    with pytest.raises(ValueError, match="TEST.PROBE.TRAIN: 'crowds': no image"):
        read_regions("crowds", KEY, 10, 100, 4)
