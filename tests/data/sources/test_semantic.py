"""Data sets of label maps: the entry forms, the built-in names, and their errors."""

import json
import os

import numpy as np
import pytest
from dataset_files import make_cfg, make_coco, make_image, make_labels
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.cityscapes import load_cityscapes_semantic
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.finetune.semantic_mapper import is_semantic
from dense_ssl.data.sources import semantic
from dense_ssl.data.sources.builtin import CITYSCAPES_IDS
from dense_ssl.data.sources.entries import register_builtin, resolve_dataset
from dense_ssl.data.sources.label_maps import LabelReader, read_classes_file, read_label_map

pytestmark = pytest.mark.usefixtures("restore_catalogs")
ROOT = os.environ.get("DETECTRON2_DATASETS", "")


def make_pairs(folder, *names, values=((0, 1), (2, 255))):
    for name in names:
        make_image(folder / "images" / name, (2, 2))
        make_labels((folder / "labels" / name).with_suffix(".png"), values)
    return f"semseg:{folder}/images:{folder}/labels"


def make_voc_labels(root, split, names, folder="SegmentationClass"):
    for name in names:
        make_image(root / "JPEGImages" / f"{name}.jpg", (2, 2))
        make_labels(root / folder / f"{name}.png", [[0, 20], [255, 3]], "P")
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names) + "\n")
    return root


# semseg:IMAGES:LABELS[:CLASSES.txt]


def test_images_and_labels_are_paired_by_name_at_any_depth(tmp_path):
    entry = make_pairs(tmp_path, "b.jpg", "a/1.webp", "a/2.png")
    (tmp_path / "classes.txt").write_text("0 sky\n2 road\n1 void (ignore)\n")
    name = resolve_dataset(f"{entry}:{tmp_path}/classes.txt")
    dicts = DatasetCatalog.get(name)
    assert [x["image_id"] for x in dicts] == ["a/1", "a/2", "b"]
    for item in dicts:
        stem = os.path.splitext(item["file_name"])[0].replace("/images/", "/labels/")
        assert item["sem_seg_file_name"] == f"{stem}.png" and os.path.isfile(item["file_name"])
    meta = MetadataCatalog.get(name)
    assert (meta.stuff_classes, meta.label_values) == (["sky", "road"], [0, 2])
    assert set(meta.ignored_values) == {1, 255} and meta.evaluator_type == "sem_seg"
    # predictions are written with the values of the files
    assert meta.stuff_dataset_id_to_contiguous_id == {0: 0, 2: 1}
    labels = LabelReader(name)(dicts[0]["sem_seg_file_name"])
    assert labels.tolist() == [[0, 255], [1, 255]]


def test_without_class_names_the_values_found_are_the_classes(tmp_path):
    entry = make_pairs(tmp_path, "1.jpg", values=[[4, 4], [1, 255]])
    make_pairs(tmp_path, "2.jpg", values=[[255, 255], [255, 30]])
    meta = MetadataCatalog.get(resolve_dataset(entry))
    assert (meta.stuff_classes, meta.label_values) == (["1", "4", "30"], [1, 4, 30])
    empty = make_pairs(tmp_path / "empty", "1.jpg", values=[[255]])
    with pytest.raises(ValueError, match="no value except 255"):
        resolve_dataset(empty)


def test_the_values_found_are_kept_until_a_label_map_changes(tmp_path, monkeypatch):
    entry = make_pairs(tmp_path, "1.jpg", values=[[4, 4], [1, 255]])
    read = []
    monkeypatch.setattr(semantic, "read_label_map", lambda x: read.append(x) or read_label_map(x))

    def classes():
        DatasetCatalog.data.pop(entry, None)
        MetadataCatalog.data.pop(entry, None)
        return MetadataCatalog.get(resolve_dataset(entry)).stuff_classes

    assert [classes(), classes()] == [["1", "4"]] * 2 and len(read) == 1
    make_pairs(tmp_path, "1.jpg", values=[[4, 4, 8], [1, 255, 8]])
    assert classes() == ["1", "4", "8"] and len(read) == 2


def test_masks_of_0_and_255_are_two_classes_by_name(tmp_path):
    entry = make_pairs(tmp_path, "1.jpg", values=[[0, 255]])
    (tmp_path / "c.txt").write_text("0 ground\n255 cell\n")
    name = resolve_dataset(f"{entry}:{tmp_path}/c.txt")
    (item,) = DatasetCatalog.get(name)
    labels = LabelReader(name)(item["sem_seg_file_name"])
    assert labels.tolist() == [[0, 1]]


def test_paths_may_hold_colons(tmp_path):
    entry = make_pairs(tmp_path / "a:b", "1.jpg")
    (tmp_path / "a:b" / "c:d.txt").write_text("x\ny\nz\n")
    name = resolve_dataset(f"{entry}:{tmp_path}/a:b/c:d.txt")
    assert len(DatasetCatalog.get(name)) == 1
    assert MetadataCatalog.get(name).stuff_classes == ["x", "y", "z"]


def test_missing_labels_and_folders_are_named(tmp_path):
    entry = make_pairs(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "c.txt").write_text("x\ny\nz\n")
    (tmp_path / "labels" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"TRAIN: 'semseg:.*: 1 of 3 images have no"):
        resolve_dataset(entry)
    name = resolve_dataset(f"{entry}:{tmp_path}/c.txt", "DATASETS.TEST")
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.TEST: .*2\.jpg' would be .*2\.png'"):
        DatasetCatalog.get(name)
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.TRAIN: '.*/none'.*folder of the label"):
        resolve_dataset(f"semseg:{tmp_path}/images:{tmp_path}/none")
    with pytest.raises(FileNotFoundError, match=r"'.*/none' does not exist.* folder of images"):
        resolve_dataset(f"semseg:{tmp_path}/none:{tmp_path}/labels")
    with pytest.raises(FileNotFoundError, match=r"class names '.*/none\.txt' does not exist"):
        resolve_dataset(f"{entry}:{tmp_path}/none.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_class_names_in_any_encoding(tmp_path, encoding):
    (tmp_path / "c.txt").write_text("0 Grün\n5 Straße\n9 Auto\n", encoding=encoding)
    assert read_classes_file(tmp_path / "c.txt")[:2] == (["Grün", "Straße", "Auto"], [0, 5, 9])


def test_images_must_not_share_labels(tmp_path):
    entry = make_pairs(tmp_path, "1.jpg", "1.webp")
    with pytest.raises(ValueError, match="differ in their extensions only"):
        resolve_dataset(entry)


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("semseg:/images", "semseg:IMAGES:LABELS"),
        ("semsg:/a:/b", "Did you mean 'semseg:/a:/b'"),
        ("vocsegs:/a:val", "Did you mean 'vocseg:/a:val'"),
        ("vocseg:/root", "vocseg:ROOT:SPLIT"),
    ],
)
def test_forms_that_are_no_forms_get_a_hint(entry, hint):
    with pytest.raises(ValueError, match="DATASETS.TRAIN") as error:
        resolve_dataset(entry)
    assert hint in str(error.value)


# vocseg:ROOT:SPLIT[:LABELS]


def test_voc_splits(tmp_path):
    root = make_voc_labels(tmp_path / "voc", "val", ["2007_1", "2007_2"])
    name = resolve_dataset(f"vocseg:{root}:val")
    dicts = DatasetCatalog.get(name)
    assert [x["image_id"] for x in dicts] == ["2007_1", "2007_2"]
    assert dicts[0]["file_name"] == str(root / "JPEGImages" / "2007_1.jpg")
    assert MetadataCatalog.get(name).stuff_classes == ["background", *CLASS_NAMES]
    labels = LabelReader(name)(dicts[1]["sem_seg_file_name"])
    assert labels.tolist() == [[0, 20], [255, 3]]  # palette indices


def test_voc_train_aug_and_other_folders(tmp_path):
    root = make_voc_labels(tmp_path, "trainaug", ["1"], "SegmentationClassAug")
    listed = root / "ImageSets" / "Segmentation" / "trainaug.txt"
    listed.write_text("/JPEGImages/1.jpg /SegmentationClassAug/1.png\n")
    (item,) = DatasetCatalog.get(resolve_dataset(f"vocseg:{root}:trainaug"))
    assert item["sem_seg_file_name"] == str(root / "SegmentationClassAug" / "1.png")
    make_voc_labels(root, "trainaug", ["1"], "Mine")
    (item,) = DatasetCatalog.get(resolve_dataset(f"vocseg:{root}:trainaug:Mine"))
    assert item["sem_seg_file_name"] == str(root / "Mine" / "1.png")


def test_voc_with_own_classes(tmp_path):
    root = make_voc_labels(tmp_path, "train", ["1"])
    (root / "classes.txt").write_text("wren\nrobin\n")
    meta = MetadataCatalog.get(resolve_dataset(f"vocseg:{root}:train"))
    assert meta.stuff_classes == ["background", "wren", "robin"]


@pytest.mark.parametrize("first", ["background", "Background"])
def test_voc_background_may_be_the_first_class_listed(tmp_path, first):
    root = make_voc_labels(tmp_path, "train", ["1"])
    (root / "classes.txt").write_text(f"{first}\nwren\n")
    meta = MetadataCatalog.get(resolve_dataset(f"vocseg:{root}:train"))
    assert meta.stuff_classes == ["background", "wren"]
    (root / "classes.txt").write_text(f"robin\n{first}\n")
    with pytest.raises(ValueError, match="classes.txt' lists 'background' behind other classes"):
        resolve_dataset(f"vocseg:{root}:train:SegmentationClass")


def test_masks_of_0_and_255_are_asked_about(tmp_path):
    entry = make_pairs(tmp_path, "1.png", values=((0, 0), (255, 255)))
    with pytest.raises(ValueError, match="values 0 and 255 alone, and 255 means no label"):
        resolve_dataset(entry)
    (tmp_path / "classes.txt").write_text("0 background\n255 object\n")
    name = resolve_dataset(f"{entry}:{tmp_path}/classes.txt")
    assert MetadataCatalog.get(name).stuff_classes == ["background", "object"]
    (item,) = DatasetCatalog.get(name)
    assert LabelReader(name)(item["sem_seg_file_name"]).tolist() == [[0, 0], [1, 1]]


def test_voc_faults_are_named(tmp_path):
    root = make_voc_labels(tmp_path, "train", ["1", "2"])
    with pytest.raises(FileNotFoundError, match=r"Segmentation/val\.txt.*there: \['train'\]"):
        resolve_dataset(f"vocseg:{root}:val")
    with pytest.raises(FileNotFoundError, match="SegmentationClassAug"):
        resolve_dataset(f"vocseg:{root}:train:SegmentationClassAug")
    name = resolve_dataset(f"vocseg:{root}:train")
    (root / "SegmentationClass" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images have no label map"):
        DatasetCatalog.get(name)
    (root / "JPEGImages" / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*1\.jpg"):
        DatasetCatalog.get(name)


# Built-in names


def test_builtin_names_are_found_below_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in ("voc_2012_sem_seg_val", "cityscapes_sem_seg_train", "camvid_sem_seg_test"):
        with pytest.raises(FileNotFoundError, match=f"{name}.*DETECTRON2_DATASETS.*'semseg:"):
            DatasetCatalog.get(name)
    make_voc_labels(tmp_path / "VOC2012", "val", ["1"])
    make_voc_labels(tmp_path / "VOC2012", "trainaug", ["1", "2"], "SegmentationClassAug")
    make_image(tmp_path / "camvid" / "test" / "1.jpg", (3, 1))
    make_labels(tmp_path / "camvid" / "testannot" / "1.png", [[0, 10, 11]])
    assert len(DatasetCatalog.get("voc_2012_sem_seg_val")) == 1
    (_, item) = DatasetCatalog.get("voc_2012_sem_seg_trainaug")
    assert item["sem_seg_file_name"].endswith("VOC2012/SegmentationClassAug/2.png")
    (item,) = DatasetCatalog.get("camvid_sem_seg_test")
    labels = LabelReader("camvid_sem_seg_test")(item["sem_seg_file_name"])
    assert labels.tolist() == [[0, 10, 255]]
    register_builtin()  # a second time


def test_cityscapes_equals_detectron2s_loader(tmp_path, monkeypatch):
    """As downloaded: labelIds. detectron2 reads labelTrainIds, which cityscapesscripts makes."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    rng = np.random.default_rng(0)
    train_ids = np.full(34, 255)
    train_ids[list(CITYSCAPES_IDS)] = np.arange(19)
    images, labels = (tmp_path / "cityscapes" / x / "val" for x in ("leftImg8bit", "gtFine"))
    for city, frame in (("bonn", "bonn_0"), ("ulm", "ulm_1"), ("ulm", "ulm_2")):
        values = rng.integers(0, 34, (5, 6))
        make_image(images / city / f"{frame}_leftImg8bit.png", (6, 5))
        make_labels(labels / city / f"{frame}_gtFine_labelIds.png", values)
        make_labels(labels / city / f"{frame}_gtFine_labelTrainIds.png", train_ids[values])
        make_labels(labels / city / f"{frame}_gtFine_instanceIds.png", values * 0)
        (labels / city / f"{frame}_gtFine_polygons.json").write_text(
            json.dumps({"imgHeight": 5, "imgWidth": 6})
        )
    ours = DatasetCatalog.get("cityscapes_sem_seg_val")
    theirs = load_cityscapes_semantic(str(images), str(labels))
    assert {x["file_name"] for x in ours} == {x["file_name"] for x in theirs}
    paths = {x["file_name"]: x["sem_seg_file_name"] for x in theirs}
    read = LabelReader("cityscapes_sem_seg_val")
    read_theirs = LabelReader("cityscapes_fine_sem_seg_val")
    for item in ours:
        expected = read_theirs(paths[item["file_name"]])
        np.testing.assert_array_equal(read(item["sem_seg_file_name"]), expected)
        assert 255 in expected and expected.min() < 19
    (labels / "ulm" / "ulm_2_gtFine_labelIds.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"ulm_2_gtFine_labelIds\.png"):
        DatasetCatalog.get("cityscapes_sem_seg_val")


@pytest.mark.skipif(
    not os.path.isdir(f"{ROOT}/camvid") or not os.path.isdir(f"{ROOT}/VOC2012/SegmentationClass"),
    reason="DETECTRON2_DATASETS does not point at a folder with camvid/ and VOC2012/",
)
def test_real_data_can_be_read():
    folder = f"{ROOT}/camvid"
    entry = f"semseg:{folder}/train:{folder}/trainannot:{folder}/classes.txt"
    for name in (resolve_dataset(entry), "camvid_sem_seg_train", "voc_2012_sem_seg_trainval"):
        read = LabelReader(name)
        dicts = DatasetCatalog.get(name)
        assert len(dicts) > 300
        found = {y for x in dicts[::40] for y in np.unique(read(x["sem_seg_file_name"])).tolist()}
        assert 255 in found and len(found) > 8
        assert found - {255} <= set(range(len(MetadataCatalog.get(name).stuff_classes)))
    assert DatasetCatalog.get(entry) == DatasetCatalog.get("camvid_sem_seg_train")


# What a segmentor needs of them


def test_segmentors_are_distinguished_from_detectors():
    assert is_semantic(make_cfg(META_ARCHITECTURE="SemanticSegmentor"))
    for name in ("GeneralizedRCNN", "RetinaNet", "PanopticFPN"):
        assert not is_semantic(make_cfg(META_ARCHITECTURE=name))


def test_the_number_of_classes_is_that_of_the_label_maps(tmp_path):
    entry = resolve_dataset(make_pairs(tmp_path, "1.jpg"))
    cfg = make_cfg((entry,), META_ARCHITECTURE="SemanticSegmentor")
    with pytest.raises(ValueError, match=r"SEM_SEG_HEAD\.NUM_CLASSES is 54, but the data have 3"):
        resolve_labels(cfg, stated=["MODEL.SEM_SEG_HEAD.NUM_CLASSES"])
    resolve_labels(cfg)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 2
    with pytest.raises(ValueError, match=r"SEM_SEG_HEAD\.IGNORE_VALUE is 2, .*the 3 classes"):
        resolve_labels(cfg)


@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
def test_segmentors_need_label_maps(tmp_path, part):
    entry = resolve_dataset(make_coco(tmp_path))
    cfg = make_cfg(**{part.lower(): (entry,)}, META_ARCHITECTURE="SemanticSegmentor")
    with pytest.raises(ValueError, match=rf"DATASETS\.{part}: .* has no label maps.*'semseg:"):
        resolve_labels(cfg)
