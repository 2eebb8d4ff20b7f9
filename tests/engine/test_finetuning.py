"""Fine-tuning end to end on generated scenes: training, evaluation, resume, frozen backbones."""

import json
import os

import pytest
import torch
from detectron2.engine import HookBase
from helpers import DETECTOR, base_config, build_trainer, final_weights, train

from dense_ssl.data.finetune.loader import build_finetune_loader
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.scenes import SceneSpec, write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(), num_unlabeled=0, num_train=16, num_val=4)
    return folder


def build_config(scenes, output, *options):
    """A short float32 training of the small detector on small images."""
    cfg = base_config()
    cfg.merge_from_file(str(DETECTOR))
    names = {x: f"coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}" for x in ("train", "val")}  # noqa: E501  # fmt: skip
    cfg.merge_from_list([
        "DATASETS.TRAIN", (names["train"],), "DATASETS.TEST", (names["val"],),
        "OUTPUT_DIR", str(output), "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
        "INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MIN_SIZE_TEST", 96, "SOLVER.AMP.ENABLED", False,
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 3,
        "SOLVER.WARMUP_ITERS", 2, "SOLVER.STEPS", (), "TEST.PRECISE_BN.NUM_ITER", 2,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, *options,
    ])  # fmt: skip
    register_datasets(cfg)
    return cfg


@pytest.fixture
def config(scenes, tmp_path):
    """A function of yacs pairs that returns the config of a run in a folder of the test."""
    return lambda *options: build_config(scenes, tmp_path / "output", *options)


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """The trainer of an uninterrupted run."""
    return train(build_config(scenes, tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def first_loss(scenes, tmp_path_factory):
    """The loss of the first iteration in float32."""
    output = tmp_path_factory.mktemp("first")
    options = ("SOLVER.MAX_ITER", 1, "DATASETS.TEST", (), "TEST.PRECISE_BN.ENABLED", False)
    trainer = train(build_config(scenes, output, *options))
    return trainer.storage.history("total_loss").latest()


def test_trains_and_evaluates(whole):
    assert set(whole._last_eval_results) == {"bbox", "segm"}
    with open(os.path.join(whole.cfg.OUTPUT_DIR, "metrics.json")) as file:
        names = {key for line in file for key in json.loads(line)}
    assert {"bbox/AP", "segm/AP", "loss_mask", "total_loss"} <= names


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_trains_and_evaluates_in_mixed_precision(config, first_loss, precision):
    trainer = train(config("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", precision,
                           "SOLVER.MAX_ITER", 1))  # fmt: skip
    assert trainer.storage.history("total_loss").latest() == pytest.approx(first_loss, rel=0.02)
    assert all(x.dtype == torch.float32 for x in trainer.model.parameters())
    assert set(trainer._last_eval_results) == {"bbox", "segm"}


def assert_resume_equals(whole, cfg):
    train(cfg, kill_at=4)
    assert train(cfg, resume=True).start_iter == 3
    a, b = final_weights(whole.cfg.OUTPUT_DIR), final_weights(cfg.OUTPUT_DIR)
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_resume_equals_an_uninterrupted_run(whole, config):
    assert_resume_equals(whole, config())


def test_resume_without_grouping(config, tmp_path):
    options = ("DATALOADER.ASPECT_RATIO_GROUPING", False, "DATASETS.TEST", (),
               "TEST.PRECISE_BN.ENABLED", False)  # fmt: skip
    whole = train(config(*options, "OUTPUT_DIR", str(tmp_path / "whole")))
    assert_resume_equals(whole, config(*options))


def test_frozen_backbone_stays_and_the_rest_learns(config):
    cfg = config("MODEL.FREEZE_BACKBONE", True, "SOLVER.MAX_ITER", 3, "DATASETS.TEST", ())
    trainer = build_trainer(cfg)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    statistics = {}

    class Look(HookBase):
        def before_step(self):
            if not statistics:
                state = trainer.model.backbone.bottom_up.state_dict()
                statistics.update({k: v.clone() for k, v in state.items() if "running" in k})

    trainer.register_hooks([Look()])
    trainer.train()
    after = trainer.model.state_dict()
    for key in before:
        is_parameter = key.endswith(("weight", "bias"))
        if key.startswith("backbone.bottom_up.") and is_parameter:
            assert torch.equal(before[key], after[key]), key
    # its batch norm statistics were estimated before the first step, and stay from then on
    for key, value in statistics.items():
        assert torch.equal(value, after[f"backbone.bottom_up.{key}"]), key
        assert not torch.equal(value, before[f"backbone.bottom_up.{key}"]), key
    head = "backbone.fpn_output3.weight"
    assert not torch.equal(before[head], after[head])


def test_other_samplers_get_detectron2s_loader(config):
    options = ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "SOLVER.MAX_ITER", 2,
               "DATALOADER.REPEAT_THRESHOLD", 0.5, "DATASETS.TEST", ())  # fmt: skip
    assert train(config(*options)).iter == 2


@pytest.mark.parametrize("grouped", [True, False])
def test_their_batches_are_divided_too(config, grouped):
    cfg = config("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler",
                 "SOLVER.IMS_PER_BATCH", 4, "SOLVER.ACCUMULATE", 2,
                 "DATALOADER.ASPECT_RATIO_GROUPING", grouped)  # fmt: skip
    assert len(next(iter(build_finetune_loader(cfg, 0)))) == 2
    cfg.SOLVER.IMS_PER_BATCH = 5
    with pytest.raises(ValueError, match="must be a multiple of SOLVER.ACCUMULATE 2"):
        build_finetune_loader(cfg, 0)
