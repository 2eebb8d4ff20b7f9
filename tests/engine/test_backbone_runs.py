"""Every kind of backbone: pre-training by the methods, resume, precision; detectors, frozen too."""

import copy
import json

import pytest
import torch
from backbone_kinds import KINDS, last_map, options
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from helpers import (
    CONFIGS,
    DETECTOR,
    METHODS,
    base_config,
    batch_for,
    build_trainer,
    final_weights,
    random_batch,
    tiny_config,
    train,
)

from dense_ssl.config.machine import resolve_norms
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.engine.hooks import FreezeBackbone
from dense_ssl.engine.setup import check_finetuning, check_pretraining
from dense_ssl.modeling.detectors.freeze import freeze_parameters, frozen_modules, hold_frozen

# one kind of each of our builders
BUILDERS = [x for x in ("mobilenet", "deep_stem", "vit") if x in KINDS]


def pretrainer(kind, method, *more, pyramid=""):
    torch.manual_seed(0)
    cfg = tiny_config(method, "unused", "unused", *options(kind, pyramid), *more)
    check_pretraining(cfg)
    return build_model(cfg)


def step(model, method):
    losses = model(batch_for(method))
    sum(losses.values()).backward()
    assert losses and all(torch.isfinite(x) for x in losses.values())
    return losses


def learns(model):
    """Names of the backbone's parameters that got a gradient other than 0."""
    return {k for k, x in model.backbone.named_parameters() if x.grad is not None and x.grad.any()}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_pretrains_a_network_of_timm(method):
    model = pretrainer("mobilenet", method)
    step(model, method)
    first = next(iter(dict(model.backbone.named_parameters())))
    assert first in learns(model) and len(learns(model)) > 20
    assert not any(x.requires_grad for x in model.target_backbone.parameters())


@pytest.mark.parametrize("kind", [x for x in KINDS if x != "mobilenet"])
def test_every_kind_pretrains(kind):
    model = pretrainer(kind, "SCRL", "MODEL.SCRL.IN_FEATURE", last_map(kind))
    step(model, "SCRL")
    assert next(iter(dict(model.backbone.named_parameters()))) in learns(model)


@pytest.mark.parametrize("kind", [x for x in ("timm_swin", "vit") if x in KINDS])
def test_levels_of_a_pyramid_pretrain(kind):
    objectives = ("BYOLObjective", "SCRLObjective@p3", "SCRLObjective@p5")
    model = pretrainer(
        kind, "MultiObjective", "MODEL.SSL.OBJECTIVES", objectives,
        "MODEL.BYOL.IN_FEATURE", last_map(kind), pyramid="fpn",
    )  # fmt: skip
    assert set(step(model, "SCRL")) == {"loss_byol", "loss_scrl_p3", "loss_scrl_p5"}
    assert any("fpn_output3" in x or "simfp_3" in x for x in learns(model))


def test_resume_is_exact_with_stochastic_depth(pretrain_config, tmp_path):
    more = [*options("convnext", levels=["res5"]), "SOLVER.OPTIMIZER", "AdamW",
            "SOLVER.BASE_LR", 0.001, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 4,
            "SOLVER.CHECKPOINT_PERIOD", 2, "MODEL.TIMM.DROP_PATH", 0.3]  # fmt: skip
    whole = train(pretrain_config("BYOL", *more, "OUTPUT_DIR", str(tmp_path / "whole")))
    assert any(getattr(x, "drop_prob", 0) for x in whole.model.backbone.modules())
    broken = pretrain_config("BYOL", *more, "OUTPUT_DIR", str(tmp_path / "broken"))
    train(broken, kill_at=3)  # the last checkpoint is that of iteration 2
    assert train(broken, resume=True).start_iter == 2
    a, b = (final_weights(x) for x in (whole.cfg.OUTPUT_DIR, broken.OUTPUT_DIR))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind, tolerance", [
    ("timm_resnet", 0.05), ("convnext", 0.02), ("timm_swin", 0.02),
])  # fmt: skip
def test_bfloat16_and_channels_last_change_little(kind, tolerance):
    batch = random_batch(4)
    results = []
    for last, dtype in ((False, None), (True, None), (True, torch.bfloat16)):
        model = pretrainer(kind, "SCRL", "MODEL.CHANNELS_LAST", last, "MODEL.TIMM.DROP_PATH", 0.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            loss = model(copy.deepcopy(batch))["loss_scrl"]
        loss.backward()
        results.append(loss.item())
        assert all(x.grad.isfinite().all() for x in model.parameters() if x.grad is not None)
    assert results[1] == pytest.approx(results[0], rel=1e-3)
    assert results[2] == pytest.approx(results[0], rel=tolerance)


@pytest.mark.parametrize("kind, key", [
    ("mobilenet", "MODEL.TIMM.NORM"), ("resnext", "MODEL.RESNETS.NORM"),
])  # fmt: skip
def test_setup_knows_the_norm_of_the_backbone(kind, key):
    class Log:
        text = ""

        def info(self, text, *args):
            self.text = text % args

    others = {"MODEL.TIMM.NORM", "MODEL.RESNETS.NORM"} - {key}
    sync = [y for x in (key, *others) for y in (x, "SyncBN")]
    cfg = tiny_config("BYOL", "unused", "unused", *options(kind), *sync)
    log = Log()
    resolve_norms(cfg, log)
    assert key in log.text and not any(x in log.text for x in others)
    assert cfg.MODEL.TIMM.NORM == cfg.MODEL.RESNETS.NORM == "BN"
    cfg.merge_from_list([key, "FrozenBN"])
    with pytest.raises(ValueError, match=key):
        check_pretraining(cfg)
    with pytest.raises(ValueError, match=key):
        check_finetuning(cfg)
    cfg.merge_from_list([key, "BN", "MODEL.BACKBONE.FREEZE_AT", 2])
    with pytest.raises(ValueError, match="MODEL.BACKBONE.FREEZE_AT"):
        check_finetuning(cfg)
    cfg.MODEL.WEIGHTS = "backbone.pkl"
    check_finetuning(cfg)


# ---- detectors

CHEAP = [
    "MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.NORM", "BN", "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8,
]  # fmt: skip
MASK = "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN.yaml"
RETINANET = "COCO-Detection/retinanet_R_18_FPN.yaml"


def detector(config, *more):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "mini" / "finetune" / config))
    cfg.merge_from_list([*CHEAP, *more])
    torch.manual_seed(0)
    return build_model(cfg)


def labelled(count=2, height=64, width=96):
    batch = []
    for i in range(count):
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor([[8.0, 8, 40, 60], [50, 30, 90, 62]]))
        instances.gt_classes = torch.tensor([0, 3])
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, 8:60, 8:40] = masks[1, 30:62, 50:90] = True
        instances.gt_masks = BitMasks(masks)
        generator = torch.Generator().manual_seed(i)
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        batch.append({"image": image, "height": height, "width": width, "instances": instances})
    return batch


def trains_and_infers(model):
    with EventStorage():
        losses = model.train()(labelled())
    sum(losses.values()).backward()
    assert all(torch.isfinite(x) for x in losses.values())
    without = [k for k, x in model.named_parameters() if x.requires_grad and x.grad is None]
    assert not without  # several processes would stop at them
    with torch.no_grad():
        outputs = model.eval()(labelled(2, 65, 97))
    assert len(outputs) == 2 and outputs[0]["instances"].image_size == (65, 97)


@pytest.mark.parametrize("kind", KINDS)
def test_mask_rcnn_trains_and_infers(kind):
    trains_and_infers(detector(MASK, *options(kind, "fpn")))


@pytest.mark.parametrize("kind", BUILDERS)
def test_retinanet_trains_and_infers(kind):
    trains_and_infers(detector(RETINANET, *options(kind, "retinanet")))


@pytest.mark.parametrize("kind", [x for x in ("timm_swin", "vit") if x in KINDS])
def test_a_detector_on_a_single_map(kind):
    name = "last_feat" if kind == "vit" else "res4"
    model = detector(
        MASK, *options(kind, levels=["res4"]), "MODEL.RPN.IN_FEATURES", [name],
        "MODEL.ROI_HEADS.IN_FEATURES", [name], "MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32, 64]],
    )  # fmt: skip
    trains_and_infers(model)


@pytest.mark.parametrize("kind", [x for x in ("mobilenet", "timm_swin", "vit") if x in KINDS])
def test_a_frozen_backbone_is_still(kind):
    model = detector(MASK, *options(kind, "fpn"))
    freeze_parameters(model)
    hold_frozen(model.train())
    (network,) = frozen_modules(model)
    assert network is (model.backbone.net if kind == "vit" else model.backbone.bottom_up)
    images = torch.randn(2, 3, 64, 64)
    before = {k: x.clone() for k, x in network.state_dict().items()}
    a, b = network(images), network(images)
    for name in a:  # no stochastic depth, no statistics of the batch
        assert torch.equal(a[name], b[name])
    assert all(torch.equal(x, before[k]) for k, x in network.state_dict().items())
    assert not any(x.requires_grad for x in network.parameters())
    with EventStorage():
        sum(model(labelled()).values()).backward()
    pyramid = [x for k, x in model.backbone.named_parameters() if "fpn_" in k or "simfp_" in k]
    assert pyramid and all(x.grad is not None for x in pyramid)


def test_norms_of_a_frozen_network_are_estimated_without_stochastic_depth():
    statistics = []
    for seed in (1, 2):
        model = detector(MASK, *options("mobilenet", "fpn"), "MODEL.TIMM.DROP_PATH", 0.9).train()
        network = model.backbone.bottom_up
        at_first = [x.clone() for x in network.buffers()]
        freeze_parameters(model)
        hook = FreezeBackbone(model, "estimate", lambda: [labelled()], 1)
        hook.trainer = type("Started", (), {"start_iter": 0})
        torch.manual_seed(seed)
        with EventStorage():
            hook.before_train()
        statistics.append([x.clone() for x in network.buffers()])
        assert not any(torch.equal(*x) for x in zip(at_first, statistics[-1]))
    assert all(torch.equal(a, b) for a, b in zip(*statistics))


def test_fine_tuning_end_to_end_with_a_frozen_network_of_timm(scenes, tmp_path):
    cfg = base_config()
    cfg.merge_from_file(str(DETECTOR))
    names = {x: f"coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}"
             for x in ("train", "val")}  # fmt: skip
    cfg.merge_from_list([
        *options("mobilenet", "fpn"), "MODEL.FREEZE_BACKBONE", True, "DATASETS.TRAIN",
        (names["train"],), "DATASETS.TEST", (names["val"],), "OUTPUT_DIR", str(tmp_path),
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "SOLVER.STEPS",
        (), "TEST.PRECISE_BN.NUM_ITER", 1,
    ])  # fmt: skip
    register_datasets(cfg)
    trainer = build_trainer(cfg)
    before = {k: x.clone() for k, x in trainer.model.backbone.bottom_up.named_parameters()}
    trainer.train()
    for name, value in trainer.model.backbone.bottom_up.named_parameters():
        assert torch.equal(value, before[name])
    with open(tmp_path / "metrics.json") as file:
        assert any("bbox/AP" in json.loads(x) for x in file)
