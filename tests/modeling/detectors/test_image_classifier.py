"""Linear classification of images: features, inputs, evaluator, and a whole run."""

import json
import os

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, base_config, final_weights, load_config, train
from torch import nn
from torch.nn import functional as F

from dense_ssl.data.finetune.image_mapper import ImageMapper, centre_crop
from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.evaluation import check_best_metric, check_evaluators
from dense_ssl.evaluation.image_accuracy import ImageAccuracyEvaluator
from dense_ssl.modeling.detectors.frozen_features import FrozenFeatures, linear_layer
from dense_ssl.modeling.detectors.image_classifier import ImageClassifier, classifier_parts
from dense_ssl.utils.events import LOG_PERIOD


class Squares(nn.Module):
    """A convolution with batch norm at stride 4."""

    size_divisibility = 4

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 4, 4), nn.BatchNorm2d(5)

    def forward(self, x):
        return {"map": self.norm(self.conv(x))}

    def output_shape(self):
        return {"map": ShapeSpec(channels=5, stride=4)}


def build(grids=(1,), in_features=("map",), norm=""):
    torch.manual_seed(0)
    return ImageClassifier(
        backbone=Squares(), in_features=list(in_features), grids=grids, norm=norm, num_classes=3,
        side=32, pixel_mean=[100.0] * 3, pixel_std=[50.0] * 3,
    )  # fmt: skip


def batch(count=4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return [{"image": x, "category_id": i % 3} for i, x in enumerate(images)]


def test_maps_are_averaged_to_their_grids():
    model = build((1, 2, 0), ("map",) * 3).eval()
    features = model.maps(batch())["map"]
    images = torch.stack([x["image"] for x in batch()])
    assert torch.equal(features, model.backbone((images - 100.0) / 50.0)["map"])
    found = model.logits({"map": features})
    assert list(found) == ["map_1", "map_2", "map_all"]
    quarters = [features[:, :, i : i + 4, j : j + 4].mean(dim=(2, 3))
                for i in (0, 4) for j in (0, 4)]  # fmt: skip
    vectors = {"map_1": features.mean(dim=(2, 3)),
               "map_2": torch.stack(quarters, dim=2).flatten(1),
               "map_all": features.flatten(1)}  # fmt: skip
    for key, x in vectors.items():
        assert torch.allclose(found[key], model.classifiers[key](x), atol=1e-5)


def test_each_layer_learns_by_its_own_loss_and_nothing_else_does():
    model = build((1, 0), ("map",) * 2, norm="BN").train()
    model.norms["map_1"].running_mean.fill_(7.0)
    with EventStorage():
        losses = model(batch())
    losses["loss_map_1"].backward()
    trained = {k for k, x in model.named_parameters() if x.grad is not None}
    assert trained == {"classifiers.map_1.weight", "classifiers.map_1.bias"}
    vectors = F.batch_norm(F.adaptive_avg_pool2d(model.maps(batch())["map"], 1), None, None,
                           training=True)  # fmt: skip
    scores = model.classifiers["map_1"](vectors.flatten(1))
    truth = torch.tensor([0, 1, 2, 0])
    assert losses["loss_map_1"].item() == pytest.approx(F.cross_entropy(scores, truth).item(),
                                                        abs=1e-4)  # fmt: skip
    assert isinstance(model.norms["map_all"], nn.Identity)


def test_the_best_classes_are_given_and_the_accuracy_is_logged():
    model = build((1, 0), ("map",) * 2)
    for x in model.classifiers.values():
        nn.init.normal_(x.weight)
    logits = model.eval().logits(model.maps(batch()))
    outputs = model(batch())
    assert len(outputs) == 4
    for key, scores in logits.items():
        order = scores.argsort(dim=1, descending=True)
        assert torch.equal(torch.stack([x[key] for x in outputs]), order)
    with EventStorage(LOG_PERIOD - 1) as storage:
        model.train()(batch())
    logits, truth = model.logits(model.maps(batch())), torch.tensor([0, 1, 2, 0])
    shares = {k: (x.argmax(dim=1) == truth).float().mean().item() for k, x in logits.items()}
    assert {k: storage.latest()[f"{k}/accuracy"][0] for k in shares} == shares
    assert set(shares.values()) - {0.0, 1.0}


def test_layers_start_near_zero():
    layer = linear_layer(400, 50)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert layer.bias.abs().sum() == 0


def test_nothing_is_dropped():
    backbone = Squares()
    backbone.norm = nn.Sequential(backbone.norm, nn.Dropout(0.5))
    model = FrozenFeatures(backbone, [100.0] * 3, [50.0] * 3).train()
    assert torch.equal(model.maps(batch())["map"], model.maps(batch())["map"])


@pytest.mark.parametrize("features, grids, message", [
    (["a", "b"], (1, 2, 3), "GRIDS is"), (["a"], (-1,), "GRIDS is"), (["a", "a"], (1, 1), "twice"),
])  # fmt: skip
def test_wrong_grids_are_refused(features, grids, message):
    with pytest.raises(ValueError, match=message):
        classifier_parts(features, grids)


def test_an_unknown_map_names_the_key():
    with pytest.raises(ValueError, match="IMAGE_CLASSIFIER.IN_FEATURES is 'p9'"):
        build(in_features=("p9",))


def mapper(is_train, *options):
    pairs = ["MODEL.META_ARCHITECTURE", "ImageClassifier", "INPUT.FORMAT", "RGB",
             "INPUT.MIN_SIZE_TRAIN", (14,), "INPUT.MIN_SIZE_TEST", 16]  # fmt: skip
    return ImageMapper(base_config(*pairs, *options), is_train)


def test_the_test_crop_is_torchvisions():
    from PIL import Image
    from torchvision.transforms import CenterCrop, Resize

    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8), (96, 64))
    expected = CenterCrop(28)(Resize(32)(Image.fromarray(image)))
    found = centre_crop(image, 32, 28).astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 1
    wide = centre_crop(image, 32, 32).astype(int)
    assert np.abs(wide - np.asarray(CenterCrop(32)(Resize(32)(Image.fromarray(image))))).max() <= 1


@pytest.mark.parametrize("name, kind", [("bilinear", 2), ("bicubic", 3)])  # PIL's numbers
def test_the_interpolation_is_that_of_the_config(name, kind, tmp_path):
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "x.png")
    options = ("INPUT.CLASSIFY.INTERPOLATION", name, "INPUT.MIN_SIZE_TEST", 14)
    found = mapper(False, *options)({"file_name": str(tmp_path / "x.png"), "category_id": 0})
    expected = np.asarray(Image.fromarray(image).resize((14, 14), kind))
    assert np.array_equal(found["image"].permute(1, 2, 0).numpy(), expected)


def test_training_images_are_random_crops_and_flips(tmp_path):
    ramp = np.zeros((40, 80, 3), np.uint8)
    ramp[:, :, 0] = np.arange(80) * 3
    cv2.imwrite(str(tmp_path / "x.png"), ramp[:, :, ::-1])
    item = {"file_name": str(tmp_path / "x.png"), "category_id": 4}
    slopes, shares = [], []
    for seed in range(40):
        np.random.seed(seed)
        found = mapper(True)(item)
        assert found["image"].shape == (3, 14, 14) and found["category_id"] == 4
        row = found["image"][0, 7].int()
        slopes.append((row[-1] - row[0]).item())
        shares.append(abs(slopes[-1]) / 3 / 80)
    assert 10 < sum(x > 0 for x in slopes) < 30
    assert min(shares) < 0.25 and max(shares) > 0.5
    np.random.seed(0)
    same = mapper(True, "INPUT.CLASSIFY.CROP_AREA", (1.0, 1.0), "INPUT.RANDOM_FLIP", "none")
    assert len({same(item)["image"][0, 7, 0].item() for _ in range(8)}) == 1
    bgr = mapper(False, "INPUT.FORMAT", "BGR")(item)["image"]
    assert (bgr[2] > 0).any() and not (bgr[:2] > 0).any()


@pytest.mark.parametrize("pairs", [("INPUT.MIN_SIZE_TRAIN", (14, 20)), ("INPUT.MIN_SIZE_TEST", 8)])
def test_wrong_sizes_are_refused(pairs):
    with pytest.raises(ValueError, match="INPUT.MIN_SIZE_TRAIN is"):
        mapper(True, *pairs)


def test_the_evaluator_counts_images(restore_catalogs):
    MetadataCatalog.get("image_names").set(image_classes=list("abcdefg"))
    evaluator = ImageAccuracyEvaluator("image_names")
    best = torch.tensor
    truths = [0, 0, 1, 6]
    outputs = [best([0, 1, 2, 3, 4]), best([1, 2, 3, 4, 0]), best([2, 3, 4, 5, 6]),
               best([6, 1, 2, 3, 4])]  # fmt: skip
    evaluator.process([{"category_id": x} for x in truths], [{"res5": x} for x in outputs])
    expected = {"top1_accuracy": 50, "top5_accuracy": 75, "class_accuracy": 50}
    assert evaluator.evaluate() == {"image": pytest.approx(expected)}
    evaluator.reset()
    # by the class that an image has, not by the one that is found
    outputs = [best([x, 2, 3, 4, 5]) for x in (0, 0, 1, 1)]
    evaluator.process([{"category_id": x} for x in (0, 0, 0, 1)], [{"x": x} for x in outputs])
    found = evaluator.evaluate()["image"]
    assert found["top1_accuracy"] == 75 and found["class_accuracy"] == pytest.approx(250 / 3)
    evaluator.reset()
    evaluator.process([{"category_id": 3}], [{"a": best([3]), "b": best([2])}])
    found = evaluator.evaluate()
    assert (found["image_a"]["top1_accuracy"], found["image_b"]["top1_accuracy"]) == (100, 0)
    evaluator.reset()
    with pytest.raises(ValueError, match="no image"):
        evaluator.evaluate()


def test_the_evaluator_counts_the_images_of_all_processes(restore_catalogs, monkeypatch):
    MetadataCatalog.get("image_names").set(image_classes=list("ab"))
    parts = []
    for best in ([0, 1], [1, 0], None):  # the third process had no image
        evaluator = ImageAccuracyEvaluator("image_names")
        if best:
            evaluator.process([{"category_id": 0}], [{"x": torch.tensor(best)}])
        parts.append(evaluator._counts)
    monkeypatch.setattr(comm, "gather", lambda counts: parts)
    assert evaluator.evaluate()["image"]["top1_accuracy"] == 50


def write_colours(folder, count, names=("blue", "green", "red")):
    """Noise with a colour of its own for each class."""
    rng = np.random.default_rng(count)
    for channel, name in enumerate(names):
        os.makedirs(folder / name)
        for i in range(count):
            image = rng.integers(0, 100, (40, 48, 3), dtype=np.uint8)
            image[:, :, channel] += 150
            cv2.imwrite(str(folder / name / f"{i}.png"), image)
    return f"classes:{folder}"


@pytest.fixture
def config(tmp_path, restore_catalogs):
    names = write_colours(tmp_path / "train", 4), write_colours(tmp_path / "test", 2)

    def build_config(*options):
        cfg = load_config(CONFIGS / "mini/finetune/Image-Classification/linear_R_18.yaml")
        cfg.merge_from_list(["DATASETS.TRAIN", (names[0],), "DATASETS.TEST", (names[1],),
                             "INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 36,
                             "MODEL.RESNETS.NORM", "BN", "MODEL.IMAGE_CLASSIFIER.NORM", "BN",
                             "SOLVER.EPOCHS", 0, "SOLVER.MAX_ITER", 6, "TEST.EVAL_EPOCHS", 0,
                             "SOLVER.IMS_PER_BATCH", 6, "SOLVER.CHECKPOINT_PERIOD", 3, "SEED", 3,
                             "SOLVER.STEP_SHARES", (), "SOLVER.STEPS", (),
                             "TEST.PRECISE_BN.NUM_ITER", 2, "SOLVER.BASE_LR", 0.1,
                             "OUTPUT_DIR", str(tmp_path / "run"), *options])  # fmt: skip
        register_datasets(cfg)
        resolve_labels(cfg)
        check_evaluators(cfg)
        return cfg

    return build_config


def test_colours_are_found_by_a_frozen_backbone_and_runs_resume(config, tmp_path):
    cfg = config("TEST.EVAL_PERIOD", 3, "TEST.BEST_METRIC", "image_res3/top1_accuracy")
    check_best_metric(cfg)
    assert cfg.MODEL.IMAGE_CLASSIFIER.NUM_CLASSES == 3
    trainer = train(cfg)
    assert not trainer.model.backbone.stem.conv1.norm.training
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
        last = [json.loads(x) for x in file][-1]
    assert last["image_res3/top1_accuracy"] == 100
    assert set(last) >= {"image_res4/top5_accuracy", "image_res5/class_accuracy"}
    whole = final_weights(cfg.OUTPUT_DIR)
    broken = config("TEST.EVAL_PERIOD", 3, "OUTPUT_DIR", str(tmp_path / "broken"))
    train(broken, kill_at=4)
    train(broken, resume=True)
    again = final_weights(broken.OUTPUT_DIR)
    assert all(torch.equal(x, again[k]) for k, x in whole.items())


def test_labels_of_another_kind_are_refused(config, tmp_path):
    cfg = config()
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    with pytest.raises(ValueError, match="no other, reads 'classes:FOLDER'"):
        resolve_labels(cfg)
    cfg.MODEL.META_ARCHITECTURE = "ImageClassifier"
    cfg.DATASETS.TRAIN = ("coco_2017_train",)
    with pytest.raises(ValueError, match="does not have the labels that ImageClassifier needs"):
        resolve_labels(cfg)
    other = write_colours(tmp_path / "other", 1, ("blue", "green", "violet"))
    with pytest.raises(ValueError, match="number 2 is 'violet' against 'red'"):
        config("DATASETS.TEST", (other,))
