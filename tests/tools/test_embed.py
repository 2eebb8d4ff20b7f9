"""tools/embed.py: features of images and boxes, and their neighbours."""

import json
import shutil

import cv2
import numpy as np
import pytest
from helpers import photo
from tool_helpers import load_tool, save_pretraining

from dense_ssl import load_backbone
from dense_ssl.analysis.embedding import Embedding, nearest, same_class_share


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_pretraining(tmp_path_factory.mktemp("runs") / "pre")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), photo(rng, 64, 64))
    return folder


def embed(*arguments):
    return load_tool("embed").main(["--side", "64", *map(str, arguments)])


def features(folder):
    return dict(np.load(folder / "features.npz", allow_pickle=False))


def test_an_image_has_the_mean_of_its_map(run, images, tmp_path, capsys):
    (images / "broken.png").write_bytes(b"no image")
    assert embed("--weights", run, "--input", images, "--output", tmp_path) == 3
    assert "1 of 4 files could not be read" in capsys.readouterr().out
    found = features(tmp_path)
    assert found["file_names"].tolist() == ["0.png", "1.png", "2.png"]
    assert found["level"] == "res5" and found["root"] == str(images)
    assert found["boxes"].tolist() == [[0, 0, 64, 64]] * 3
    assert found["classes"].tolist() == [-1] * 3
    model = load_backbone(run)
    with pytest.raises(ValueError, match="there is no image"):
        model([])
    maps = model([str(images / f"{i}.png") for i in range(3)])["res5"]
    expected = maps.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-5)


def test_the_backbone_pkl_gives_the_same(run, images, tmp_path):
    for name, weights in (("a", run), ("b", run / "backbone.pkl")):
        assert embed("--weights", weights, "--input", images, "--output", tmp_path / name) == 0
    a, b = features(tmp_path / "a"), features(tmp_path / "b")
    np.testing.assert_allclose(a["features"], b["features"], rtol=1e-5)


def test_boxes_of_a_json_and_of_an_entry(run, scenes, tmp_path, restore_catalogs, capsys):
    labels = scenes / "annotations" / "instances_train.json"
    copy = tmp_path / "labels.json"
    shutil.copy(labels, copy)
    assert embed("--weights", run, "--boxes", copy, "--input", scenes / "train",
                 "--output", tmp_path / "a", "--neighbours", 3) == 0  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    entry = f"coco:{labels}:{scenes / 'train'}"
    assert embed("--weights", run, "--boxes", entry, "--output", tmp_path / "b") == 0
    a, b = features(tmp_path / "a"), features(tmp_path / "b")
    data = json.loads(labels.read_text())
    counted = [x for x in data["annotations"] if not x["iscrowd"]]
    assert len(a["features"]) == len(counted) == len(a["boxes"])
    np.testing.assert_array_equal(a["features"], b["features"])
    names = {x["id"]: x["name"] for x in data["categories"]}
    by_number = [a["class_names"][i] for i in a["classes"]]
    assert sorted(by_number) == sorted(names[x["category_id"]] for x in counted)
    areas = (a["boxes"][:, 2:] - a["boxes"][:, :2]).prod(axis=1)
    assert sorted(areas) == pytest.approx(sorted(x["bbox"][2] * x["bbox"][3] for x in counted))
    picture = cv2.imread(str(tmp_path / "a" / "neighbours.png"))
    assert picture.shape[1] == 4 * 166 + 12
    shares = json.loads(printed[-1])
    assert 0 <= shares["nearest_has_same_class"] <= 100 and 0 < shares["by_chance"] < 100


def test_mistakes_have_a_message(run, images, tmp_path, capsys):
    output = ["--output", tmp_path / "o"]
    assert embed("--weights", run, "--input", images, *output, "--level", "p3") == 1
    assert "--level is 'p3', but the backbone gives" in capsys.readouterr().err
    assert embed("--weights", run, "--boxes", f"folder:{images}", *output) == 1
    assert "has no labelled boxes" in capsys.readouterr().err
    (tmp_path / "x.json").write_text("{}")
    assert embed("--weights", run, "--boxes", tmp_path / "x.json", *output) == 1
    assert "--input FOLDER" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        embed("--weights", run, *output)


def embedding():
    """Five objects in three images: two clusters."""
    vectors = [[1, 0], [0.9, 0.1], [0, 1], [0.1, 2], [3, 0.1]]
    names = ["a", "b", "a", "c", "a"]
    return Embedding(np.array(vectors, np.float32), np.array(names), np.zeros((5, 4)),
                     np.array([0, 0, 1, 1, 1]), np.array(["x", "y"]), "res5", "")  # fmt: skip


def test_neighbours_are_in_other_images():
    indices, cosines = nearest(embedding(), 2)
    assert indices.tolist()[0] == [1, 3] and indices.tolist()[2] == [3, 1]
    assert indices.tolist()[1] == [4, 0]  # the length of a vector does not count
    assert cosines[2, 0] == pytest.approx(2 / np.hypot(0.1, 2), rel=1e-5)
    assert nearest(embedding(), 9, [1])[0].tolist() == [[4, 0, 3, 2, -1]]


def test_share_of_neighbours_with_the_same_class():
    share, chance = same_class_share(embedding())
    # nearest: 0 -> 1 (same), 1 -> 4 (other), 2 -> 3 (same), 3 -> 2 (same), 4 -> 1 (other)
    assert share == pytest.approx(3 / 5)
    # pairs of other images: 0: b c; 1: a a a c; 2: b c; 3: a b a a; 4: b c
    assert chance == pytest.approx((1 + 1 + 1 + 2 + 1) / 14)
