"""Regions that come with the data: boxes, masks, label files, and their place in the views."""

import cv2
import numpy as np
import pytest
import torch
from dataset_files import make_labels
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage
from helpers import base_config, tiny_config

from dense_ssl.data.tar_members import member_path
from dense_ssl.data.views.loader import build_pretrain_loader, pretrain_dataset_dicts
from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.data.views.region_sources import AnnotatedRegions, LabelFiles, build_region_source
from dense_ssl.scenes import SceneSpec, write_scenes

HEIGHT, WIDTH = 60, 80


def annotation(x1, y1, x2, y2, **more):
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "bbox_mode": BoxMode.XYWH_ABS, **more}


def labels(source, annotations, background=True):
    dataset_dict = {"file_name": "a.jpg", "annotations": annotations}
    return AnnotatedRegions(source, background)(dataset_dict, HEIGHT, WIDTH)


def test_a_small_box_lies_on_a_large_one():
    small, large = annotation(20, 20, 30, 30), annotation(10, 10, 60, 50)
    for order in ([small, large], [large, small]):
        got = labels("boxes", order)
        assert got[25, 25] == 2 and got[15, 15] == 1 and got[5, 5] == 0
        assert (got == 2).sum() == 100 and (got > 0).sum() == 50 * 40


def test_background_is_a_region_or_none():
    assert (labels("boxes", []) == 0).all()
    got = labels("boxes", [annotation(10, 10, 20, 20)], background=False)
    assert got[0, 0] == 255 and got[15, 15] == 1


def test_masks_as_polygons_and_run_lengths():
    polygon = annotation(10, 10, 30, 30, segmentation=[[10, 10, 30, 10, 10, 30]])
    got = labels("masks", [polygon])
    assert got[12, 12] == 1 and got[28, 28] == 0  # a triangle
    assert labels("boxes", [polygon])[28, 28] == 1
    # columns first: the first 5 columns are in
    counts = {"counts": [0, 5 * HEIGHT, (WIDTH - 5) * HEIGHT], "size": [HEIGHT, WIDTH]}
    got = labels("masks", [annotation(0, 0, 5, HEIGHT, segmentation=counts)])
    assert (got[:, :5] == 1).all() and (got[:, 5:] == 0).all()
    without = labels("masks", [annotation(10, 10, 30, 30)])  # no mask: its box
    assert (without == 1).sum() == 400


def test_label_files(tmp_path):
    label_map = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    label_map[:, 20:] = 9
    cv2.imwrite(str(tmp_path / "a.png"), label_map)
    got = LabelFiles(str(tmp_path))({"file_name": "/images/a.jpg"}, HEIGHT, WIDTH)
    assert got.shape == (HEIGHT, WIDTH) and set(np.unique(got)) == {0, 9} and got[0, 40] == 9
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((5, 5, 3), np.uint8))
    # a map in the image's folder comes before one without folder; one of another shape is refused
    (tmp_path / "x").mkdir()
    cv2.imwrite(str(tmp_path / "x" / "a.png"), np.full((HEIGHT, WIDTH), 3, np.uint8))
    assert (LabelFiles(str(tmp_path))({"file_name": "/images/x/a.jpg"}, HEIGHT, WIDTH) == 3).all()
    cv2.imwrite(str(tmp_path / "turned.png"), np.zeros((WIDTH, HEIGHT), np.uint8))
    with pytest.raises(ValueError, match="turned.png' has .* different shapes"):
        LabelFiles(str(tmp_path))({"file_name": "turned.jpg"}, HEIGHT, WIDTH)
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((HEIGHT, WIDTH), 256, np.uint16))
    for name in ("b", "deep", "missing"):
        with pytest.raises(ValueError, match=f"INPUT.REGIONS.FOLDER: .*{name}.png"):
            LabelFiles(str(tmp_path))({"file_name": name + ".jpg"}, HEIGHT, WIDTH)


def test_label_files_of_archives_are_found_by_the_names_there(tmp_path):
    for value, path in enumerate(["1.png", "a/1.png", "b/1.png"]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / path), np.full((4, 6), value, np.uint8))
    read = LabelFiles(str(tmp_path))
    for value, name in enumerate(["c/1.jpg", "a/1.jpg", "./b/1.jpg"]):
        path = member_path("/data/shard-0.tar", name, 512, 100)
        assert (read({"file_name": path}, 4, 6) == value).all()


def test_label_files_may_be_palette_images(tmp_path):
    values = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 7
    make_labels(tmp_path / "a.png", values, "P")
    got = LabelFiles(str(tmp_path))({"file_name": "a.jpg"}, HEIGHT, WIDTH)
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("options, error, message", [
    (("SOURCE", "slic"), ValueError, "INPUT.REGIONS.SOURCE"),
    (("SOURCE", "files", "FOLDER", "/nowhere"), FileNotFoundError, "INPUT.REGIONS.FOLDER"),
])  # fmt: skip
def test_wrong_options_name_their_key(options, error, message):
    node = base_config().INPUT.REGIONS
    node.merge_from_list(list(options))
    with pytest.raises(error, match=message):
        build_region_source(node)


def test_regions_of_the_views_lie_where_the_image_shows_them(tmp_path):
    """Three coloured stripes are the regions: what a view shows must be what its regions say."""
    label_map = np.repeat(np.array([0, 1, 2], np.uint8), 40)[None].repeat(90, axis=0)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    cv2.imwrite(str(tmp_path / "a.bmp"), colours[label_map][..., ::-1])
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / "a.png"), label_map)
    cfg = base_config(
        "INPUT.FORMAT", "RGB", "INPUT.VIEWS.SIZE", (64,), "INPUT.VIEWS.JITTER_PROB", (0.0,),
        "INPUT.VIEWS.GRAY_PROB", (0.0,), "INPUT.VIEWS.BLUR_PROB", (0.0,),
        "INPUT.VIEWS.SOLARIZE_PROB", (0.0,), "INPUT.REGIONS.SOURCE", "files",
        "INPUT.REGIONS.FOLDER", str(tmp_path / "labels"), "INPUT.REGIONS.RESOLUTION", 32,
    )  # fmt: skip
    mapper, agree, flips = MultiViewMapper(cfg), [], 0
    for seed in range(30):
        for view in mapper({"file_name": str(tmp_path / "a.bmp")}, seed)["views"]:
            assert view["regions"].shape == (32, 32) and view["regions"].dtype == torch.uint8
            shown = view["image"].argmax(dim=0)[1::2, 1::2]  # the pixel beside each cell's centre
            agree.append((shown == view["regions"]).float().mean().item())
            flips += view["affine"][0].item() < 0
    assert np.mean(agree) > 0.98 and min(agree) > 0.9 and 10 < flips < 50


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(), num_unlabeled=0, num_train=12, num_val=1)
    return folder


def scene_config(scenes, output, *options):
    cfg = tiny_config("PointRegionContrast", scenes / "train", output, *options)
    cfg.DATASETS.TRAIN = (f"coco:{scenes}/annotations/instances_train.json:{scenes}/train",)
    cfg.MODEL.MOCO.QUEUE_SIZE = 12
    return cfg


@pytest.mark.parametrize("source, level", [("boxes", "point"), ("masks", "region")])
def test_a_method_learns_from_annotated_regions(scenes, tmp_path, source, level):
    """The resolution of the regions is not that of the method's own grid."""
    options = ("INPUT.REGIONS.SOURCE", source, "MODEL.PLRC.LEVEL", level, "VIS_PERIOD", 1,
               "INPUT.REGIONS.RESOLUTION", 24)  # fmt: skip
    cfg = scene_config(scenes, tmp_path, *options)
    batch = next(iter(build_pretrain_loader(cfg, 0)))
    assert batch["views"][0]["regions"].shape == (8, 24, 24)
    with EventStorage():
        losses = build_model(cfg).train()(batch)
    assert losses["loss_point_contrast"] > 0
    losses["loss_point_contrast"].backward()


def test_annotations_are_read_for_regions_alone(scenes, tmp_path):
    cfg = scene_config(scenes, tmp_path)
    assert all("annotations" not in x for x in pretrain_dataset_dicts(cfg))
    cfg.INPUT.REGIONS.SOURCE = "boxes"
    assert all("annotations" in x for x in pretrain_dataset_dicts(cfg))
    cfg.DATASETS.TRAIN = (f"folder:{scenes}/train",)
    with pytest.raises(ValueError, match="INPUT.REGIONS.SOURCE"):
        pretrain_dataset_dicts(cfg)
