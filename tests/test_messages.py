"""What a user reads when something is wrong: key or file, value and fix; nothing is written.

One table. Each case is a mistake that people make, and what the message must hold.
"""

import argparse
import contextlib
import errno
import json
import os
import pickle

import cv2
import numpy as np
import pytest
import torch
from helpers import CONFIGS, DETECTOR, TINY, build_trainer, photo, tiny_config
from isolation import restored_process

from dense_ssl import engine
from dense_ssl.checkpoint.formats import CheckpointError
from dense_ssl.config import detector_values, read_config, value_tables
from dense_ssl.config.values import _present, check_values
from dense_ssl.engine.setup import setup
from dense_ssl.utils.atomic_file import atomic_file

# Key, value, parts of the message beside the key and the value. Refused before the output folder
# exists.
VALUES = [
    ("SOLVER.BASE_LR", "abc", "must be a number, such as: SOLVER.BASE_LR 0.05"),
    ("SOLVER.BASE_LR", "nan", "must be a number"),
    ("SEED", "4294967295", "2147483647 or less"),
    ("OUTPUT_DIR", "a?b", "question mark"),
    ("SOLVER.BASE_LR", "-1", "above 0"),
    ("SOLVER.BASE_LR", "0", "above 0"),
    ("SOLVER.BASE_LR", "1e400", "above 0"),
    ("SOLVER.BASE_LR", "(0.1,)", "must be a number"),
    ("SOLVER.BASE_LR", "None", "above 0"),
    ("SOLVER.BASE_LR_END", "-0.1", "0 or more"),
    ("SOLVER.IMS_PER_BATCH", "0", "1 or more"),
    ("SOLVER.IMS_PER_BATCH", "2.5", "must be a whole number, such as: SOLVER.IMS_PER_BATCH 8"),
    ("SOLVER.IMS_PER_BATCH", "None", "1 or more"),
    ("SOLVER.IMS_PER_BATCH", "(8,)", "must be a whole number"),
    ("SOLVER.MAX_ITER", "0", "1 or more"),
    ("SOLVER.MAX_ITER", "-3", "1 or more"),
    ("SOLVER.EPOCHS", "-1", "0 or more"),
    ("SOLVER.EPOCHS", "ten", "must be a whole number"),
    ("SOLVER.ACCUMULATE", "0", "1 or more"),
    ("SOLVER.CHECKPOINT_PERIOD", "0", "1 or more"),
    ("SOLVER.KEEP_CHECKPOINTS", "-1", "0 or more"),
    ("SOLVER.WEIGHT_DECAY", "-0.1", "0 or more"),
    ("SOLVER.MOMENTUM", "1.5", "below 1"),
    ("SOLVER.WARMUP_ITERS", "-1", "0 or more"),
    ("SOLVER.WARMUP_FACTOR", "2.0", "between 0 and 1"),
    ("SOLVER.GAMMA", "0.0", "above 0"),
    ("SOLVER.OPTIMIZER", "Adam", "Did you mean 'AdamW'?"),
    ("SOLVER.OPTIMIZER", "sgd", "Did you mean 'SGD'?"),
    ("SOLVER.OPTIMIZER", "lamb", "('SGD', 'LARS', 'AdamW')"),
    ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosine", "'WarmupCosineLR'"),
    ("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStep", "'WarmupMultiStepLR'"),
    ("SOLVER.STEPS", "30", 'SOLVER.STEPS "(30'),
    ("SOLVER.STEPS", "(-5,)", "0 or more"),
    ("SOLVER.STEP_SHARES", "(0.5, 1.5)", "between 0 and 1"),
    ("SOLVER.BETAS", "(0.9,)", "2 numbers"),
    ("SOLVER.BETAS", "(0.9, 1.0)", "below 1"),
    ("SOLVER.AMP.PRECISION", "fp16", "'float16'"),
    ("SOLVER.AMP.ENABLED", "yes", "must be True or False"),
    ("MODEL.SSL.LOSS_PRODUCTS", "float16", "('float32', 'bfloat16')"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "l2", "('value', 'norm')"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", "('value', 'norm')"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.0", "above 0"),
    ("DATALOADER.NUM_WORKERS", "-1", "0 or more"),
    ("DATALOADER.NUM_WORKERS", "auto", "must be a whole number"),
    ("DATALOADER.MAX_BROKEN_SHARE", "2.0", "between 0 and 1"),
    ("DATALOADER.SAMPLER_TRAIN", "Training", "Did you mean 'TrainingSampler'?"),
    ("DATASETS.TRAIN", "3", "must be several values"),
    ("DATASETS.TRAIN", "(3,)", "must be names"),
    ("MODEL.BACKBONE.NAME", "resnet50", "not registered"),
    ("MODEL.BACKBONE.NAME", "build_resnet_backbne", "Did you mean 'build_resnet_backbone'"),
    ("MODEL.BACKBONE.FREEZE_AT", "9", "between 0 and 5"),
    ("MODEL.ROI_HEADS.NAME", "StandardROIHead", "Did you mean 'StandardROIHeads'"),
    ("MODEL.PROPOSAL_GENERATOR.NAME", "RNP", "not registered"),
    ("MODEL.SEM_SEG_HEAD.NAME", "FCNHeads", "Did you mean 'FCNHead'"),
    ("MODEL.RESNETS.DEPTH", "33", "(18, 34, 50, 101, 152)"),
    ("MODEL.RESNETS.DEPTH", "resnet50", "must be a whole number"),
    ("MODEL.RESNETS.NORM", "BatchNorm", "'SyncBN'"),
    ("MODEL.RESNETS.NORM", "bn", "Did you mean 'BN'?"),
    ("MODEL.RESNETS.NORM", "syncbn", "Did you mean 'SyncBN'"),
    ("MODEL.FPN.NORM", "GroupNorm", "'GN'"),
    ("MODEL.SSL.HEAD_NORM", "Batch", "'BN'"),
    ("MODEL.RESNETS.OUT_FEATURES", "('res6',)", "none of"),
    ("MODEL.RESNETS.OUT_FEATURES", "()", "at least one"),
    ("MODEL.RESNETS.OUT_FEATURES", "res5", "must be several values"),
    ("MODEL.RESNETS.NUM_GROUPS", "0", "1 or more"),
    ("MODEL.RESNETS.RES2_OUT_CHANNELS", "0", "1 or more"),
    ("MODEL.RESNETS.RES5_DILATION", "3", "(1, 2, 4)"),
    ("MODEL.PIXEL_STD", "(0, 1, 1)", "above 0"),
    ("MODEL.PIXEL_STD", "(1.0, 1.0)", "3 numbers"),
    ("MODEL.PIXEL_MEAN", "3", "must be several values"),
    ("MODEL.PIXEL_MEAN", "('a', 'b', 'c')", "numbers"),
    ("MODEL.DEVICE", "gpu", "'cuda:N'"),
    ("MODEL.WEIGHTS", "3", "must be text"),
    ("MODEL.CHECK_WEIGHTS", "0", "must be True or False"),
    ("MODEL.FROZEN_NORM_STATS", "kept", "Did you mean 'keep'?"),
    ("MODEL.SSL.MOMENTUM.BASE", "1.2", "between 0 and 1"),
    ("MODEL.SSL.MOMENTUM.SCHEDULE", "cosin", "Did you mean 'cosine'?"),
    ("MODEL.SSL.ON_COLLAPSE", "abort", "('warn', 'stop')"),
    ("MODEL.SSL.MIN_ANGLE", "-1", "0 or more"),
    ("MODEL.SSL.OBJECTIVES", "SCRLObjective", "must be several values"),
    ("MODEL.SSL.OBJECTIVE_WEIGHTS", "(-1.0,)", "0 or more"),
    ("MODEL.BYOL.HIDDEN_DIM", "0", "1 or more"),
    ("MODEL.BYOL.OUT_DIM", "-5", "1 or more"),
    ("MODEL.BYOL.IN_FEATURE", "5", "must be text"),
    ("MODEL.SCRL.NUM_BOXES", "0", "1 or more"),
    ("MODEL.SCRL.IOU_THRESHOLD", "50.0", "between 0 and 1"),
    ("MODEL.MOCO.TEMPERATURE", "0.0", "above 0"),
    ("MODEL.MOCO.QUEUE_SIZE", "-1", "0 or more"),
    ("MODEL.DUPR.ROI_SIZE", "(4, 4, 4, 0)", "1 or more"),
    ("MODEL.DUPR.IN_FEATURES", "(5,)", "must be names"),
    ("MODEL.DUPR.KEYS_PER_IMAGE", "0", "1 or more"),
    ("MODEL.PLRC.ALPHA", "1.5", "between 0 and 1"),
    ("MODEL.PLRC.NUM_POINTS", "0", "1 or more"),
    ("MODEL.SELF_EMD.REGULARIZATION", "0.0", "above 0"),
    ("MODEL.SELF_EMD.ITERATIONS", "0", "1 or more"),
    ("MODEL.LC_LOSS.TEMPERATURE", "-0.1", "above 0"),
    ("MODEL.LC_LOSS.ALPHA", "2.0", "between 0 and 1"),
    ("MODEL.PIXPRO.THRESHOLD", "0.0", "above 0"),
    ("MODEL.DISTILLATION.IMAGE_WEIGHT", "-1.0", "0 or more"),
    ("MODEL.ROI_HEADS.NUM_CLASSES", "0", "1 or more"),
    ("MODEL.ROI_HEADS.IN_FEATURES", "()", "is empty; it must have at least one"),
    ("MODEL.ROI_HEADS.IN_FEATURES", "(3,)", "must be names"),
    ("MODEL.ROI_HEADS.IOU_THRESHOLDS", "(3,)", "above 0, and 1 at most"),
    ("MODEL.ROI_HEADS.IOU_LABELS", "(1,)", "each of the 2 ranges"),
    ("MODEL.RPN.IOU_THRESHOLDS", "(0.7, 0.3)", "numbers that rise"),
    ("MODEL.RETINANET.IOU_LABELS", "(0, 0.5, 1)", "0 (background), -1 (ignored) or 1 (object)"),
    ("MODEL.RPN.BBOX_REG_WEIGHTS", "(1.0,)", "4 numbers"),
    ("MODEL.RPN.BBOX_REG_LOSS_TYPE", "iou", "Did you mean 'giou'"),
    ("MODEL.RPN.LOSS_WEIGHT", "-1.0", "0 or more"),
    ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "0", "1 or more"),
    ("MODEL.RPN.POST_NMS_TOPK_TEST", "-1", "1 or more"),
    ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV3", "Did you mean 'ROIAlignV2'"),
    ("MODEL.ROI_BOX_HEAD.FC_DIM", "-1", "1 or more"),
    ("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "0", "1 or more"),
    ("MODEL.ROI_MASK_HEAD.CONV_DIM", "0", "1 or more"),
    ("MODEL.RETINANET.PRIOR_PROB", "-1.0", "between 0 and 1"),
    ("MODEL.FPN.FUSE_TYPE", "mean", "('sum', 'avg')"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "()", "at least one"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "((-32,),)", "above 0"),
    ("MODEL.ANCHOR_GENERATOR.OFFSET", "1.0", "below 1"),
    ("SOLVER.WARMUP_METHOD", "cosine", "('linear', 'constant')"),
    ("SOLVER.REFERENCE_WORLD_SIZE", "7", "it must divide SOLVER.IMS_PER_BATCH"),
    ("INPUT.FORMAT", "rgb", "Did you mean 'RGB'"),
    ("INPUT.MIN_SIZE_TRAIN", "()", "at least one"),
    ("MODEL.PIXEL_MEAN", "(1.0,)", "INPUT.FORMAT 'RGB' needs 3 numbers"),
    ("TEST.EXPECTED_RESULTS", "(38.5,)", "a task, a metric, a score"),
    ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "50.0", "between 0 and 1"),
    ("INPUT.VIEWS.NUM", "0", "1 or more"),
    ("INPUT.VIEWS.SIZE", "64", 'INPUT.VIEWS.SIZE "(64,)"'),
    ("INPUT.VIEWS.SIZE", "(0,)", "1 or more"),
    ("INPUT.VIEWS.SIZE", "()", "is empty"),
    ("INPUT.VIEWS.SIZE", "('a',)", "1 or more and whole"),
    ("INPUT.VIEWS.SIZE", "(64.5,)", "1 or more and whole"),
    ("INPUT.VIEWS.CROP_SCALE", "((0.2, 1.5),)", "1 at most"),
    ("INPUT.VIEWS.HUE", "(0.9,)", "between 0 and 0.5"),
    ("INPUT.VIEWS.FLIP_PROB", "(1.5,)", "between 0 and 1"),
    ("INPUT.VIEWS.SOLARIZE_THRESHOLD", "(-4,)", "between 0 and 256"),
    ("INPUT.VIEWS.BACKEND", "gpu", "('fast', 'exact')"),
    ("INPUT.VIEWS.OVERLAP_TRIES", "0", "1 or more"),
    ("INPUT.REGIONS.SOURCE", "file", "Did you mean 'files'?"),
    ("INPUT.REGIONS.RESOLUTION", "0", "1 or more"),
    ("INPUT.MASK_FORMAT", "rle", "('polygon', 'bitmask', 'auto')"),
    ("INPUT.MIN_SIZE_TRAIN", "(0,)", "1 or more"),
    ("TEST.EVAL_PERIOD", "-1", "0 or more"),
    ("TEST.PATIENCE", "-1", "0 or more"),
    ("TEST.PROBE.SHARE", "0.0", "above 0"),
    ("TEST.DETECTIONS_PER_IMAGE", "0", "1 or more"),
    ("VIS_PERIOD", "-1", "0 or more"),
    ("SEED", "abc", "must be a whole number"),
    ("SEED", "100000000000000000000", "or less"),
    ("LOG.WRITERS", "wandbb", "Did you mean 'wandb'?"),
    ("LOG.WRITERS", "3", "must be several values"),
    ("GUARDS.MEMORY", "-1", "0 or more"),
    ("MODEL", "3", "is a group of keys"),
]  # fmt: skip

# Misspelt keys, and the one that was meant.
KEYS = [
    ("SOLVER.BASE_LRR", "SOLVER.BASE_LR"),
    ("solver.base_lr", "SOLVER.BASE_LR"),
    ("BASE_LR", "SOLVER.BASE_LR"),
    ("SOLVER.IMAGES_PER_BATCH", "SOLVER.IMS_PER_BATCH"),
    ("MODEL.BACKBON.NAME", "MODEL.BACKBONE.NAME"),
    ("INPUT.VIEW.SIZE", "INPUT.VIEWS.SIZE"),
    ("MODEL.SCRL.NUM_BOX", "MODEL.SCRL.NUM_BOXES"),
    ("DATASET.TRAIN", "DATASETS.TRAIN"),
    ("OUTPUT_DIRECTORY", "OUTPUT_DIR"),
]

# Text of a yaml, and parts of the message beside the name of the file.
YAMLS = [
    ("SOLVER:\n  BASE_LR: [1, 2\n", ("line 3", "no valid yaml", "brackets")),
    ("SOLVER:\n\tBASE_LR: 1\n", ("line 2", "no valid yaml")),
    ("SOLVER:\n  BASE_LR: 0.1\n BASE: 2\n", ("line 3", "no valid yaml")),
    ("SOLVER:\n  BASE_LRR: 0.1\n", ("SOLVER.BASE_LRR", "Did you mean 'SOLVER.BASE_LR'")),
    ("SOLVER:\n  IMS_PER_BATCH: many\n", ("SOLVER.IMS_PER_BATCH is 'many'", "whole number")),
    ("MODEL:\n  WEIGHTS:\n", ("MODEL.WEIGHTS is None", "leave the key out")),
    ("DATASETS:\n  TEST:\n", ("DATASETS.TEST is None", "default ()")),
    ("SOLVER: 3\n", ("SOLVER is 3", "group of keys")),
    ("- SOLVER\n- MODEL\n", ("keys and values",)),
    ("just text\n", ("keys and values",)),
    ("_BASE_: nowhere.yaml\n", ("nowhere.yaml",)),
    ("MODEL: !!python/object/apply:os.getcwd []\n", ("runs code", "TRUST_CONFIGS")),
    ("\x00\x01", ("no valid yaml",)),
    ("", ("keys and values", "nothing")),
]

# Entries of DATASETS.TRAIN, and parts of the message. FOLDER is a folder with one image.
ENTRIES = [
    ("folder:/nowhere", ("'/nowhere' does not exist", "a folder of images")),
    ("nothing", ("not a data set", "Entries may be")),
    ("folder", ("not a data set", "Entries may be")),
    ("FOLDER", ("Did you mean 'folder:",)),
    ("floder:FOLDER", ("Did you mean 'folder:",)),
    ("coco_2017_trian", ("Did you mean 'coco_2017_train'",)),
    ("folder:EMPTY", ("no images in", "Looked for the extensions")),
    ("folder:JSON", ("is a file; it should be a folder",)),
    ("coco:/no.json:FOLDER", ("annotation file '/no.json' does not exist",)),
    ("coco:JSON", ("not a data set", "coco:ANNOTATIONS.json:IMAGES")),
    ("voc:FOLDER:train", ("no VOC folder",)),
    ("semseg:FOLDER:/nowhere", ("/nowhere",)),
]

# What a COCO json holds, and parts of the message.
JSONS = [
    ("", ("not valid json",)),
    ('{"images": [', ("not valid json", "cut off")),
    ("[1, 2]", ("not a COCO file", "'images'")),
    ("{}", ("not a COCO file", "'images'")),
    ('{"images": {}}', ("not a COCO file", "'images'")),
    ('{"images": [{"id": 1}]}', ("not a COCO file", "'file_name'")),
    ('{"images": [{"id": 1, "file_name": "x.jpg"}, {"id": 1, "file_name": "y.jpg"}]}',
     ("ids of images occur several times",)),
    ('{"images": [{"id": 1, "file_name": "x.jpg"}]}', ("none of the 1 images", "x.jpg")),
]  # fmt: skip


@pytest.fixture(scope="module")
def one_image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "images"
    folder.mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.jpg"), photo(np.random.default_rng(i), 64, 48))
    return folder


@pytest.fixture
def fails(one_image, tmp_path):
    """A function that starts a run and returns the message of the error that ends it."""

    def start(*options, config=CONFIGS / "Base-Pretrain.yaml", needs=TINY):
        pairs = [*needs, "MODEL.META_ARCHITECTURE", "BYOL", "DATASETS.TRAIN", f"folder:{one_image}",
                 "OUTPUT_DIR", tmp_path / "out", *options]  # fmt: skip
        args = argparse.Namespace(config_file=str(config), opts=[str(x) for x in pairs],
                                  eval_only=False, resume=False)  # fmt: skip
        errors = (ValueError, KeyError, OSError, ImportError)
        with restored_process(), contextlib.ExitStack() as hold, pytest.raises(errors) as error:
            engine.Trainer(setup(args, hold))
        return error.value.args[0] if error.type is KeyError else str(error.value)

    return start


@pytest.mark.parametrize("key, value, part", VALUES)
def test_values(fails, tmp_path, key, value, part):
    message = fails(key, value)
    assert message.startswith(f"{key} is ")
    assert part in message, message
    assert "\n" not in message and "Type mismatch" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key, meant", KEYS)
def test_misspelt_keys(fails, tmp_path, key, meant):
    message = fails(key, "1")
    assert key in message and f"'{meant}'" in message
    assert not (tmp_path / "out").exists()


def test_a_key_without_a_value(fails):
    assert "one key has no value" in fails("SOLVER.BASE_LR")


@pytest.mark.parametrize("text, parts", YAMLS)
def test_yamls(fails, tmp_path, text, parts):
    config = tmp_path / "my.yaml"
    config.write_text(text)
    message = fails(config=config)
    assert all(x in message for x in parts), message
    is_value = parts[0].startswith(("SOLVER", "MODEL", "DATASETS"))
    assert is_value or "my.yaml" in message or "nowhere.yaml" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["byol", "byol_R_50.yaml", "configs"])
def test_yamls_that_are_none(fails, tmp_path, name):
    (tmp_path / "configs").mkdir()
    assert name in fails(config=tmp_path / name)


@pytest.mark.parametrize("entry, parts", ENTRIES)
def test_entries(fails, one_image, tmp_path, restore_catalogs, entry, parts):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_text("{}")
    for word, path in (("FOLDER", one_image), ("EMPTY", tmp_path / "empty"),
                       ("JSON", tmp_path / "a.json")):  # fmt: skip
        entry = entry.replace(word, str(path))
    message = fails("DATASETS.TRAIN", entry)
    assert message.startswith(f"DATASETS.TRAIN: {entry!r}: ")
    assert all(x in message for x in parts), message
    assert (
        not list((tmp_path / "out").glob("*.pth")) and not (tmp_path / "out/config.yaml").exists()
    )


@pytest.mark.parametrize("text, parts", JSONS)
def test_json_files(fails, one_image, tmp_path, restore_catalogs, text, parts):
    path = tmp_path / "a.json"
    path.write_text(text)
    message = fails("DATASETS.TRAIN", f"coco:{path}:{one_image}")
    assert message.startswith("DATASETS.TRAIN: ") and str(path) in message
    assert all(x in message for x in parts), message


def weights_of(folder):
    cfg = tiny_config("BYOL", "unused", folder)
    model = engine.Trainer.build_model(cfg)
    return cfg, model, {k: x.clone() for k, x in model.state_dict().items()}


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return weights_of(tmp_path_factory.mktemp("model"))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def not_a_number(path):
    data = torch.load(path, weights_only=True)
    data["model"]["backbone.res3.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(data, path)


def infinite(path):
    data = torch.load(path, weights_only=True)
    data["model"]["backbone.stem.conv1.norm.running_var"][1] = float("inf")
    torch.save(data, path)


def executable(path):
    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    path.write_bytes(pickle.dumps({"model": Evil()}))


# What becomes of a checkpoint, and parts of the message beside the name of the file.
FILES = [
    (lambda path: path.unlink(), ("There is no file", "MODEL.WEIGHTS")),
    (lambda path: path.write_bytes(b""), ("is empty", "cut off")),
    (lambda path: path.write_text("<html>not found</html>"), ("a web page", "download")),
    (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), ("git-lfs",)),
    (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(80)), ("gzip", "unpack")),
    (lambda path: path.write_bytes(b"GIF89a" + bytes(80)), ("not a known checkpoint",)),
    (cut, ("cut off at", "Download or write it again")),
    (lambda path: path.write_bytes(pickle.dumps([1, 2])), ("holds a list of 2", "not a dict")),
    (lambda path: path.write_bytes(pickle.dumps({"a": 1})[:-4]), ("damaged, or cut off",)),
    (lambda path: path.write_bytes(b"\x40" + bytes(7) + b'{"a": 1}' + bytes(56)),
     ("safetensors", "damaged")),
    (executable, ("could run any code", "MODEL.TRUST_WEIGHTS True")),
    (lambda path: torch.save({"model": {}}, path), ("has no weights",)),
    (lambda path: torch.save({"model": {"fc.weight": torch.ones(2)}}, path), ("loaded 0 of",)),
    (not_a_number, ("NaN or infinite", "backbone.res3.0.conv1.weight", "diverged")),
    (infinite, ("NaN or infinite", "backbone.stem.conv1.norm.running_var", "diverged")),
]  # fmt: skip


@pytest.mark.parametrize("damage, parts", FILES)
def test_weights(tiny_model, tmp_path, damage, parts):
    cfg, model, intact = tiny_model
    model.load_state_dict(intact)
    path = tmp_path / "weights.pth"
    writer = engine.Trainer.build_checkpointer(cfg, model)
    writer.save_dir = str(tmp_path)
    writer.save("weights", is_last=False)
    damage(path)
    with pytest.raises((CheckpointError, ValueError, OSError)) as error:
        engine.Trainer.build_checkpointer(cfg, model).load(str(path))
    message = str(error.value)
    assert "weights.pth" in message and all(x in message for x in parts), message


class Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_at_a_checkpoint(pretrain_config, monkeypatch, tmp_path):
    trainer = build_trainer(pretrain_config("BYOL"))
    trainer.checkpointer.save("model_0000001", iteration=1)
    before = {x.name: x.read_bytes() for x in (tmp_path / "output").iterdir()}

    def full(path, *args, _open=open, **more):
        file = _open(path, *args, **more)
        return Full(file) if ".tmp" in os.path.basename(path) else file

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        trainer.checkpointer.save("model_0000003", iteration=3)
    monkeypatch.undo()
    message = str(error.value)
    assert "model_0000003.pth is not written" in message and "--resume" in message
    assert "SOLVER.KEEP_CHECKPOINTS" in message
    assert {x.name: x.read_bytes() for x in (tmp_path / "output").iterdir()} == before


def test_a_full_device():
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as file:
        file.write(b"x" * 100_000)


def test_a_file_that_cannot_be_written(tmp_path):
    wrong = pytest.raises(OSError, match="x.pth is not written: No such file or directory")
    with wrong, atomic_file(str(tmp_path / "gone" / "x.pth")) as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="mine"), atomic_file(str(tmp_path / "x")):
        raise ValueError("mine")


def test_two_that_write_one_file(tmp_path):
    path = tmp_path / "x"
    with atomic_file(path) as first:
        first.write(b"first")
        with atomic_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_an_output_folder_that_cannot_be_written(fails, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code), "x")

    monkeypatch.setattr("dense_ssl.checkpoint.recovery.os.makedirs", refuse)
    message = fails()
    assert message.startswith("OUTPUT_DIR ") and os.strerror(code) in message
    assert "Set OUTPUT_DIR" in message


def test_an_output_folder_that_is_a_file(fails, tmp_path):
    (tmp_path / "out").write_text("mine")
    message = fails()
    assert message.startswith(f"OUTPUT_DIR {tmp_path / 'out'} cannot be written to")
    assert (tmp_path / "out").read_text() == "mine"


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path):
    """Of the same file alone, whatever its name; a writer of now is not disturbed."""
    path = tmp_path / "index[1].npz"
    old, new, other = (tmp_path / f"{x}.tmp7{i}" for i, x in
                       enumerate((path.name, path.name, "index1.npz")))  # fmt: skip
    for file in (old, new, other):
        file.write_bytes(b"half")
    for file in (old, other):
        os.utime(file, (0, 0))
    with atomic_file(path) as file:
        file.write(b"whole")
    assert {x.name for x in tmp_path.iterdir()} == {path.name, new.name, other.name}


def test_the_defaults_and_a_detector_pass():
    check_values(read_config())  # tests/engine/test_setup.py has all of configs/
    check_values(read_config(str(DETECTOR)))


def test_every_key_of_the_table_exists():
    cfg, missing = read_config(), object()
    tables = (value_tables, detector_values)
    for keys in (y for x in tables for y in (*x.RANGES.values(), *x.CHOICES.values())):
        assert [x for x in keys.split() if _present(cfg, x, missing) is missing] == []


def test_whole_numbers_are_numbers(tmp_path):
    assert read_config("", ["SOLVER.BASE_LR", "1"]).SOLVER.BASE_LR == 1.0
    (tmp_path / "a.yaml").write_text("SOLVER: {BASE_LR: 2, IMS_PER_BATCH: 4}\n")
    solver = read_config(str(tmp_path / "a.yaml")).SOLVER
    assert type(solver.BASE_LR) is float and type(solver.IMS_PER_BATCH) is int


def test_the_table_is_large():
    count = sum(map(len, (VALUES, KEYS, YAMLS, ENTRIES, JSONS, FILES)))
    assert count >= 150 and len(json.dumps([x[:2] for x in VALUES]))
