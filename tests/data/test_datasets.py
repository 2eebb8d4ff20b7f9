"""Dataset strings, image folders, COCO and VOC data of any origin."""

import json
import os

import pytest
from dense_ssl import add_dense_ssl_config
from dense_ssl.data.datasets import (
    check_num_classes,
    list_image_folder,
    register_datasets,
    resolve_dataset,
)
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets.pascal_voc import CLASS_NAMES, load_voc_instances
from PIL import Image

OBJECT = (
    "<object><name>{}</name>{}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)
ROOT = os.environ.get("DETECTRON2_DATASETS", "")


@pytest.fixture(autouse=True)
def _restore_catalogs():
    old = set(DatasetCatalog.list()), set(MetadataCatalog.list())
    yield
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), old):
        for name in set(catalog.list()) - names:
            catalog.remove(name)


def make_image(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def make_cfg(train=(), test=(), **model):
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = train, test
    for key, value in model.items():
        cfg.MODEL[key] = value
    return cfg


def make_coco(tmp_path, **changes):
    for i in (1, 2):
        make_image(tmp_path / "images" / f"{i}.jpg")
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80}
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (2, 1)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [{**annotation, "iscrowd": 0}],
        **changes,
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return f"coco:{path}:{tmp_path / 'images'}"


def make_voc(
    tmp_path, objects, split="train", size="<size><width>40</width><height>30</height></size>"
):
    root = tmp_path / "voc"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, items in objects.items():
        make_image(root / "JPEGImages" / f"{name}.jpg")
        body = "".join(OBJECT.format(*x) for x in items)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{body}</annotation>")
    (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(objects) + "\n\n")
    return root


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
        list_image_folder(str(tmp_path / "nowhere"))
    (tmp_path / "file.jpg").touch()
    with pytest.raises(NotADirectoryError, match=r"DATASETS\.TRAIN: .*file\.jpg.* is a file"):
        resolve_dataset(f"folder:{tmp_path / 'file.jpg'}")
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(ValueError, match="no files at all"):
        list_image_folder(str(folder))
    for name in ("1.npy", "2.NPY", "README"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"found 2 x \.npy, 1 without"):
        list_image_folder(str(folder))


# Strings


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
    with pytest.raises(ValueError, match=r"DATASETS\.TEST: 'x:y'"):
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
    with pytest.raises(FileNotFoundError, match="DETECTRON2_DATASETS"):
        DatasetCatalog.get("imagenet_train")
    make_image(tmp_path / "imagenet" / "train" / "n01" / "1.png")
    make_image(tmp_path / "coco" / "unlabeled2017" / "2.png")
    for name, file in (("imagenet_train", "1.png"), ("coco_2017_unlabeled", "2.png")):
        (image,) = DatasetCatalog.get(name)
        assert image["file_name"].endswith(file)


# COCO


def test_coco_metadata_are_there_before_the_data_are_read(tmp_path):
    name = resolve_dataset(make_coco(tmp_path))
    meta = MetadataCatalog.get(name)
    assert meta.thing_classes == ["cat", "dog"] and meta.evaluator_type == "coco"
    dicts = DatasetCatalog.get(name)
    assert [x["image_id"] for x in dicts] == [1, 2]
    assert dicts[0]["annotations"][0]["category_id"] == 0
    assert len(get_detection_dataset_dicts(name)) == 1  # the other image is empty


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": None},
        {"annotations": None, "categories": None},
        {"annotations": [{"id": 1, "image_id": 1, "caption": "A cat."}], "categories": None},
        {"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [], "annotations": []},
    ],
)
def test_coco_without_labels_serves_pretraining(tmp_path, changes):
    entry = make_coco(tmp_path, **changes)
    register_datasets(make_cfg((entry,)))
    dicts = DatasetCatalog.get(entry)
    assert os.path.isfile(dicts[0]["file_name"]) and dicts[0]["image_id"] == 1
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN: 'coco:.* has no labels"):
        check_num_classes(make_cfg((entry,)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', "no valid json"),
        ("[1, 2]", "list 'images'"),
        ('{"images": []}', "list 'images'"),
        ('{"images": [{"id": 1}]}', "'file_name'"),
        ('{"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [{"id": 1}]}', "'name'"),
    ],
)
def test_broken_coco_json_is_named(tmp_path, content, message):
    entry = make_coco(tmp_path)
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        resolve_dataset(entry, "DATASETS.TEST")
    assert "DATASETS.TEST" in str(error.value) and "a.json" in str(error.value)


def test_coco_paths_are_checked(tmp_path):
    entry = make_coco(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"annotation file .*b\.json"):
        resolve_dataset(entry.replace("a.json", "b.json"))
    with pytest.raises(FileNotFoundError, match="nowhere.*images in .*a.json"):
        resolve_dataset(entry.replace("/images", "/nowhere"))
    (tmp_path / "other").mkdir()
    wrong = resolve_dataset(entry.replace("/images", "/other"))
    with pytest.raises(FileNotFoundError, match="none of 2 images .*other/1.jpg"):
        DatasetCatalog.get(wrong)


def test_coco_faults_of_annotations_name_the_file(tmp_path):
    entry = make_coco(tmp_path, annotations=[{"id": 1, "image_id": 1, "category_id": 3}])
    with pytest.raises(ValueError, match=r"a\.json.*category_id=3"):
        DatasetCatalog.get(resolve_dataset(entry))


# VOC


def test_voc_equals_detectron2(tmp_path):
    root = make_voc(
        tmp_path, {"1": [("cat", "", 1, 2, 30, 20)], "2": [], "3": [("dog", "", 5, 5, 9, 9)]}
    )
    name = resolve_dataset(f"voc:{root}:train")
    assert DatasetCatalog.get(name) == load_voc_instances(str(root), "train", CLASS_NAMES)
    meta = MetadataCatalog.get(name)
    assert meta.evaluator_type == "pascal_voc" and meta.thing_classes == list(CLASS_NAMES)
    assert (meta.dirname, meta.split) == (str(root), "train")


@pytest.mark.parametrize(("suffix", "year"), [("", 2012), (":2012", 2012), (":2007", 2007)])
def test_voc_year_selects_the_metric(tmp_path, suffix, year):
    root = make_voc(tmp_path, {"1": []})
    assert MetadataCatalog.get(resolve_dataset(f"voc:{root}:train{suffix}")).year == year


def test_voc_with_own_classes_one_image_and_no_size(tmp_path):
    root = make_voc(tmp_path, {"1": [("robin", "", 1, 1, 20.5, 10)]}, size="")
    (root / "classes.txt").write_text("wren\nrobin\n\n")
    (root / "JPEGImages" / "1.jpg").rename(root / "JPEGImages" / "1.jpeg")
    name = resolve_dataset(f"voc:{root}:train")
    assert MetadataCatalog.get(name).thing_classes == ["wren", "robin"]
    (image,) = DatasetCatalog.get(name)
    assert (image["width"], image["height"]) == (40, 30)
    assert image["annotations"][0]["category_id"] == 1
    assert image["annotations"][0]["bbox"] == [0, 0, 20.5, 10]


def test_voc_layout_is_checked(tmp_path):
    root = make_voc(tmp_path, {"1": []})
    with pytest.raises(FileNotFoundError, match=r"val\.txt.*Splits there: \['train'\]"):
        resolve_dataset(f"voc:{root}:val")
    (root / "ImageSets/Main/none.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no images"):
        resolve_dataset(f"voc:{root}:none")
    (root / "classes.txt").write_text("a\na\n")
    with pytest.raises(ValueError, match="each class once"):
        resolve_dataset(f"voc:{root}:train")
    (root / "Annotations").rename(root / "annotations")
    with pytest.raises(FileNotFoundError, match="Annotations"):
        resolve_dataset(f"voc:{root}:train")
    with pytest.raises(FileNotFoundError, match="root of a VOC data set"):
        resolve_dataset(f"voc:{tmp_path}/x:train:2007")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", "no valid xml"),
        ("<a>" + OBJECT.format("unicorn", "", 1, 1, 2, 2) + "</a>", "'unicorn'.*classes.txt"),
        (
            "<a>" + OBJECT.format("cat", "", 1, "x", 2, 2) + "</a>",
            "object 1 .*'x' in <bndbox><ymin",
        ),
        ("<a><object><name>cat</name></object></a>", "object 1 .* no <bndbox><xmin>"),
        (None, "annotation file .* does not exist"),
    ],
)
def test_voc_annotation_faults_are_named(tmp_path, content, message):
    root = make_voc(tmp_path, {"1": []})
    path = root / "Annotations" / "1.xml"
    path.unlink() if content is None else path.write_text(content)
    name = resolve_dataset(f"voc:{root}:train")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        DatasetCatalog.get(name)
    assert "DATASETS.TRAIN" in str(error.value) and "1.xml" in str(error.value)


def test_voc_image_must_exist(tmp_path):
    root = make_voc(tmp_path, {"1": []})
    (root / "JPEGImages" / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*1\.jpg"):
        DatasetCatalog.get(resolve_dataset(f"voc:{root}:train"))


# Number of classes


@pytest.mark.parametrize(
    ("architecture", "key"), [("GeneralizedRCNN", "ROI_HEADS"), ("RetinaNet", "RETINANET")]
)
def test_number_of_classes_must_be_that_of_the_data(tmp_path, architecture, key):
    entry = resolve_dataset(make_coco(tmp_path))
    cfg = make_cfg((entry,), META_ARCHITECTURE=architecture)
    with pytest.raises(ValueError, match=rf"MODEL\.{key}\.NUM_CLASSES is 80, .* 2 classes"):
        check_num_classes(cfg)
    cfg.MODEL[key].NUM_CLASSES = 2
    check_num_classes(cfg)
    cfg.DATASETS.TEST = ("voc_2007_test",)
    with pytest.raises(ValueError, match=r"'voc_2007_test' of DATASETS\.TEST has 20 classes"):
        check_num_classes(cfg)


def test_number_of_classes_is_not_asked_of_other_models(tmp_path):
    entry = resolve_dataset(make_coco(tmp_path))
    check_num_classes(make_cfg((entry,), META_ARCHITECTURE="SemanticSegmentor"))
    check_num_classes(make_cfg(("coco_2017_train",), ("coco_2017_val",)))


def test_folders_cannot_train_detectors(tmp_path):
    entry = resolve_dataset(f"folder:{tmp_path}")
    with pytest.raises(ValueError, match="no GeneralizedRCNN can learn from it"):
        check_num_classes(make_cfg((entry,)))


# Real data


@pytest.mark.skipif(
    not os.path.isfile(f"{ROOT}/coco/annotations/instances_val2017.json"),
    reason="DETECTRON2_DATASETS does not point at a folder with coco/",
)
def test_real_coco_string_equals_the_builtin_name():
    name = resolve_dataset(
        f"coco:{ROOT}/coco/annotations/instances_val2017.json:{ROOT}/coco/val2017"
    )
    assert DatasetCatalog.get(name) == DatasetCatalog.get("coco_2017_val")
    classes = MetadataCatalog.get("coco_2017_val").thing_classes
    assert MetadataCatalog.get(name).thing_classes == classes


@pytest.mark.skipif(
    not os.path.isfile(f"{ROOT}/VOC2012/ImageSets/Main/trainval.txt"),
    reason="DETECTRON2_DATASETS does not point at a folder with VOC2012/",
)
def test_real_voc_string_equals_the_builtin_name():
    name = resolve_dataset(f"voc:{ROOT}/VOC2012:trainval")
    assert DatasetCatalog.get(name) == DatasetCatalog.get("voc_2012_trainval")
