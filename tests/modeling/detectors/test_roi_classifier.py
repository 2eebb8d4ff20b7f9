"""RoI linear evaluation: features, batch norms, inputs, evaluator, and a whole run."""

import json
import os

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, load_config, train
from torch import nn
from torch.nn import functional as F

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.evaluation import check_best_metric
from dense_ssl.evaluation.roi_accuracy import RoIAccuracyEvaluator
from dense_ssl.modeling.detectors.roi_classifier import RoIClassifier
from dense_ssl.scenes import SceneSpec, write_scenes


class TwoLevels(nn.Module):
    """A convolution with batch norm at stride 4, and its means at stride 8."""

    size_divisibility = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 4, 4)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return {"fine": x, "coarse": F.avg_pool2d(x, 2)[:, :2]}

    def output_shape(self):
        return {"fine": ShapeSpec(channels=5, stride=4), "coarse": ShapeSpec(channels=2, stride=8)}


def build(resolution=1, in_features=("fine", "coarse")):
    torch.manual_seed(0)
    return RoIClassifier(
        backbone=TwoLevels(), in_features=in_features, num_classes=3, resolution=resolution,
        sampling_ratio=0, pixel_mean=[100.0] * 3, pixel_std=[50.0] * 3,
    )  # fmt: skip


def item(boxes, classes, seed=0, side=32):
    instances = Instances((side, side))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator)
    return {"image": image, "instances": instances}


BATCH = [item([[0, 0, 16, 32], [0, 16, 32, 32]], [0, 2]), item([], [], 1),
         item([[16, 16, 32, 32]], [1], 2)]  # fmt: skip


@pytest.mark.parametrize("resolution", [1, 2])
def test_features_are_the_means_of_the_cells_of_each_level(resolution):
    """Boxes on the grid of both maps: RoIAlign with adaptive samples is the mean of the cells."""
    model = build(resolution).eval()
    boxes = [x["instances"].gt_boxes.tensor for x in BATCH]
    found = model.pool(BATCH, boxes)
    images = torch.stack([x["image"] for x in BATCH])
    maps = model.backbone((images - 100.0) / 50.0)
    rows = []
    for i, own in enumerate(boxes):
        for x1, y1, x2, y2 in own.int().tolist():
            parts = [maps[k][i, :, y1 // s : y2 // s, x1 // s : x2 // s].mean(dim=(1, 2))
                     for k, s in (("fine", 4), ("coarse", 8))]  # fmt: skip
            rows.append(torch.cat(parts))
    assert torch.allclose(found, torch.stack(rows), atol=1e-5)


def test_training_uses_and_tracks_batch_statistics_without_a_gradient():
    model = build().train()
    model.backbone.norm.running_mean.fill_(1e3)  # of the weights
    model.restart_statistics()
    before = {k: x.clone() for k, x in model.backbone.named_parameters()}
    with EventStorage():
        loss = model(BATCH)["loss_cls"]
    loss.backward()
    images = torch.stack([x["image"] for x in BATCH])
    values = model.backbone.conv((images - 100.0) / 50.0)
    mean = values.mean(dim=(0, 2, 3))
    assert torch.allclose(model.backbone.norm.running_mean, 0.1 * mean, atol=1e-6)
    assert all(x.grad is None and torch.equal(x, before[k])
               for k, x in model.backbone.named_parameters())  # fmt: skip
    # features of the batch's statistics, not of the running ones
    with torch.no_grad():
        vectors = model.pool(BATCH, [x["instances"].gt_boxes.tensor for x in BATCH])
    expected = F.cross_entropy(model.classifier(vectors), torch.tensor([0, 2, 1]))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    statistics = model.backbone.norm.running_mean.clone()
    outputs = model.eval()(BATCH)
    assert [len(x["classes"]) for x in outputs] == [2, 0, 1]
    assert torch.equal(model.backbone.norm.running_mean, statistics)


def test_a_batch_without_boxes_keeps_the_graph():
    model = build().train()
    with EventStorage():
        loss = model([item([], []), item([], [])])["loss_cls"]
    loss.backward()
    assert loss == 0 and (model.classifier.weight.grad == 0).all()


def test_an_unknown_map_names_the_key():
    with pytest.raises(ValueError, match="MODEL.ROI_HEADS.IN_FEATURES is 'p9'"):
        build(in_features=("p9",))


def test_the_evaluator_counts_boxes_by_class(restore_catalogs):
    MetadataCatalog.get("roi_classes").set(thing_classes=["a", "b", "c", "d"])
    evaluator = RoIAccuracyEvaluator("roi_classes")
    inputs = [item([[0, 0, 1, 1]] * 4, [0, 0, 0, 1]), item([], []), item([[0, 0, 1, 1]], [3])]
    outputs = [{"classes": torch.tensor(x, dtype=torch.int64)} for x in ([0, 0, 2, 0], [], [3])]
    evaluator.process(inputs, outputs)
    found = evaluator.evaluate()["roi"]
    assert found == pytest.approx({"top1_accuracy": 60, "class_accuracy": 100 * (2 / 3 + 0 + 1) / 3,
                                   "acc-a": 200 / 3, "acc-b": 0, "acc-d": 100})  # fmt: skip
    evaluator.reset()
    with pytest.raises(ValueError, match="no box"):
        evaluator.evaluate()


def test_the_evaluator_counts_the_boxes_of_all_processes(restore_catalogs, monkeypatch):
    MetadataCatalog.get("roi_classes").set(thing_classes=["a", "b"])
    parts = []
    for found in (0, 1, 1, None):
        evaluator = RoIAccuracyEvaluator("roi_classes")
        if found is not None:
            outputs = [{"classes": torch.tensor([found])}]
            evaluator.process([item([[0, 0, 1, 1]], [1])], outputs)
        parts.append(evaluator._counts)
    monkeypatch.setattr(comm, "gather", lambda counts: parts)
    assert evaluator.evaluate()["roi"] == pytest.approx(
        {"top1_accuracy": 200 / 3, "class_accuracy": 200 / 3, "acc-b": 200 / 3}
    )


@pytest.fixture
def config(tmp_path, restore_catalogs):
    write_scenes(tmp_path, SceneSpec(), num_unlabeled=0, num_train=8, num_val=4)
    names = [f"coco:{tmp_path}/annotations/instances_{x}.json:{tmp_path}/{x}"
             for x in ("train", "val")]  # fmt: skip

    def build_config(*options):
        path = CONFIGS / "mini/finetune/COCO-RoIClassification/roi_linear_R_18_C5.yaml"
        cfg = load_config(path)
        cfg.merge_from_list(["DATASETS.TRAIN", names[0], "DATASETS.TEST", names[1],
                             "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64,
                             "MODEL.RESNETS.NORM", "BN", "SOLVER.EPOCHS", 0, "SOLVER.MAX_ITER", 4,
                             "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.WARMUP_ITERS", 1,
                             "SOLVER.IMS_PER_BATCH", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "SEED", 3,
                             "OUTPUT_DIR", str(tmp_path / "run"), *options])  # fmt: skip
        register_datasets(cfg)
        resolve_labels(cfg)
        return cfg

    return build_config


def weights(cfg):
    path = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    return torch.load(path, weights_only=True)["model"]


def test_a_run_scores_and_resumes(config, tmp_path):
    cfg = config("TEST.EVAL_PERIOD", 2, "TEST.BEST_METRIC", "roi/class_accuracy")
    check_best_metric(cfg)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == len(MetadataCatalog.get(cfg.DATASETS.TEST[0])
                                                  .thing_classes)  # fmt: skip
    trainer = train(cfg)
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
        last = [json.loads(x) for x in file][-1]
    assert 0 <= last["roi/top1_accuracy"] <= 100 and 0 <= last["roi/class_accuracy"] <= 100
    assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "model_best.pth"))
    norm = trainer.model.backbone.stem.conv1.norm
    assert norm.num_batches_tracked == 4  # since the start of the run, and not in evaluations
    whole = weights(cfg)
    broken = config("TEST.EVAL_PERIOD", 2, "OUTPUT_DIR", str(tmp_path / "broken"))
    train(broken, kill_at=3)
    train(broken, resume=True)
    again = weights(broken)
    assert all(torch.equal(x, again[k]) for k, x in whole.items())


def test_statistics_of_the_weights_are_forgotten_unless_frozen(config, tmp_path):
    first = train(config())
    cfg = config("MODEL.WEIGHTS", os.path.join(first.cfg.OUTPUT_DIR, "model_final.pth"),
                 "OUTPUT_DIR", str(tmp_path / "next"), "SOLVER.MAX_ITER", 1,
                 "SOLVER.BASE_LR", 1e-9)  # fmt: skip
    norm = train(cfg).model.backbone.stem.conv1.norm
    assert norm.num_batches_tracked == 1
    held = first.model.backbone.stem.conv1.norm.running_mean
    assert not torch.allclose(norm.running_mean, held, rtol=0.2)
    cfg.merge_from_list(["MODEL.FREEZE_BACKBONE", True, "MODEL.FROZEN_NORM_STATS", "keep",
                         "OUTPUT_DIR", str(tmp_path / "frozen")])  # fmt: skip
    norm = train(cfg).model.backbone.stem.conv1.norm
    assert torch.equal(norm.running_mean, held)


def loss_of_share(counts):
    """The gradient of the classifier from the process's share of some boxes."""
    model = build().eval()
    model.training = True  # features that do not depend on the batch
    boxes = [[[0, 0, 16, 32], [8, 8, 24, 16], [0, 8, 32, 24]][:n] for n in counts]
    batch = [item(b, [2, 1, 0][: len(b)], i) for i, b in enumerate(boxes)]
    own = batch[comm.get_rank() :: comm.get_world_size()]
    with EventStorage():
        model(own)["loss_cls"].backward()
    return model.classifier.weight.grad.numpy()


def test_boxes_of_all_processes_weigh_the_same(process_pool):
    shares = process_pool.run(loss_of_share, (3, 1))
    assert np.mean(shares, axis=0) == pytest.approx(loss_of_share((3, 1)), abs=1e-6)
