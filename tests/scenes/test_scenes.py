"""Tests of the procedural scenes: repeatable pixels, exact boxes and masks, a data set on disk."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from detectron2.data.datasets import load_coco_json
from PIL import Image
from pycocotools.coco import COCO

from dense_ssl import scenes
from dense_ssl.scenes import classes, dataset, placement, scene, shapes, textures
from dense_ssl.scenes.sprite import Pose, Sprite
from dense_ssl.scenes.stream import Stream

ROOT = Path(__file__).parents[2]
SMALL = scenes.SceneSpec(size=(48, 40), num_classes=4, max_objects=4, seed=3)
# Change it, and GENERATOR_VERSION with it, only when scenes are meant to look different.
DIGEST = "8de2eb11084e8ff106c90e5f743b6661eb90a5a2e5077a031a913e917538933a"


def digest(specs, indices):
    code = hashlib.sha256()
    for spec in specs:
        for index in indices:
            image, instances = scenes.draw_scene(spec, "train", index)
            code.update(image.tobytes())
            for instance in instances:
                code.update(repr((instance.category, instance.bbox)).encode())
                code.update(np.packbits(instance.mask).tobytes())
    return code.hexdigest()


def files(folder):
    """Bytes of all files below ``folder``, by relative path."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def grid(side, reach):
    """A Grid of side x side pixels over [-reach, reach] in both directions."""
    pixel = 2.0 * reach / side
    line = (np.arange(side, dtype=np.float32) + 0.5) * pixel - reach
    return shapes.Grid(np.broadcast_to(line, (side, side)), line[:, None], pixel)


class TestStream:
    def test_words_of_pcg64(self):
        stream = Stream(1, 2, 3)
        expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence((1, 2, 3))))
        assert stream.uniform(-1.0, 3.0) == -1.0 + 4.0 * expected.random()
        words = expected.integers(0, 2**64, 2, dtype=np.uint64)
        assert stream.octets(3, 5).tobytes() == words.astype("<u8").tobytes()[:15]

    def test_integer_includes_both_ends(self):
        stream = Stream(0)
        assert Counter(stream.integer(-1, 2) for _ in range(200)).keys() == {-1, 0, 1, 2}

    def test_shuffled_keeps_items(self):
        stream = Stream(0)
        orders = {tuple(stream.shuffled(range(3))) for _ in range(100)}
        assert len(orders) == 6 and all(sorted(order) == [0, 1, 2] for order in orders)


class TestShapes:
    def test_distances_at_single_points(self):
        point = shapes.Grid(np.float32([[3.0]]), np.float32([[4.0]]), 1.0)
        square = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
        assert shapes.disc(point, 0.0, 0.0, 2.0) == 3.0
        assert shapes.box(point, 0.0, 4.0, 1.0, 1.0) == 2.0
        assert shapes.segment(point, (-5.0, 0.0), (3.0, 0.0), 0.5) == 3.5
        assert shapes.polygon(point, square) == 3.0
        assert shapes.polygon(point._replace(x=np.float32([[0.0]]), y=0.0), square) == -1.0

    def test_area_of_antialiased_shapes(self):
        points = grid(64, 1.5)
        cell = points.pixel**2
        for shape, area in (
            (shapes.disc(points, 0.1, 0.0, 1.0), np.pi),
            (shapes.ellipse(points, 0.0, 0.0, 1.2, 0.6, 30.0), np.pi * 0.72),
            (shapes.box(points, 0.0, 0.1, 0.8, 0.5), 1.6),
        ):
            covered = shapes.coverage(shape, points.pixel).sum() * cell
            assert covered == pytest.approx(area, rel=0.01)

    @pytest.mark.parametrize("pattern", textures.PATTERNS)
    def test_textures_are_blends(self, pattern):
        values = pattern(grid(64, 1.0), 0.4)
        assert values.dtype == np.float32 and values.shape == (64, 64)
        assert 0.0 <= values.min() < 0.3 and 0.7 < values.max() <= 1.0

    def test_cloud_spans_its_range(self):
        noise = textures.cloud(Stream(5), (50, 30), 8.0, 3)
        assert noise.dtype == np.float32 and noise.shape == (30, 50)
        assert 0.0 <= noise.min() < 0.35 and 0.65 < noise.max() <= 1.0


class TestDrawScene:
    def test_pixels_are_pinned(self):
        everything = scenes.SceneSpec(size=(150, 100), num_classes=scenes.MAX_CLASSES, seed=2**31)
        assert digest([scenes.SceneSpec(), everything], range(8)) == DIGEST

    def test_same_twice_and_different_otherwise(self):
        image, instances = scenes.draw_scene(SMALL, "train", 7)
        again, repeated = scenes.draw_scene(SMALL, "train", 7)
        assert (image == again).all() and len(instances) == len(repeated)
        other_seed = scenes.SceneSpec(SMALL.size, SMALL.num_classes, SMALL.max_objects, seed=4)
        for other in ((SMALL, "train", 8), (SMALL, "val", 7), (other_seed, "train", 7)):
            assert (scenes.draw_scene(*other)[0] != image).mean() > 0.9

    @pytest.mark.parametrize("size", [(128, 128), (32, 32), (160, 48), (33, 90)])
    def test_masks_disjoint_and_boxes_tight(self, size):
        spec = scenes.SceneSpec(size=size, seed=11)
        for index in range(12):
            image, instances = scenes.draw_scene(spec, "val", index)
            assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8
            assert 1 <= len(instances) <= spec.max_objects
            assert sum(instance.mask.astype(int) for instance in instances).max() == 1
            for category, mask, (x, y, width, height) in instances:
                assert 0 <= category < spec.num_classes and mask.shape == image.shape[:2]
                inside = mask[y : y + height, x : x + width]
                assert inside.shape == (height, width) and inside.sum() == mask.sum()
                assert inside[0].any() and inside[-1].any()
                assert inside[:, 0].any() and inside[:, -1].any()

    def test_every_object_stays_visible(self):
        spec = scenes.SceneSpec(size=(48, 48), max_objects=12)
        hidden = 0
        for index in range(60):
            _, sprites, masks = scene.draw_objects(Stream(index), spec)
            for (sprite, _), mask in zip(sprites, masks):
                share = mask.sum() / sprite.mask().sum()
                assert share >= placement.MIN_VISIBLE
                hidden += share < 0.9
        assert hidden > 20  # occlusion does happen

    def test_classes_are_balanced(self):
        spec = scenes.SceneSpec(size=(32, 32))
        found = Counter()
        for index in range(300):
            found.update(instance.category for instance in scenes.draw_scene(spec, "val", index)[1])
        mean = sum(found.values()) / spec.num_classes
        assert len(found) == spec.num_classes
        assert all(0.75 * mean < count < 1.25 * mean for count in found.values())

    def test_scenes_vary(self):
        drawn = [scenes.draw_scene(scenes.SceneSpec(), "train", index) for index in range(30)]
        assert {len(instances) for _, instances in drawn} == {1, 2, 3, 4, 5}
        sides = [max(instance.bbox[2:]) for _, found in drawn for instance in found]
        assert min(sides) < 28 and max(sides) > 60
        brightness = [image.mean() for image, _ in drawn]
        assert max(brightness) - min(brightness) > 60

    def test_unknown_split(self):
        with pytest.raises(ValueError, match="unlabeled, train, val"):
            scenes.draw_scene(SMALL, "test", 0)


class TestObjects:
    @pytest.mark.parametrize("name", scenes.CLASS_NAMES)
    def test_fills_its_frame(self, name):
        for index in range(10):
            pose = Pose(40.0, 40.0, 30.0)
            sprite = scene.paint_thing(Stream(index), pose, classes.PAINTERS[name])
            x, y, width, height = placement.tight_box(sprite.mask())
            assert max(width, height) > 48  # the side of the pose is 60
            border = sprite.alpha.copy()
            border[1:-1, 1:-1] = 0
            assert border.max() < 0.5  # nothing is cut off by the window

    def test_colour_tells_no_class(self):
        means = []
        for painter in classes.PAINTERS.values():
            sprites = [
                scene.paint_thing(Stream(9, index), Pose(12.0, 12.0, 11.0), painter)
                for index in range(150)
            ]
            means.append(np.mean([x.colour[:, x.mask()].mean(axis=1) for x in sprites], axis=0))
        # The standard error of such a mean is about 4 of 255 levels.
        assert np.ptp(means, axis=0).max() < 25

    def test_mirrored_and_turned_poses(self):
        draw = classes.PAINTERS["cup"]
        plain, mirrored, turned = (
            scene.paint_thing(Stream(4), pose, draw).mask()
            for pose in (
                Pose(20.0, 20.0, 15.0),
                Pose(20.0, 20.0, 15.0, mirrored=True),
                Pose(20.0, 20.0, 15.0, degrees=90.0),
            )
        )
        assert (plain[:, ::-1] == mirrored).mean() > 0.995
        assert (np.rot90(plain, -1) == turned).mean() > 0.995

    def test_sprite_outside_of_the_image(self):
        sprite = Sprite(Pose(-50.0, 10.0, 8.0))
        sprite.paint(shapes.disc(sprite.grid, 0.0, 0.0, 1.0), np.float32(200.0))
        picture = np.ones((3, 20, 20), np.float32)
        sprite.lay(picture)
        sprite.cast_shadow(picture, (2, 2), 0.2, 0.5)
        assert (picture == 1.0).all() and not placement.image_mask(sprite, (20, 20)).any()


class TestPlacement:
    def test_cover(self):
        far, near = np.zeros((2, 2, 3), bool)
        far[:, :2], near[1] = True, True
        (left, front) = placement.cover([far], near)
        assert left.tolist() == [[True, True, False], [False, False, False]]
        assert (front == near).all() and far.sum() == 4  # the input is left alone
        assert placement.all_visible([left, front], [5, 3])
        assert not placement.all_visible([left, front], [6, 3])

    def test_tight_box(self):
        mask = np.zeros((5, 6), bool)
        mask[1, 2] = mask[3, 5] = True
        assert placement.tight_box(mask) == (2, 1, 4, 3)


class TestSceneSpec:
    @pytest.mark.parametrize(
        "name, value",
        [
            ("size", (31, 64)),
            ("size", (64, 31)),
            ("size", (64,)),
            ("num_classes", 0),
            ("num_classes", scenes.MAX_CLASSES + 1),
            ("max_objects", 0),
            ("seed", -1),
            ("seed", 2**32),
        ],
    )
    def test_bad_values(self, name, value):
        field = {"size": "size|width|height"}.get(name, name)
        with pytest.raises(ValueError, match=field):
            scenes.SceneSpec(**{name: value})

    def test_at_least_eight_classes(self):
        assert scenes.MAX_CLASSES == len(scenes.CLASS_NAMES) >= 8
        assert scenes.SceneSpec(num_classes=3).class_names == scenes.CLASS_NAMES[:3]


class TestWriteScenes:
    def test_coco_files(self, tmp_path):
        assert scenes.write_scenes(tmp_path, SMALL, 2, 5, 3)
        assert len(list((tmp_path / "unlabeled").iterdir())) == 2
        for split, count in (("train", 5), ("val", 3)):
            path = tmp_path / "annotations" / f"instances_{split}.json"
            coco = COCO(str(path))
            assert [entry["name"] for entry in coco.cats.values()] == list(SMALL.class_names)
            records = load_coco_json(str(path), str(tmp_path / split))
            assert len(records) == count == len(list((tmp_path / split).iterdir()))
            for index, record in enumerate(records):
                image, instances = scenes.draw_scene(SMALL, split, index)
                assert (np.asarray(Image.open(record["file_name"])) == image).all()
                assert (record["height"], record["width"]) == image.shape[:2]
                assert len(record["annotations"]) == len(instances)
                entries = coco.loadAnns(coco.getAnnIds(record["image_id"]))
                for entry, found, instance in zip(entries, record["annotations"], instances):
                    assert found["category_id"] == instance.category + 1
                    assert found["bbox"] == list(instance.bbox)
                    mask = pycocotools.mask.decode(found["segmentation"])
                    assert (mask == instance.mask).all() and entry["area"] == instance.mask.sum()

    def test_independent_of_the_number_of_processes(self, tmp_path):
        assert scenes.write_scenes(tmp_path / "one", SMALL, 20, 4, 1, processes=1)
        assert scenes.write_scenes(tmp_path / "two", SMALL, 20, 4, 1, processes=2)
        assert files(tmp_path / "one") == files(tmp_path / "two")

    def test_nothing_labelled(self, tmp_path):
        assert scenes.write_scenes(tmp_path, SMALL, 1, 0, 0)
        coco = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
        assert coco["images"] == coco["annotations"] == []
        assert load_coco_json(tmp_path / "annotations" / "instances_val.json", tmp_path) == []

    def test_second_run_does_nothing(self, tmp_path):
        assert scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert not scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    def test_other_parameters_are_refused(self, tmp_path):
        scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
        before = files(tmp_path)
        with pytest.raises(FileExistsError, match="num_val, seed differ"):
            scenes.write_scenes(tmp_path, scenes.SceneSpec(SMALL.size, 4, 4, seed=9), 1, 1, 2)
        assert files(tmp_path) == before

    def test_interrupted_run_starts_over(self, tmp_path, monkeypatch):
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

    def test_files_of_others_are_kept(self, tmp_path):
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "000000.png").write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="train has files"):
            scenes.write_scenes(tmp_path, SMALL, 1, 1, 1)
        assert files(tmp_path) == {"train/000000.png": b"mine"}

    def test_negative_count(self, tmp_path):
        with pytest.raises(ValueError, match="num_train"):
            scenes.write_scenes(tmp_path / "new", SMALL, 1, -1, 1)
        assert not (tmp_path / "new").exists()


class TestCommand:
    @pytest.fixture
    def tool(self):
        path = ROOT / "tools" / "generate_scenes.py"
        spec = importlib.util.spec_from_file_location("generate_scenes", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_writes_and_finds(self, tool, tmp_path, capsys):
        counts = "--num-unlabeled 2 --num-train 1 --num-val 0".split()
        looks = "--size 48x40 --classes 4 --max-objects 4 --seed 3".split()
        for said in ("wrote 3 scenes", "nothing to do"):
            tool.main(["--output", str(tmp_path), *counts, *looks])
            assert said in capsys.readouterr().out
        image = np.asarray(Image.open(tmp_path / "unlabeled" / "000001.png"))
        assert (image == scenes.draw_scene(SMALL, "unlabeled", 1)[0]).all()

    @pytest.mark.parametrize(
        "arguments, message",
        [(["--classes", "99"], "num_classes"), (["--size", "16"], "width"), (["--size", "x"], "2")],
    )
    def test_bad_arguments(self, tool, tmp_path, arguments, message):
        with pytest.raises(SystemExit, match=message):
            tool.main(["--output", str(tmp_path / "new"), *arguments])
        assert not (tmp_path / "new").exists()


def test_needs_neither_torch_nor_opencv():
    code = "import sys, scenes; print({'torch', 'cv2', 'detectron2'} & set(sys.modules))"
    folder = Path(scenes.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
