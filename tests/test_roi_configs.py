"""The configs of RoI linear evaluation: SCRL's protocol, and that each model learns."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, load_config, short_name

LARGE = sorted(CONFIGS.glob("finetune/*-RoIClassification/*.yaml"))
MINI = sorted(CONFIGS.glob("mini/finetune/*-RoIClassification/*.yaml"))
DATA = {"COCO": "coco_2017_train", "PascalVOC": "voc_2007_trainval"}


def test_every_data_set_has_both_networks():
    names = {f"{x}-RoIClassification/roi_linear_R_50_{y}" for x in DATA for y in ("C5", "FPN")}
    assert {short_name(x) for x in LARGE} == names
    assert {x.stem for x in MINI} == {"roi_linear_R_18_C5", "roi_linear_R_18_FPN"}


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_the_protocol_is_that_of_the_paper(path):
    cfg = load_config(path)
    solver = cfg.SOLVER
    assert (solver.EPOCHS, solver.WARMUP_EPOCHS) == (80, 5)
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.OPTIMIZER) == (512, 0.1, "SGD")
    assert (solver.LR_SCHEDULER_NAME, solver.BASE_LR_END) == ("LinearWarmupCosine", 0.0)
    assert (solver.MOMENTUM, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS) == (0.9, 0.0, None)
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST) == ((800,), 800)
    assert cfg.INPUT.RANDOM_FLIP == "horizontal" and not cfg.INPUT.CROP.ENABLED
    assert not cfg.TEST.PRECISE_BN.ENABLED and not cfg.MODEL.FREEZE_BACKBONE
    assert cfg.DATASETS.TRAIN[0] == DATA[path.parent.name.partition("-")[0]]
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.classifier.in_features == (2048 if "C5" in path.stem else 4 * 256)
    assert {k for k, x in model.named_parameters() if x.requires_grad} == {
        "classifier.weight", "classifier.bias"}  # fmt: skip


@pytest.mark.parametrize("path", MINI, ids=short_name)
def test_mini_models_learn(path):
    torch.manual_seed(0)
    model = build_model(load_config(path)).train()
    batch = []
    for seed in range(2):
        instances = Instances((64, 64))
        instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 30, 60], [20.0, 8, 60, 40]]))
        instances.gt_classes = torch.tensor([seed, 3])
        image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        batch.append({"image": image, "instances": instances})
    optimizer = torch.optim.SGD(model.classifier.parameters(), 0.003)  # of a small batch
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        with EventStorage():
            losses.append(model(batch)["loss_cls"])
        losses[-1].backward()
        optimizer.step()
    assert losses[2] < losses[0]
    assert [len(x["classes"]) for x in model.eval()(batch)] == [2, 2]
