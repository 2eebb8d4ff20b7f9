"""The configs of image classification: protocols of the papers, and that the mini one learns."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, load_config

from dense_ssl.solver import build_lr_scheduler, build_optimizer, resolve_epochs

FOLDER = CONFIGS / "finetune" / "Image-Classification"
NINE_THOUSAND = {"stem": 9216, "res2": 9216, "res3": 8192, "res4": 9216, "res5_2": 8192,
                 "res5_all": 2048 * 49}  # fmt: skip
# batch, (share of the training: learning rate), weight decay, Nesterov, epochs, inputs of layers
PROTOCOLS = {
    "imagenet_moco_R_50": (256, {0: 30, 0.5: 30, 0.7: 3, 0.9: 0.3}, 0, False, 100, {"res5": 2048}),
    "imagenet_byol_R_50": (1024, {0: 0.4, 0.5: 0.2, 0.75: 0.0586}, 0, True, 80, {"res5": 2048}),
    "imagenet_levels_R_50": (256, {0: 0.01, 0.3: 0.01, 0.5: 1e-3, 0.7: 1e-4}, 1e-4, True, 90,
                             NINE_THOUSAND),
    "places205_levels_R_50": (256, {0.2: 0.01, 0.3: 1e-3, 0.6: 1e-4, 0.8: 1e-5}, 1e-4, True, 28,
                              NINE_THOUSAND),
    "places365_levels_R_50": (256, {0.2: 0.01, 0.3: 1e-3, 0.6: 1e-4, 0.8: 1e-5}, 1e-4, True, 56,
                              NINE_THOUSAND),
}  # fmt: skip


def test_every_config_is_known():
    assert {x.stem for x in FOLDER.glob("*.yaml")} == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_protocol_is_that_of_the_paper(name):
    batch, rates, decay, nesterov, epochs, inputs = PROTOCOLS[name]
    cfg = load_config(FOLDER / f"{name}.yaml")
    assert cfg.SOLVER.EPOCHS == epochs and cfg.SOLVER.IMS_PER_BATCH == batch
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST) == ((224,), 256)
    assert cfg.INPUT.CLASSIFY.CROP_AREA == (0.08, 1.0) and cfg.INPUT.RANDOM_FLIP == "horizontal"
    assert cfg.INPUT.CLASSIFY.INTERPOLATION == ("bicubic" if "byol" in name else "bilinear")
    assert cfg.MODEL.FREEZE_BACKBONE and cfg.MODEL.FROZEN_NORM_STATS == "keep"
    cfg.SOLVER.CHECKPOINT_EPOCHS = 0
    resolve_epochs(cfg, 10 * batch)  # 10 iterations an epoch
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.RESNETS.NORM = "BN"
    if cfg.MODEL.IMAGE_CLASSIFIER.NORM:
        cfg.MODEL.IMAGE_CLASSIFIER.NORM = "BN"
    with torch.device("meta"):
        model = build_model(cfg)
    assert {k: x.in_features for k, x in model.classifiers.items()} == inputs
    trained = {k for k, x in model.named_parameters() if x.requires_grad}
    assert trained == {f"classifiers.{k}.{x}" for k in inputs for x in ("weight", "bias")}
    norms = [x for x in model.norms.values() if not isinstance(x, torch.nn.Identity)]
    assert len(norms) == (5 if "levels" in name else 0)
    optimizer = build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"]) == (0.9, nesterov)
        assert group["weight_decay"] == decay
    scheduler = build_lr_scheduler(cfg, optimizer)
    found = {}
    for i in range(cfg.SOLVER.MAX_ITER):
        found[i] = optimizer.param_groups[0]["lr"]
        optimizer._opt_called = True
        scheduler.step()
    expected = {round(k * cfg.SOLVER.MAX_ITER): x for k, x in rates.items()}
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=2e-3)


def test_the_mini_model_learns():
    torch.manual_seed(0)
    path = CONFIGS / "mini/finetune/Image-Classification/linear_R_18.yaml"
    cfg = load_config(path)
    cfg.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.IMAGE_CLASSIFIER.NORM", "BN"])
    model = build_model(cfg).train()
    batch = [{"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8), "category_id": i}
             for i in range(3)]  # fmt: skip
    optimizer = torch.optim.SGD(model.classifiers.parameters(), 0.03)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        with EventStorage():
            losses.append(sum(model(batch).values()))
        losses[-1].backward()
        optimizer.step()
    assert losses[2] < losses[0]
    assert [set(x) for x in model.eval()(batch)] == [{"res3", "res4", "res5"}] * 3
