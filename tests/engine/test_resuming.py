"""Keys that differ between a checkpoint and the run that goes on from it."""

import shutil
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from helpers import build_trainer, train

from dense_ssl.engine import train_step
from dense_ssl.engine.resuming import (
    changed_keys,
    check_changes,
    check_groups,
    check_length,
    digest_of,
    seed_of_run,
)
from dense_ssl.modeling import MemoryBank


def resumed(cfg):
    """A trainer that has loaded the last checkpoint."""
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer


def test_nothing_changed_is_nothing_said(pretrain_config, caplog):
    cfg = pretrain_config("BYOL")
    train(cfg, kill_at=4)
    same = pretrain_config("BYOL", "VIS_PERIOD", 7, "DATALOADER.NUM_WORKERS", 1)
    assert resumed(same).start_iter == 3
    assert "takes effect" not in caplog.text


def test_rate_and_decay_take_effect(pretrain_config, caplog):
    train(pretrain_config("BYOL"), kill_at=4)
    old = resumed(pretrain_config("BYOL"))
    keys = ("SOLVER.BASE_LR", old.cfg.SOLVER.BASE_LR / 4, "SOLVER.WEIGHT_DECAY", 0.125)
    new = resumed(pretrain_config("BYOL", *keys))
    for a, b in zip(old.optimizer.param_groups, new.optimizer.param_groups):
        assert b["lr"] == pytest.approx(a["lr"] / 4) and a["lr"] > 0
        assert b["weight_decay"] == (0.125 if a["weight_decay"] else 0)
    assert "SOLVER.BASE_LR is now" in caplog.text and "SOLVER.WEIGHT_DECAY is now" in caplog.text
    new.train()
    assert new.optimizer.param_groups[0]["lr"] == pytest.approx(new.scheduler.get_lr()[0])
    assert new.scheduler.base_lrs[0] == pytest.approx(old.scheduler.base_lrs[0] / 4)


def test_the_batch_keeps_the_position_in_images(pretrain_config):
    old = train(pretrain_config("BYOL", "SOLVER.CHECKPOINT_PERIOD", 4), kill_at=5)
    batch = old.cfg.SOLVER.IMS_PER_BATCH
    new = resumed(
        pretrain_config("BYOL", "SOLVER.IMS_PER_BATCH", batch // 2, "SOLVER.MAX_ITER", 12)
    )
    assert new.start_iter == 8 == new.scheduler.last_epoch
    sampler = iter(new.data_loader.batch_sampler)
    first = [position for position, _ in next(sampler)]
    assert first[0] == 4 * batch
    new.train()
    assert new.iter == 12


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_another_precision_takes_effect(pretrain_config, precision):
    train(pretrain_config("BYOL", "SOLVER.AMP.ENABLED", False), kill_at=4)
    keys = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", precision)
    new = resumed(pretrain_config("BYOL", *keys))
    new.train()
    assert new._trainer.precision == getattr(torch, precision)


@pytest.mark.parametrize("key, value", [
    ("SEED", 77),
    ("SOLVER.OPTIMIZER", "AdamW"),
    ("MODEL.BACKBONE.NAME", "build_mobilenetv2_backbone"),
])  # fmt: skip
def test_what_cannot_take_effect_is_refused(pretrain_config, key, value):
    train(pretrain_config("BYOL"), kill_at=4)
    saved = torch.load(f"{pretrain_config('BYOL').OUTPUT_DIR}/model_0000002.pth", weights_only=True)
    with pytest.raises(ValueError, match=f"{key}.*OUTPUT_DIR"):
        check_changes(saved["trainer"]["config"], pretrain_config("BYOL", key, value), "x.pth")


def test_another_method_is_refused(pretrain_config):
    train(pretrain_config("SCRL"), kill_at=4)
    with pytest.raises(ValueError, match="MODEL.META_ARCHITECTURE 'BYOL'.*'SCRL'"):
        resumed(pretrain_config("BYOL"))


def test_another_head_is_refused(pretrain_config):
    train(pretrain_config("BYOL"), kill_at=4)
    with pytest.raises(ValueError, match="complete model is needed"):
        resumed(pretrain_config("BYOL", "MODEL.BYOL.HIDDEN_DIM", 24))


def test_other_groups_of_the_optimizer_are_refused():
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
    saved = torch.optim.SGD([{"params": weights[:2]}, {"params": weights[2:]}], 0.1).state_dict()
    check_groups(saved, torch.optim.SGD([{"params": weights[1:]}, {"params": weights[:1]}], 0.1))
    with pytest.raises(ValueError, match="SOLVER.BIAS_LR_FACTOR"):
        check_groups(saved, torch.optim.SGD(weights, 0.1))


def test_another_queue_takes_effect(pretrain_config):
    train(pretrain_config("MoCoV2"), kill_at=4)
    size = pretrain_config("MoCoV2").MODEL.MOCO.QUEUE_SIZE // 2
    new = resumed(pretrain_config("MoCoV2", "MODEL.MOCO.QUEUE_SIZE", size))
    new.train()
    (bank,) = (x for x in new.model.modules() if isinstance(x, MemoryBank))
    assert len(bank) == size


def test_a_refused_length_leaves_the_config_of_the_run(pretrain_config):
    cfg = pretrain_config("BYOL")
    train(cfg)
    path = f"{cfg.OUTPUT_DIR}/config.yaml"
    with open(path, "w") as file:
        file.write(cfg.dump())
    with pytest.raises(ValueError, match="nothing is left to train"):
        resumed(pretrain_config("BYOL", "SOLVER.MAX_ITER", 2, "SOLVER.BASE_LR", 9.0))
    with open(path) as file:
        assert file.read() == cfg.dump()


def test_other_images_are_refused_and_moved_ones_are_not(pretrain_config, image_folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(image_folder, moved)
    train(pretrain_config("BYOL"), kill_at=4)
    assert resumed(pretrain_config("BYOL", "DATASETS.TRAIN", (f"folder:{moved}",))).start_iter == 3
    more = moved.rename(tmp_path / "more")
    first = sorted(more.iterdir())[0]
    shutil.copy(first, more / f"zzz{first.suffix}")
    with pytest.raises(ValueError, match="images.*DATASETS.TRAIN"):
        resumed(pretrain_config("BYOL", "DATASETS.TRAIN", (f"folder:{more}",)))


def test_a_complete_run_says_so(pretrain_config):
    cfg = pretrain_config("BYOL", "SOLVER.MAX_ITER", 2)
    train(cfg)
    with pytest.raises(ValueError, match="SOLVER.MAX_ITER is 2: nothing is left"):
        resumed(cfg)
    longer = resumed(pretrain_config("BYOL", "SOLVER.MAX_ITER", 3))
    assert longer.start_iter == 2
    with pytest.raises(ValueError, match="after iteration 2, and SOLVER.MAX_ITER is 1"):
        resumed(pretrain_config("BYOL", "SOLVER.MAX_ITER", 1))


@pytest.mark.parametrize("schedule", ["WarmupMultiStepLR", "WarmupStepWithFixedGammaLR"])
def test_a_run_beyond_its_length_says_so_with_every_schedule(pretrain_config, schedule):
    keys = ("SOLVER.LR_SCHEDULER_NAME", schedule, "SOLVER.STEPS", (1,))
    train(pretrain_config("BYOL", *keys, "SOLVER.MAX_ITER", 4))
    with pytest.raises(ValueError, match="after iteration 4, and SOLVER.MAX_ITER is 2"):
        resumed(pretrain_config("BYOL", *keys, "SOLVER.MAX_ITER", 2))


def test_a_folder_with_a_colon_can_be_resumed(pretrain_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = pretrain_config("BYOL", "OUTPUT_DIR", "SCRL:lr1")
    train(cfg, kill_at=4)
    assert resumed(cfg).start_iter == 3


def test_larger_batches_keep_their_checkpoints(pretrain_config):
    keys = ("SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.KEEP_CHECKPOINTS", 2)
    old = train(pretrain_config("BYOL", *keys, "SOLVER.MAX_ITER", 9), kill_at=8)
    batch = old.cfg.SOLVER.IMS_PER_BATCH
    new = resumed(pretrain_config("BYOL", *keys, "SOLVER.IMS_PER_BATCH", 2 * batch,
                                  "SOLVER.MAX_ITER", 7))  # fmt: skip
    start = new.start_iter
    new.train()
    found = sorted(x.name for x in Path(new.cfg.OUTPUT_DIR).glob("model_0*.pth"))
    assert start < 5 and found == ["model_0000005.pth", "model_0000006.pth"]


def test_a_run_killed_before_its_final_file_is_completed(pretrain_config, caplog):
    cfg = pretrain_config("BYOL")
    train(cfg)
    final = Path(cfg.OUTPUT_DIR, "model_final.pth")
    expected = torch.load(final, weights_only=True)
    final.unlink()
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000005.pth")
    new = resumed(pretrain_config("BYOL"))
    new.train()
    found = torch.load(final, weights_only=True)
    assert "stopped after its last step: writing model_final.pth" in caplog.text
    assert found["iteration"] == expected["iteration"]
    for key, x in expected["model"].items():
        assert torch.equal(x, found["model"][key]), key
    with pytest.raises(ValueError, match="nothing is left"):
        resumed(pretrain_config("BYOL"))


def test_a_complete_detector_is_evaluated(pretrain_config, caplog):
    cfg = pretrain_config("BYOL", "SOLVER.MAX_ITER", 2, "DATASETS.TEST", ("x",))
    check_length(2, cfg, can_evaluate=True)
    assert "is evaluated" in caplog.text


def test_the_number_of_processes_is_no_change(pretrain_config):
    one = pretrain_config("BYOL", "MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN")
    two = pretrain_config("BYOL", "MODEL.RESNETS.NORM", "naiveSyncBN",
                          "MODEL.SSL.HEAD_NORM", "SyncBN")  # fmt: skip
    assert changed_keys(one.dump(), two) == {}
    other = pretrain_config("BYOL", "MODEL.RESNETS.NORM", "GN", "MODEL.SSL.HEAD_NORM", "BN")
    assert changed_keys(one.dump(), other) == {"MODEL.RESNETS.NORM": ("BN", "GN")}


def test_the_digest_sees_names_and_order():
    dicts = [{"file_name": f"/a/{x}.jpg"} for x in "abc"]
    moved = [{"file_name": f"/b/{x}.jpg"} for x in "abc"]
    assert digest_of(dicts) == digest_of(moved) != digest_of(dicts[::-1]) != digest_of(dicts[:2])


def test_zero_gradients_end_the_run(pretrain_config, monkeypatch):
    monkeypatch.setattr(train_step, "_IDLE_STEPS", 3)
    trainer = build_trainer(pretrain_config("BYOL"))
    forward = trainer.model.forward
    trainer._trainer.model.forward = lambda x: {k: 0 * y for k, y in forward(x).items()}
    with pytest.raises(FloatingPointError, match="All gradients were zero in the first 3 steps"):
        trainer.train()


def test_old_checkpoints_are_deleted(pretrain_config):
    keys = ("SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.KEEP_CHECKPOINTS", 1, "SOLVER.KEEP_EVERY", 2)
    trainer = train(pretrain_config("BYOL", "SOLVER.MAX_ITER", 5, *keys))
    names = sorted(x.name for x in Path(trainer.cfg.OUTPUT_DIR).glob("model_*.pth"))
    assert names == ["model_0000001.pth", "model_0000003.pth", "model_0000004.pth",
                     "model_final.pth"]  # fmt: skip


def test_processes_that_see_different_folders_are_named(pretrain_config, monkeypatch):
    cfg = pretrain_config("BYOL")
    train(cfg)
    trainer = build_trainer(cfg)
    monkeypatch.setattr(comm, "all_gather", lambda x: [x, not x])
    with pytest.raises(ValueError, match="1 of 2 processes see a checkpoint.*OUTPUT_DIR"):
        trainer.resume_or_load(resume=True)


def test_a_drawn_seed_is_that_of_the_checkpoint(pretrain_config):
    cfg = pretrain_config("BYOL")
    train(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    assert not (folder / "config.yaml").exists() and seed_of_run(cfg) == cfg.SEED
    (folder / "config.yaml").write_text("SEED: 17")
    assert seed_of_run(cfg) == 17
    cfg.OUTPUT_DIR = str(folder / "nothing")
    assert seed_of_run(cfg) == -1
