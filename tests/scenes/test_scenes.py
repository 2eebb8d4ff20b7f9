"""Tests of the generated scenes: what their labels promise, and the data set on disk."""

import json
import pickle
from collections import Counter

import numpy as np
import pycocotools.mask
import pytest
from detectron2.data.datasets import load_coco_json
from PIL import Image
from pycocotools.coco import COCO
from tool_helpers import load_tool

from dense_ssl import scenes
from dense_ssl.scenes import dataset, objects, scene
from dense_ssl.scenes.sprite import Pose, lay, paint_sprite

SMALL = scenes.SceneSpec(size=(48, 40), num_classes=4, max_objects=4, seed=3)


def files(folder):
    """Bytes of all files below ``folder``, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def sprite(name, index, *pose):
    """Sprite of a class on a canvas of 80 x 80 pixels."""
    painter = objects.PAINTERS[scenes.CLASS_NAMES.index(name)]
    return paint_sprite(np.random.default_rng(index), painter, Pose(40.0, 40.0, *pose), (80, 80))


def test_a_scene_depends_on_seed_split_and_index_alone():
    image, instances = scenes.draw_scene(SMALL, "train", 7)
    scenes.draw_scene(SMALL, "val", 0)
    again, repeated = scenes.draw_scene(SMALL, "train", 7)
    assert (image == again).all() and len(instances) == len(repeated)
    assert all((a.mask == b.mask).all() for a, b in zip(instances, repeated))
    other_seed = scenes.SceneSpec(SMALL.size, SMALL.num_classes, SMALL.max_objects, seed=4)
    for other in ((SMALL, "train", 8), (SMALL, "val", 7), (other_seed, "train", 7)):
        assert (scenes.draw_scene(*other)[0] != image).mean() > 0.9
    with pytest.raises(ValueError, match="unlabeled, train, val"):
        scenes.draw_scene(SMALL, "test", 0)


@pytest.mark.parametrize("size", [(128, 128), (32, 32), (160, 48), (33, 90)])
def test_masks_are_disjoint_and_boxes_tight(size):
    spec = scenes.SceneSpec(size=size, seed=11)
    for index in range(10):
        image, instances = scenes.draw_scene(spec, "val", index)
        assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8
        assert 1 <= len(instances) <= spec.max_objects
        assert sum(instance.mask.astype(int) for instance in instances).max() == 1
        for category, mask, (x, y, width, height) in instances:
            assert 0 <= category < spec.num_classes and mask.shape == image.shape[:2]
            rows, columns = np.nonzero(mask)
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)


def test_masks_show_the_visible_part_of_each_object(monkeypatch):
    # Each object is laid as one flat grey of its own: its mask must be where that grey is seen.
    areas = []

    def lay_flat(picture, drawn, shadow):
        picture[(slice(None), *drawn.window)][:, drawn.alpha >= 0.5] = len(areas) + 1
        areas.append(np.count_nonzero(drawn.alpha >= 0.5))

    monkeypatch.setattr(scene, "lay", lay_flat)
    spec, shares = scenes.SceneSpec(size=(64, 64), max_objects=12), []
    for index in range(20):
        areas.clear()
        picture = np.zeros((3, 64, 64), np.float32)
        _, masks = scene.draw_objects(np.random.default_rng(index), spec, picture, None)
        assert len(masks) == len(areas)
        for level, mask in enumerate(masks, 1):
            assert (mask == (picture[0] == level)).all()
            shares.append(mask.sum() / areas[level - 1])
    assert min(shares) >= scene.MIN_VISIBLE
    assert sum(share < 0.9 for share in shares) > 10  # objects do hide parts of others


def test_laying_blends_by_coverage_and_darkens_by_shadow():
    cup = sprite("cup", 0, 20.0)
    picture = np.full((3, 80, 80), 100.0, np.float32)
    lay(picture, cup, (0.3, 0.5, 0.5, 0.0))
    part, alpha = picture[(slice(None), *cup.window)], cup.alpha
    assert np.allclose(part, 100.0 * (1.0 - alpha) + cup.colour, atol=1e-3)
    assert (picture[:, 0] == 100.0).all() and {0.0, 1.0} < set(alpha.ravel().tolist())
    lay(shaded := np.full_like(picture, 100.0), cup, (0.3, 0.5, 0.5, 0.5))
    ratio = shaded[(slice(None), *cup.window)][:, alpha == 0.0] / 100.0
    assert ratio.min() < 0.8 and ratio.max() == 1.0


def test_classes_are_balanced_and_scenes_vary():
    spec, found, counts, sides = scenes.SceneSpec(size=(32, 32)), Counter(), set(), []
    brightness = []
    for index in range(300):
        image, instances = scenes.draw_scene(spec, "val", index)
        found.update(instance.category for instance in instances)
        counts.add(len(instances))
        sides += [max(instance.bbox[2:]) for instance in instances]
        brightness.append(image.mean())
    mean = sum(found.values()) / spec.num_classes
    assert len(found) == spec.num_classes
    assert all(0.75 * mean < count < 1.25 * mean for count in found.values())
    assert counts == {1, 2, 3, 4, 5} and min(sides) < 7 and max(sides) > 15
    assert max(brightness) - min(brightness) > 80


@pytest.mark.parametrize("name", scenes.CLASS_NAMES)
def test_an_object_fills_its_frame(name):
    for index in range(5):
        drawn = sprite(name, index, 22.0)
        rows, columns = np.nonzero(drawn.alpha >= 0.5)
        assert 36 < max(np.ptp(rows), np.ptp(columns)) < 52  # its pose has a side of 44
        border = drawn.alpha.copy()
        border[1:-1, 1:-1] = 0
        assert border.max() == 0  # its window cuts nothing off


def test_colour_tells_no_class():
    means = []
    for name in scenes.CLASS_NAMES:
        drawn = [sprite(name, (9, index), 11.0) for index in range(100)]
        means.append(np.mean([x.colour[:, x.alpha == 1].mean(axis=1) for x in drawn], axis=0))
    # The standard error of such a mean is about 4 of 255 levels.
    assert np.ptp(means, axis=0).max() < 25


def test_poses_turn_and_mirror(monkeypatch):
    monkeypatch.setattr("dense_ssl.scenes.sprite.MAX_BEND", 0.0)
    plain, mirrored, turned = (
        sprite("cup", 4, 20.0, *pose).alpha for pose in ((), (0.0, -1.0), (90.0, 1.0))
    )
    assert np.abs(plain[:, ::-1] - mirrored).mean() < 0.01 < np.abs(plain - mirrored).mean()
    assert np.abs(np.rot90(plain, -1) - turned).mean() < 0.01 < np.abs(plain - turned).mean()


@pytest.mark.parametrize(
    "name, value",
    [("size", (31, 64)), ("size", (64, 31)), ("size", (64,)), ("num_classes", 0),
     ("num_classes", scenes.MAX_CLASSES + 1), ("max_objects", 0), ("seed", -1), ("seed", 2**32)],
)  # fmt: skip
def test_bad_parameters(name, value):
    with pytest.raises(ValueError, match="size|width|height" if name == "size" else name):
        scenes.SceneSpec(**{name: value})


def test_coco_files(tmp_path):
    assert scenes.write_scenes(tmp_path, SMALL, 2, 5, 0)
    assert len(list((tmp_path / "unlabeled").iterdir())) == 2
    path = tmp_path / "annotations" / "instances_train.json"
    coco = COCO(str(path))
    assert [x["name"] for x in coco.cats.values()] == ["ladybird", "fish", "house", "flower"]
    records = load_coco_json(str(path), str(tmp_path / "train"))
    assert len(records) == 5
    for index, record in enumerate(records):
        image, instances = scenes.draw_scene(SMALL, "train", index)
        assert (np.asarray(Image.open(record["file_name"])) == image).all()
        assert (record["height"], record["width"]) == image.shape[:2]
        entries = coco.loadAnns(coco.getAnnIds(record["image_id"]))
        assert len(record["annotations"]) == len(entries) == len(instances)
        for entry, found, instance in zip(entries, record["annotations"], instances):
            assert found["category_id"] == instance.category + 1
            assert found["bbox"] == list(instance.bbox)
            mask = pycocotools.mask.decode(found["segmentation"])
            assert (mask == instance.mask).all() and entry["area"] == instance.mask.sum()
    empty = json.loads((tmp_path / "annotations" / "instances_val.json").read_text())
    assert empty["images"] == empty["annotations"] == []


def test_files_do_not_depend_on_the_order_of_drawing(tmp_path, monkeypatch):
    assert scenes.write_scenes(tmp_path / "one", SMALL, 4, 3, 1, processes=1)

    def backwards(function, jobs, processes):
        function = pickle.loads(pickle.dumps(function))  # as another process receives it
        return [function(job) for job in jobs[::-1]][::-1]

    monkeypatch.setattr(dataset, "run", backwards)
    assert scenes.write_scenes(tmp_path / "two", SMALL, 4, 3, 1, processes=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_processes_keep_the_order():
    # The function is not of this package: importing torch twice more would take long.
    assert list(dataset.run(str, list(range(50)), processes=2)) == [str(x) for x in range(50)]


def test_finished_scenes_are_kept(tmp_path):
    assert scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
    with pytest.raises(FileExistsError, match="num_val, seed differ"):
        scenes.write_scenes(tmp_path, scenes.SceneSpec(SMALL.size, 4, 4, seed=9), 1, 1, 2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_run_starts_over(tmp_path, monkeypatch):
    save = dataset.save_scene

    def interrupted(output, spec, job):
        if job == ("train", 2):
            raise KeyboardInterrupt
        return save(output, spec, job)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dataset, "save_scene", interrupted)
        scenes.write_scenes(tmp_path / "broken", SMALL, 4, 3, 1)
    assert not (tmp_path / "broken" / "scenes.json").exists()
    # The second run asks for fewer images: the surplus of the first must go.
    assert scenes.write_scenes(tmp_path / "broken", SMALL, 2, 3, 1)
    assert scenes.write_scenes(tmp_path / "whole", SMALL, 2, 3, 1)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_bad_folders_and_counts_write_nothing(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "000000.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="train has files"):
        scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
    with pytest.raises(ValueError, match="num_train"):
        scenes.write_scenes(tmp_path / "new", SMALL, 1, -1, 1)
    assert files(tmp_path) == {"train/000000.png": b"mine"} and not (tmp_path / "new").exists()


def test_the_tool(tmp_path, capsys):
    tool = load_tool("generate_scenes")
    looks = "--size 48x40 --classes 4 --max-objects 4 --seed 3".split()
    for said in ("wrote 3 scenes", "nothing to do"):
        tool.main(["--output", str(tmp_path), *"--num-unlabeled 2 --num-train 1".split(), *looks,
                   "--num-val", "0"])  # fmt: skip
        assert said in capsys.readouterr().out
    image = np.asarray(Image.open(tmp_path / "unlabeled" / "000001.png"))
    assert (image == scenes.draw_scene(SMALL, "unlabeled", 1)[0]).all()
    for arguments, message in ((["--classes", "99"], "num_classes"), (["--size", "16"], "width")):
        assert tool.main(["--output", str(tmp_path / "new"), *arguments]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
