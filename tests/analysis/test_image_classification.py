"""Images classified by fixed features: known answers, scikit-learn's, and PASCAL VOC's own AP."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from helpers import photo, tiny_config
from oracle_maps import OracleMaps

from dense_ssl.analysis.classifiers import logistic_regression
from dense_ssl.analysis.classify import Classify, held_out, parse_costs
from dense_ssl.analysis.fewshot import FewShot, draw_episodes, interval
from dense_ssl.analysis.image_classification import class_names, label_matrix
from dense_ssl.analysis.image_features import Level, choose_levels, extract
from dense_ssl.analysis.knn import NearestNeighbours
from dense_ssl.analysis.samples import Samples
from dense_ssl.analysis.svm import GOYAL, SVM, average_precision, fit_svm
from dense_ssl.prediction.models import FeatureMaps

pytest.importorskip("sklearn")
NAMES = ("blue", "green", "red")


def clusters(counts, features=6, seed=0, distance=4.0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(counts), features)) * distance
    labels = np.repeat(np.arange(len(counts)), counts)
    return (centres[labels] + rng.normal(size=(len(labels), features))).astype("f"), labels


def noise(count, classes, seed, features=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, features)).astype("f"), rng.integers(0, classes, count)


def one_of(labels):
    return 2 * np.eye(3, dtype=np.int8)[labels] - 1


def with_classes(analysis):
    analysis.classes, analysis.seed = list(NAMES), 0
    return analysis


SETS = [clusters((30, 20, 40)), clusters((9, 9, 9), seed=1)]
RANDOM = [noise(900, 3, 0), noise(1500, 3, 1)]


def test_separable_classes_score_100():
    (x, y), (test, truth) = SETS
    assert Classify().score(x, y, test, truth)["top1_accuracy"] == 100
    assert NearestNeighbours(neighbours="1,5").score(x, y, test, truth) == {"k1": 100, "k5": 100}
    found = with_classes(SVM(costs="0.1,1")).score(x, one_of(y), test, one_of(truth))
    assert found["mAP"] == pytest.approx(100) and list(found["classes"]) == list(NAMES)
    few = with_classes(FewShot(ways=3, queries=4, episodes=20)).score(x, y)
    assert (few["accuracy"], few["interval"]) == (100, 0)


def test_random_features_score_chance():
    (x, y), (test, truth) = RANDOM
    found = Classify(costs="0.01").score(x, y, test, truth)
    assert found["top1_accuracy"] == pytest.approx(100 / 3, abs=4)
    assert found["majority"] == pytest.approx(100 * np.bincount(truth).max() / 1500)
    assert NearestNeighbours(neighbours="20").score(x, y, test, truth)["k20"] == pytest.approx(
        100 / 3, abs=4
    )
    found = with_classes(SVM(costs="0.1")).score(x, one_of(y), test, one_of(truth))
    assert found["mAP"] == pytest.approx(100 / 3, abs=5)  # the share of positives
    few = with_classes(FewShot(ways=3, episodes=100)).score(x, y)
    assert few["accuracy"] == pytest.approx(100 / 3, abs=3) and 0 < few["interval"] < 3


def test_neighbours_are_those_of_sklearn_also_in_blocks(monkeypatch):
    from sklearn.neighbors import KNeighborsClassifier

    from dense_ssl.analysis import classifiers

    (x, y), (test, truth) = clusters((60, 20, 30), distance=0.4), clusters((40,) * 3, 6, 1, 0.4)
    expected = {}
    for k in (3, 15):
        model = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp(-d / 0.07))
        expected[f"k{k}"] = 100 * model.fit(x, y).score(test, truth)
    assert 40 < expected["k15"] < 95
    for block, queries in ((16384, 1024), (7, 11)):
        monkeypatch.setattr(classifiers, "_BLOCK", block)
        monkeypatch.setattr(classifiers, "_QUERIES", queries)
        found = NearestNeighbours(neighbours="15,3").score(x, y, test, truth)
        assert found == pytest.approx(expected)


def test_votes_weigh_the_images_and_not_the_classes():
    """Two classes at one place: the one with ten times the images wins every vote."""
    x, _ = noise(110, 2, 0)
    y = np.repeat([0, 1], [100, 10])
    found = NearestNeighbours(neighbours="110").score(x + 9, y, x[:50] + 9, np.zeros(50, int))
    assert found["k110"] == 100


def literal_ap(scores, positive):
    """VOC2007's devkit: the largest precision at a recall of at least 0, 0.1, ..., 1; its mean."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    points, hits = [], 0
    for rank, i in enumerate(order, start=1):
        hits += bool(positive[i])
        points.append((hits / sum(positive), hits / rank))
    best = [max((p for r, p in points if r >= t * 0.1), default=0) for t in range(11)]
    return sum(best) / 11


def test_average_precision_is_vocs():
    # ranks of the positives: 1, 3, 6; precisions 1, 2/3, 1/2
    scores, positive = np.array([6.0, 5, 4, 3, 2, 1]), np.array([1, 0, 1, 0, 0, 1], bool)
    assert average_precision(scores, positive) == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 0.5) / 11)
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, positive = rng.normal(size=37), rng.random(37) < 0.3
        positive[0] = True
        assert average_precision(scores, positive) == pytest.approx(literal_ap(scores, positive))


def test_the_svm_is_sklearns_with_the_best_cost():
    from sklearn.svm import LinearSVC

    x, y = clusters((20, 40), distance=0.6)
    labels = np.where(y == 0, 1, -1)
    model, cost = fit_svm(x, labels, [1e-7, 1.0])
    own = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, max_iter=2000, dual=True, random_state=0)
    assert np.array_equal(model.coef_, own.fit(x, labels).coef_)
    assert fit_svm(x[:5], np.array([1, -1, -1, -1, -1]), [0.1, 1, 10])[1] == 1  # no folds
    assert len(GOYAL) == 22 and SVM().costs == list(GOYAL)
    assert (min(GOYAL), max(GOYAL)) == (10**-7, 2**-4)


def test_images_that_do_not_count_are_left_out():
    (x, y), (test, truth) = SETS
    labels, wrong = one_of(y), one_of(truth)
    labels[:5, 0] = 0
    wrong[0] = (0, 1, 1)  # a blue one called all others, where blue does not count
    found = with_classes(SVM(costs="1")).score(x, labels, test, wrong)
    assert found["classes"]["blue"] == pytest.approx(100) and found["classes"]["red"] < 99
    wrong[:, 0] = -1
    found = with_classes(SVM(costs="1")).score(x, labels, test, wrong)
    assert "blue" not in found["classes"]


def test_labels_of_voc(tmp_path, restore_catalogs):
    objects = {"a": ("red", 0, "red", 1), "b": ("red", 1), "c": ("blue", 0, "green", 1), "d": ()}
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    for name, parts in objects.items():
        cv2.imwrite(str(tmp_path / f"JPEGImages/{name}.jpg"), np.zeros((8, 8, 3), np.uint8))
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
        text = "".join(f"<object><name>{n}</name><difficult>{d}</difficult>{box}</object>"
                       for n, d in zip(parts[::2], parts[1::2]))  # fmt: skip
        (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{text}</annotation>")
    (tmp_path / "ImageSets/Main/all.txt").write_text("\n".join(objects))
    samples = Samples(f"voc:{tmp_path}:all", 9, needs="labels")
    assert samples.metadata.thing_classes == list(NAMES)
    found = label_matrix(samples.items, samples.metadata)
    assert found.tolist() == [[-1, -1, 1], [-1, -1, 0], [1, 0, -1], [-1, -1, -1]]
    coco = MetadataCatalog.get("some_coco").set(thing_classes=list(NAMES), evaluator_type="coco")
    items = [{"annotations": [{"category_id": 1}, {"category_id": 2, "iscrowd": 1}]}]
    assert label_matrix(items, coco).tolist() == [[-1, 1, -1]]


def test_held_out_images_are_a_fifth_of_each_class():
    labels = np.repeat([0, 1, 2], [50, 10, 4])
    mask = held_out(labels)
    assert [mask[labels == c].sum() for c in range(3)] == [10, 2, 0]
    x, y = clusters((40, 40), distance=0.3)
    known, held = ((x[mask], y[mask]) for mask in (~held_out(y), held_out(y)))
    scores = {c: logistic_regression(*known, c).score(*held) for c in (1e-6, 1.0)}
    (test, truth) = clusters((9, 9), seed=1)
    found = Classify(costs="1e-6,1").score(x, y, test, truth)
    assert found["cost"] == max(scores, key=scores.get)


def test_costs_are_chosen_on_images_that_were_not_learned(monkeypatch):
    calls = []

    class Model:
        def __init__(self, cost):
            self.cost = cost

        def score(self, x, y):
            calls.append((len(x), self.cost))
            return {0.1: 0.5, 1.0: 0.9, 10.0: 0.7}[self.cost]

        def predict(self, x):
            return np.zeros(len(x), int)

    fits = []

    def fit(x, y, cost):
        fits.append({tuple(row) for row in x})
        return Model(cost)

    monkeypatch.setattr("dense_ssl.analysis.classify.logistic_regression", fit)
    (x, y), (test, truth) = clusters((20, 20)), clusters((9, 9), seed=1)
    assert Classify(costs="0.1,1,10").score(x, y, test, truth)["cost"] == 1
    assert calls == [(8, 0.1), (8, 1.0), (8, 10.0)]
    held = {tuple(row) for row in x[held_out(y)]}
    assert all(len(seen) == 32 and not seen & held for seen in fits[:3]) and len(fits[3]) == 40


def test_the_cost_of_each_svm_is_its_own(monkeypatch):
    seen = []

    def fit(features, labels, costs):
        seen.append((sorted(set(labels.tolist())), list(costs)))
        model, _ = fit_svm(features, labels, costs[-1:])
        return model, costs[-1]

    monkeypatch.setattr("dense_ssl.analysis.svm.fit_svm", fit)
    (x, y), (test, truth) = SETS
    found = with_classes(SVM(costs="0.1,1")).score(x, one_of(y), test, one_of(truth))
    assert seen == [([-1, 1], [0.1, 1.0])] * 3 and set(found["costs"].values()) == {1.0}


def test_episodes_are_apart_and_the_same_for_each_backbone():
    labels = np.repeat(np.arange(4), [30, 12, 8, 9])
    drawn = draw_episodes(labels, 3, 5, 3, 50, seed=1)
    for train, test in drawn:
        together = np.concatenate([train, test], axis=1)
        assert train.shape == (3, 5) and test.shape == (3, 3)
        assert len(np.unique(together)) == 24
        classes = labels[together]
        assert (classes == classes[:, :1]).all() and len(set(classes[:, 0])) == 3
    assert {labels[x[0, 0]] for x, _ in drawn} == {0, 1, 2, 3}
    again = draw_episodes(labels, 3, 5, 3, 50, seed=1)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(drawn, again))
    with pytest.raises(ValueError, match="1 of 4 classes have the 20 images"):
        draw_episodes(labels, 2, 5, 15, 1, seed=0)


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(50, 10, 400)
    mean, half = interval(values)
    assert mean == values.mean() and half == pytest.approx(1.96 * 10 / 20, rel=0.1)


def mean_colours(colours):
    return colours


class FixedCrops(OracleMaps):
    """An oracle whose images come without a size, as crops."""

    def __call__(self, images):
        return super().__call__(images, np.asarray(images[0]).shape[:2])


def test_features_are_averages_of_the_centre_crop(tmp_path, restore_catalogs):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            cv2.imwrite(str(tmp_path / f"{name}/{i}.png"), photo(rng, 80, 64))
    (tmp_path / "b" / "1.png").write_bytes(b"broken")
    samples = Samples(f"classes:{tmp_path}", 9, needs="class")
    maps = FixedCrops(mean_colours, stride=16, level="res4")
    assert [str(x) for x in choose_levels(maps, "")] == ["res4"]
    levels = choose_levels(maps, "res4, res4:2")
    assert levels == [Level("res4"), Level("res4", 2)]
    found, items = extract(maps, samples, levels, 56, tmp_path)
    assert [x["category_id"] for x in items] == [0, 0, 0, 1, 1]  # without the broken one
    image = cv2.imread(str(tmp_path / "a/0.png"))[:, :, ::-1]
    centre = cv2.resize(image, (80, 64))[4:60, 12:68]  # 64 pixels are 56 * 256 / 224
    assert found[levels[0]].shape == (5, 3) and found[levels[1]].shape == (5, 12)
    expected = centre[:48, :48].mean(axis=(0, 1)) / 255  # whole cells
    assert found[levels[0]][0] == pytest.approx(expected, abs=5e-3)
    for text, message in (("res9", "--levels is 'res9'"), ("res4:x", "the grid of 'res4:x'")):
        with pytest.raises(ValueError, match=message):
            choose_levels(maps, text)


def write_greys(folder, classes):
    """Grey images of 64 pixels: the values are 10 times their names."""
    for name, numbers in classes.items():
        (folder / name).mkdir(parents=True)
        for i in numbers:
            image = np.full((64, 64, 3), 10 * i, np.uint8)
            cv2.imwrite(str(folder / name / f"{i:02d}.png"), image)


def test_more_images_than_a_batch(tmp_path, restore_catalogs):
    write_greys(tmp_path, {"a": range(12), "b": range(12, 20)})
    samples = Samples(f"classes:{tmp_path}", 30, needs="class")
    maps = FixedCrops(mean_colours, stride=16, level="res4")
    (level,) = choose_levels(maps, "res4")
    found, items = extract(maps, samples, [level], 32, tmp_path)
    values = [10 * int(Path(x["file_name"]).stem) / 255 for x in items]
    assert found[level][:, 0] == pytest.approx(values, abs=1e-3) and len(set(values)) == 20


def test_nothing_that_can_be_read_is_an_error(tmp_path, restore_catalogs):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"broken")
    samples = Samples(f"classes:{tmp_path}", 9, needs="class")
    maps = FixedCrops(mean_colours, stride=16, level="res4")
    with pytest.raises(ValueError, match="no image of 'classes:.*' can be read"):
        extract(maps, samples, choose_levels(maps, ""), 32, tmp_path)


def test_the_network_keeps_no_hook(tmp_path, restore_catalogs):
    write_greys(tmp_path, {"a": [1], "b": [2]})
    cfg = tiny_config("BYOL", "unused", tmp_path)
    maps = FeatureMaps(build_model(cfg).backbone, cfg)
    extract(maps, Samples(f"classes:{tmp_path}", 1, needs="class"),
            choose_levels(maps, "stem"), 32, tmp_path)  # fmt: skip
    assert not maps.backbone.stem._forward_hooks


def test_other_classes_in_the_test_are_refused(tmp_path, restore_catalogs):
    write_greys(tmp_path / "one", {"a": [1], "b": [2]})
    write_greys(tmp_path / "two", {"a": [1], "c": [2]})
    train = Samples(f"classes:{tmp_path / 'one'}", 9, needs="class")
    analysis = with_classes(Classify(test=f"classes:{tmp_path / 'two'}"))
    analysis.classes = class_names(train.metadata)
    with pytest.raises(ValueError, match=r"classes \['a', 'b'\], but --test \['a', 'c'\]"):
        analysis._test_samples()


@pytest.mark.parametrize("kind, options, message", [
    (Classify, {"costs": "0"}, "--costs is '0'"), (SVM, {"costs": "many"}, "--costs is 'many'"),
    (NearestNeighbours, {"neighbours": "5,0"}, "--neighbours is"),
    (FewShot, {"ways": 1}, "--ways is 1"),
])  # fmt: skip
def test_wrong_options_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_costs_are_sorted():
    assert parse_costs("1,0.1") == [0.1, 1]
    assert torch.tensor(GOYAL).diff().min() > 0
