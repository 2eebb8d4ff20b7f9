"""What setup makes of a config on this machine, and how processes are started."""

import argparse
import logging
import os
import shutil
import sys
import types
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import yaml
from dataset_files import make_coco
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from helpers import CONFIGS, base_config, tiny_config

from dense_ssl.config import load_config
from dense_ssl.config.machine import resolve_norms
from dense_ssl.engine import train_step
from dense_ssl.engine.console import setup_console
from dense_ssl.engine.launch import _started_by_others
from dense_ssl.engine.resuming import seed_of_run, update_config_file
from dense_ssl.engine.run import _own_log
from dense_ssl.engine.setup import (
    check_evaluation,
    check_finetuning,
    check_pretraining,
    is_pretraining,
    setup,
)
from dense_ssl.engine.train_step import amp_dtype
from dense_ssl.utils import allocator

# dense_ssl.engine exports functions of the same names
LAUNCH = sys.modules["dense_ssl.engine.launch"]
SETUP = sys.modules["dense_ssl.engine.setup"]


def arguments(config, *options):
    return argparse.Namespace(
        config_file=str(CONFIGS / config),
        opts=[str(x) for x in options],
        eval_only=False,
        resume=False,
    )


@pytest.mark.parametrize("key, value", [
    ("MODEL.BACKBONE.FREEZE_AT", 2), ("MODEL.RESNETS.NORM", "FrozenBN"), ("INPUT.VIEWS.NUM", 0),
])  # fmt: skip
def test_pretraining_refuses_what_cannot_learn(key, value):
    check_pretraining(tiny_config("BYOL", "unused", "unused"))
    with pytest.raises(ValueError, match=key):
        check_pretraining(tiny_config("BYOL", "unused", "unused", key, value))


@pytest.mark.parametrize("key, value", [
    ("MODEL.BACKBONE.FREEZE_AT", 2), ("MODEL.RESNETS.NORM", "FrozenBN"),
])  # fmt: skip
def test_fine_tuning_from_scratch_refuses_what_cannot_learn(key, value):
    options = ["MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.RESNETS.NORM", "BN", key, value]
    with pytest.raises(ValueError, match=key):
        check_finetuning(base_config("MODEL.WEIGHTS", "", *options))
    check_finetuning(base_config("MODEL.WEIGHTS", "backbone.pkl", *options))


def test_an_evaluation_needs_a_detector_and_data():
    with pytest.raises(ValueError, match="'BYOL' pre-trains"):
        check_evaluation(base_config("MODEL.META_ARCHITECTURE", "BYOL"))
    with pytest.raises(ValueError, match="DATASETS.TEST is empty"):
        check_evaluation(base_config("MODEL.META_ARCHITECTURE", "RetinaNet"))
    check_evaluation(base_config("MODEL.META_ARCHITECTURE", "RetinaNet", "DATASETS.TEST", "('a',)"))


def test_augmentation_of_tests_is_not_ignored():
    with pytest.raises(ValueError, match="TEST.AUG.ENABLED"):
        check_finetuning(base_config("MODEL.WEIGHTS", "x.pkl", "TEST.AUG.ENABLED", True))


def test_which_configs_pretrain():
    for name, expected in (("BYOL", True), ("SCRL", True), ("MultiObjective", True),
                           ("GeneralizedRCNN", False), ("RetinaNet", False)):  # fmt: skip
        assert is_pretraining(base_config("MODEL.META_ARCHITECTURE", name)) == expected


@pytest.mark.usefixtures("restore_process")
def test_config_yaml_states_a_device_only_if_the_run_did(image_folder, tmp_path, monkeypatch):
    options = ("DATASETS.TRAIN", f"folder:{image_folder}", "SOLVER.IMS_PER_BATCH", 4)
    for folder, stated in (("detected", ()), ("stated", ("MODEL.DEVICE", "cpu"))):
        cfg = setup(arguments("mini/pretrain/byol_R_18.yaml", *options, *stated,
                              "OUTPUT_DIR", tmp_path / folder))  # fmt: skip
        assert cfg.MODEL.DEVICE == "cpu"
        text = (tmp_path / folder / "config.yaml").read_text()
        assert ("DEVICE: cpu" in text) == bool(stated)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        later = load_config(str(tmp_path / folder / "config.yaml"))
        assert later.MODEL.DEVICE == ("cpu" if stated else "cuda")
        assert later.SOLVER.MAX_ITER == cfg.SOLVER.MAX_ITER
        monkeypatch.undo()


@pytest.mark.usefixtures("restore_process", "restore_catalogs")
def test_a_detectors_epochs_are_those_of_its_labelled_images(scenes, tmp_path):
    train, val = (f"coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}" for x in ("train", "val"))  # noqa: E501  # fmt: skip
    cfg = setup(arguments(
        "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml", "DATASETS.TRAIN", train,
        "DATASETS.TEST", val, "OUTPUT_DIR", tmp_path, "SOLVER.EPOCHS", 5, "TEST.EVAL_EPOCHS", 1,
        "SOLVER.CHECKPOINT_EPOCHS", 2, "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler",
    ))  # fmt: skip
    assert cfg.DATASETS.TRAIN == (train,) and cfg.DATASETS.TEST == (val,)
    assert cfg.SOLVER.MAX_ITER == 5 * 12 // 4 and cfg.SOLVER.STEPS == (11,)  # 15 of 20
    assert cfg.SOLVER.CHECKPOINT_PERIOD == 6 and cfg.TEST.EVAL_PERIOD == 3
    with pytest.raises(ValueError, match="TEST.BEST_METRIC is 'segm/AP'"):
        setup(arguments(
            "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml", "DATASETS.TRAIN", train,
            "DATASETS.TEST", val, "OUTPUT_DIR", tmp_path, "TEST.EVAL_EPOCHS", 1,
            "TEST.BEST_METRIC", "segm/AP",
        ))  # fmt: skip


@pytest.mark.parametrize("processes, norm, batch, parts, refused", [
    (1, "BN", 1, 1, True), (1, "BN", 2, 1, False), (1, "BN", 8, 8, True), (1, "", 1, 1, False),
    (4, "BN", 4, 1, True), (4, "SyncBN", 4, 1, False),
])  # fmt: skip
def test_a_norm_that_sees_one_image_is_refused(monkeypatch, processes, norm, batch, parts, refused):
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    cfg = base_config("MODEL.SSL.HEAD_NORM", norm, "SOLVER.IMS_PER_BATCH", batch,
                      "SOLVER.ACCUMULATE", parts, "MODEL.BACKBONE.FREEZE_AT", 0,
                      "MODEL.RESNETS.NORM", "BN")  # fmt: skip
    with pytest.raises(ValueError, match="SOLVER.IMS_PER_BATCH") if refused else nullcontext():
        check_pretraining(cfg)


def test_precision_of_autocast(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert amp_dtype("bfloat16", cpu) == torch.bfloat16
    for has_bfloat16, expected in ((True, torch.bfloat16), (False, None)):  # never emulated
        monkeypatch.setattr(train_step, "_cpu_has_bfloat16", lambda x=has_bfloat16: x)
        assert amp_dtype("auto", cpu) == expected
    assert amp_dtype("float16", cpu) == torch.float16
    with pytest.raises(ValueError, match="SOLVER.AMP.PRECISION is 'half'"):
        amp_dtype("half", cpu)
    for has, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(train_step.torch.cuda, "is_bf16_supported", lambda has=has: has)
        assert amp_dtype("auto", gpu) == expected
        assert amp_dtype("float16", gpu) == torch.float16


def test_a_process_of_torchrun_is_recognised():
    env = {"LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    assert _started_by_others(env) == {"LOCAL_WORLD_SIZE": "2"}
    assert _started_by_others({}) is None


def test_a_task_of_slurm_is_recognised():
    env = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
           "SLURM_JOB_ID": "1234567"}  # fmt: skip
    assert _started_by_others({**env, "MASTER_ADDR": "node1"}) == {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "node1", "MASTER_PORT": "24567"}  # fmt: skip
    moved = _started_by_others({**env, "MASTER_ADDR": "node1", "MASTER_PORT": "4242"})
    assert moved["MASTER_PORT"] == "4242"
    assert _started_by_others({**env, "SLURM_NTASKS": "1", "MASTER_ADDR": "node1"}) is None
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_ID": "0"}
    found = _started_by_others({**env, **step, "SLURM_PROCID": "0"})
    assert found["WORLD_SIZE"] == found["LOCAL_WORLD_SIZE"] == "2"
    assert found["MASTER_ADDR"] == "127.0.0.1"


def test_a_batch_script_of_slurm_is_no_task():
    env = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    assert _started_by_others({**env, "MASTER_ADDR": "node1"}) is None
    shell = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "0"}  # srun --pty bash in it
    assert _started_by_others({**env, **shell}) is None


def test_tasks_on_two_machines_must_know_where_to_meet(tmp_path, monkeypatch):
    env = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
           "SLURM_JOB_NODELIST": "gnode[10,20]"}  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="MASTER_ADDR"):
        _started_by_others(env)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\n[ \"$3\" = 'gnode[10,20]' ] && printf 'gnode10\\ngnode20\\n'\n")
    scontrol.chmod(0o755)
    assert _started_by_others(env)["MASTER_ADDR"] == "gnode10"


def test_launch_joins_or_starts(monkeypatch):
    calls = []
    monkeypatch.setattr(LAUNCH, "launch_d2", lambda *args, **kwargs: calls.append(kwargs))
    monkeypatch.setattr(LAUNCH, "_join", lambda main, args: calls.append("joined"))
    args = argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto")
    monkeypatch.setattr(LAUNCH.os, "environ", {})
    LAUNCH.launch(print, args)
    assert calls == [
        {"num_machines": 1, "machine_rank": 0, "dist_url": "auto", "args": (print, args)}
    ]
    monkeypatch.setattr(LAUNCH.os, "environ", {"LOCAL_RANK": "0", "WORLD_SIZE": "2"})
    LAUNCH.launch(print, args)
    assert calls[1:] == ["joined"]
    assert LAUNCH.os.environ["LOCAL_WORLD_SIZE"] == "1"


@pytest.mark.parametrize("system, libc", [("Darwin", ""), ("Windows", ""), ("Linux", "musl")])
def test_only_glibc_is_tuned(monkeypatch, system, libc):
    def refuse(*args):
        raise AssertionError("the C library was touched")

    monkeypatch.setattr(allocator.platform, "system", lambda: system)
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", refuse)
    assert allocator.tune_allocator() is False


def test_glibc_is_asked_to_keep_its_memory(monkeypatch):
    calls = []
    libc = types.SimpleNamespace(mallopt=lambda key, value: calls.append((key, value)) or 1)
    monkeypatch.setattr(allocator.platform, "system", lambda: "Linux")
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: libc)
    assert allocator.tune_allocator() is True
    assert {key for key, _ in calls} == {-1, -2, -3}
    assert all(0 < value < 2**31 for _, value in calls)  # mallopt takes an int


@pytest.mark.usefixtures("restore_process")
def test_setup_resolves_and_freezes(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(SETUP, "tune_allocator", lambda: None)
    cfg = setup(
        arguments(
            "mini/pretrain/scrl_R_18.yaml",
            "DATASETS.TRAIN",
            (f"folder:{image_folder}",),
            "OUTPUT_DIR",
            tmp_path / "out",
            "SOLVER.IMS_PER_BATCH",
            4,
            "SOLVER.EPOCHS",
            3,
            "SOLVER.WARMUP_EPOCHS",
            1,
            "SEED",
            3,
        )  # fmt: skip
    )
    assert cfg.is_frozen() and cfg.SOLVER.MAX_ITER == 18 and cfg.SOLVER.WARMUP_ITERS == 6
    assert cfg.MODEL.RESNETS.NORM == "BN"
    assert {"config.yaml", "log.txt"} <= set(os.listdir(tmp_path / "out"))


@pytest.mark.parametrize("config, key, size", [
    ("mini/pretrain/moco_v2_R_18.yaml", "MOCO.QUEUE_SIZE", 12),
    ("mini/pretrain/dupr_R_18.yaml", "DUPR.PATCH_QUEUE_SIZE", 48),
])  # fmt: skip
@pytest.mark.usefixtures("restore_process")
def test_an_automatic_queue_suits_the_data(image_folder, tmp_path, config, key, size):
    cfg = setup(arguments(config, "DATASETS.TRAIN", (f"folder:{image_folder}",),
                          "OUTPUT_DIR", tmp_path))  # fmt: skip
    node, name = key.split(".")
    assert cfg.MODEL[node][name] == size


@pytest.mark.usefixtures("restore_process")
def test_a_queue_longer_than_the_data_stops_the_run(image_folder, tmp_path):
    options = ("DATASETS.TRAIN", (f"folder:{image_folder}",), "OUTPUT_DIR", tmp_path)
    for config, key in (
        ("pretrain/moco_v2_R_50_coco.yaml", "MODEL.MOCO.QUEUE_SIZE"),
        ("pretrain/dupr_R_50_coco.yaml", "MODEL.DUPR.QUEUE_SIZE"),
    ):
        with pytest.raises(ValueError, match=key):
            setup(arguments(config, *options))


@pytest.mark.usefixtures("restore_process")
def test_the_warm_up_of_distillation_is_given_in_epochs(image_folder, tmp_path):
    cfg = setup(arguments("mini/pretrain/point_region_contrast_R_18.yaml", "DATASETS.TRAIN",
                          (f"folder:{image_folder}",), "OUTPUT_DIR", tmp_path,
                          "SOLVER.IMS_PER_BATCH", 8))  # fmt: skip
    assert cfg.MODEL.PLRC.WARMUP_ITERS == 6 * 24 // 8


@pytest.mark.usefixtures("restore_process")
def test_a_drawn_seed_is_stated_and_kept(image_folder, tmp_path, caplog):
    def seed(*options, resume=False):
        args = arguments("mini/pretrain/byol_R_18.yaml", "DATASETS.TRAIN",
                         (f"folder:{image_folder}",), "OUTPUT_DIR", tmp_path, *options)  # fmt: skip
        args.resume = resume
        setup(args)
        return yaml.safe_load((tmp_path / "config.yaml").read_text())["SEED"]

    first = seed("SEED", -1)
    assert first >= 0 and seed("SEED", -1) != first
    last = seed("SEED", -1)
    assert seed("SEED", -1, resume=True) == last
    assert seed("SEED", 3, resume=True) == 3
    assert "generated random seed" not in caplog.text


@pytest.mark.parametrize("key", ["SOLVER.IMS_PER_BATCH", "SOLVER.ACCUMULATE"])
@pytest.mark.usefixtures("restore_process")
def test_a_batch_of_nothing_is_named_before_the_schedule_divides_by_it(image_folder, tmp_path, key):
    with pytest.raises(ValueError, match=f"{key} is 0; it must be 1 or more"):
        setup(arguments("mini/pretrain/byol_R_18.yaml", "DATASETS.TRAIN",
                        (f"folder:{image_folder}",), "OUTPUT_DIR", tmp_path, key, 0))  # fmt: skip


@pytest.fixture
def mini_detector(tmp_path):
    """A function of eval_only that sets up a detector in a folder of the test."""

    def run(eval_only, *options, resume=False):
        entry = make_coco(tmp_path)
        args = arguments(
            "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml", "DATASETS.TRAIN", (entry,),
            "DATASETS.TEST", (entry,), "OUTPUT_DIR", tmp_path / "output", "SEED", -1, *options,
        )  # fmt: skip
        args.eval_only, args.resume = eval_only, resume
        return setup(args)

    return run


@pytest.mark.usefixtures("restore_process", "restore_catalogs")
def test_an_evaluation_leaves_the_config_of_the_run_alone(mini_detector, tmp_path, caplog):
    cfg = mini_detector(False)
    file = tmp_path / "output/config.yaml"
    text = file.read_text()
    assert f"SEED: {cfg.SEED}" in text
    mini_detector(True, "MODEL.WEIGHTS", "model_final.pth")
    assert file.read_text() == text
    file.unlink()  # that of a detector that was trained elsewhere is written
    mini_detector(True, "MODEL.WEIGHTS", "model_final.pth")
    assert "WEIGHTS: model_final.pth" in file.read_text()


@pytest.mark.usefixtures("restore_process", "restore_catalogs")
def test_a_resumed_run_writes_its_config_when_it_goes_on(mini_detector, tmp_path):
    mini_detector(False)
    file = tmp_path / "output/config.yaml"
    text = file.read_text()
    (tmp_path / "output/model_0000001.pth").touch()
    args = {"resume": True}
    cfg = mini_detector(False, "SOLVER.BASE_LR", 0.125, **args)
    assert file.read_text() == text  # its checkpoint has not been seen yet
    update_config_file(cfg)
    found = yaml.safe_load(file.read_text())
    assert found["SOLVER"]["BASE_LR"] == 0.125 and "DEVICE" not in found["MODEL"]
    (tmp_path / "output/model_0000001.pth").unlink()
    mini_detector(False, "SOLVER.BASE_LR", 0.25, **args)
    assert "BASE_LR: 0.25" in file.read_text()  # a run that starts


@pytest.mark.usefixtures("restore_process", "restore_catalogs")
def test_config_yaml_keeps_synchronised_norms(mini_detector, tmp_path, monkeypatch):
    keys = ("MODEL.RESNETS.NORM", "SyncBN", "MODEL.FPN.NORM", "SyncBN")
    cfg = mini_detector(False, *keys)
    file = tmp_path / "output/config.yaml"
    assert cfg.MODEL.RESNETS.NORM == "BN"
    (tmp_path / "output/model_0000001.pth").touch()
    cfg = mini_detector(False, *keys, "MODEL.FPN.NORM", "GN", resume=True)
    update_config_file(cfg)
    found = load_config(str(file))
    assert (found.MODEL.RESNETS.NORM, found.MODEL.FPN.NORM) == ("SyncBN", "GN")
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    resolve_norms(found, logging.getLogger(__name__))
    assert found.MODEL.RESNETS.NORM == "naiveSyncBN"


@pytest.mark.parametrize("text", ["", "MODEL:\n  WEIGHTS: 'x", "- 1"])
@pytest.mark.usefixtures("restore_process", "restore_catalogs")
def test_a_damaged_config_yaml_has_no_seed(tmp_path, text):
    cfg = base_config("OUTPUT_DIR", str(tmp_path))
    (tmp_path / "config.yaml").write_text(text)
    torch.save({"model": {}, "trainer": {"config": "SEED: 5\n"}}, tmp_path / "model_final.pth")
    assert seed_of_run(cfg) == 5


@pytest.mark.usefixtures("restore_process")
def test_a_run_without_a_folder_is_refused(image_folder):
    with pytest.raises(ValueError, match="OUTPUT_DIR is empty"):
        setup(arguments("mini/pretrain/byol_R_18.yaml", "DATASETS.TRAIN",
                        (f"folder:{image_folder}",), "OUTPUT_DIR", ""))  # fmt: skip


@pytest.mark.usefixtures("restore_process", "restore_catalogs")
def test_a_second_run_reads_the_labels_that_have_changed(mini_detector, monkeypatch, tmp_path):
    cfg = mini_detector(False)
    (entry,) = cfg.DATASETS.TRAIN
    assert MetadataCatalog.get(entry).thing_classes == ["cat", "dog"]
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2 == len(DatasetCatalog.get(entry))
    box = {"image_id": 1, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}
    changed = {
        "categories": [{"id": i, "name": x} for i, x in enumerate(("owl", "rook", "wren"), 1)],
        "annotations": [{**box, "id": i, "category_id": i} for i in (1, 2, 3)],
    }
    monkeypatch.setattr("test_setup.make_coco", partial(make_coco, **changed))
    cfg = mini_detector(False)
    assert cfg.DATASETS.TRAIN == (entry,) and cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert MetadataCatalog.get(entry).thing_classes == ["owl", "rook", "wren"]
    assert sum(len(x["annotations"]) for x in DatasetCatalog.get(entry)) == 3


def test_a_run_in_a_folder_that_was_deleted_has_a_log(tmp_path):
    folder = tmp_path / "output"
    for text in ("first", "second"):
        shutil.rmtree(folder, ignore_errors=True)
        log = logging.getLogger("dense_ssl")
        before = set(log.handlers)
        with _own_log():
            setup_console(str(folder))
            log.warning(text)
            streams = [getattr(x, "stream", None) for x in {*log.handlers} - before]
        assert (folder / "log.txt").read_text().endswith(f"{text}\n")
        assert {x.closed for x in streams if "log.txt" in str(getattr(x, "name", ""))} == {True}
