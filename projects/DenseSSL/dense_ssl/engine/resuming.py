"""What a resumed run may change, and what becomes of it.

A checkpoint has the config of its run. A key that differs takes effect, and a line says so; the few
that cannot take effect in the middle of a run are refused. Nothing is ignored.
"""

import contextlib
import hashlib
import logging
import os

import yaml
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from ..checkpoint.formats import read_checkpoint
from ..checkpoint.recovery import last_intact
from ..config.flat import FREE_KEYS, flatten, is_among
from ..config.lengths import EPOCH_KEYS
from ..config.machine import SYNC_BN
from ..utils.checks import value_of
from .output_folder import config_file, write_config

logger = logging.getLogger(__name__)

# Cannot change in the middle of a run; the rest of a sentence that begins with the key.
_REFUSED = {
    "MODEL.META_ARCHITECTURE": "the optimizer and the target in the checkpoint are those of the "
    "other method",
    "MODEL.SSL.OBJECTIVES": "the heads in the checkpoint are those of the other objectives",
    "MODEL.BACKBONE.NAME": "the weights in the checkpoint are those of the other network",
    "SOLVER.OPTIMIZER": "the checkpoint has the state of the other optimizer",
    "SEED": "the order of the images follows from it",
}
# Of no consequence for a run that goes on.
_SILENT = (
    *FREE_KEYS, "DATASETS.TEST", "MODEL.CHECK_WEIGHTS", "MODEL.WEIGHTS",
    "DATASETS.TRAIN",  # its images are compared instead
    "SOLVER.RECIPE_BATCH", "SOLVER.REFERENCE_WORLD_SIZE", "TEST",
    *(epochs for epochs, _ in EPOCH_KEYS),  # the iterations that they give are compared
)  # fmt: skip
# Batch norms that differ by the number of processes alone.
_SAME_NORMS = {"SyncBN": "BN", "naiveSyncBN": "BN"}


def resume_run(trainer):
    """Load the last checkpoint of a run, and go on with the keys of its config.

    Args:
        trainer: :class:`~.trainer.Trainer`; ``start_iter`` becomes the iteration it goes on with.
    """
    cfg, checkpointer, batches, names = trainer.cfg, trainer.checkpointer, [], []

    def compare(checkpoint, path):
        saved = checkpoint.get("trainer", {})
        names.append(os.path.basename(path))
        batches.append(check_changes(saved.get("config", ""), cfg, path))
        check_images(saved.get("images"), trainer.image_digest, cfg, path)

    checkpointer.before_loading, checkpointer.needed = compare, "model"
    checkpointer.resume_or_load("", resume=True)
    checkpointer.before_loading, checkpointer.needed = None, ""
    batch = cfg.SOLVER.IMS_PER_BATCH
    # a step of another batch is another number of images
    trainer.start_iter = (trainer.iter + 1) * (batches[0] or batch) // batch
    trainer.iter = trainer._trainer.iter = trainer.start_iter - 1
    lacks_final = trainer.start_iter == cfg.SOLVER.MAX_ITER and names != ["model_final.pth"]
    if not lacks_final:  # before the schedule, which has no rate beyond its end
        check_length(trainer.start_iter, cfg, can_evaluate=not trainer.is_pretraining)
    continue_schedule(trainer.scheduler, trainer.start_iter)
    update_config_file(cfg)
    if lacks_final:
        logger.warning("The run was stopped after its last step: writing model_final.pth")
        checkpointer.save("model_final", iteration=trainer.iter)


def update_config_file(cfg):
    """Write the config of a run that goes on over config.yaml, if there is one.

    A device that the file does not state was detected, and stays out of it; norms that it
    synchronises stay so, whatever a single process makes of them.
    """
    if not comm.is_main_process() or not os.path.isfile(config_file(cfg)):
        return
    with open(config_file(cfg), encoding="utf-8") as file:
        before = dict(flatten(_mapping(file.read())))
    synchronised = [
        key for key, x in before.items()
        if x == SYNC_BN and value_of(cfg, key) in (*_SAME_NORMS, *_SAME_NORMS.values())
    ]  # fmt: skip
    write_config(cfg, "MODEL.DEVICE" in before, synchronised)


def seed_of_run(cfg):
    """Return the SEED of the run in OUTPUT_DIR, -1 if nothing there states it.

    Args:
        cfg: config of the run that goes on from it.
    """
    if PathManager.isfile(config_file(cfg)):
        with PathManager.open(config_file(cfg)) as file:
            values = _mapping(file.read())
        if "SEED" in values:  # not where the file was cut off
            return values["SEED"]
    path = last_intact(cfg.OUTPUT_DIR)
    checkpoint = read_checkpoint(path, cfg.MODEL.TRUST_WEIGHTS) if path else {}
    return _mapping(checkpoint.get("trainer", {}).get("config", "")).get("SEED", -1)


def _mapping(text):
    """Return the values of a yaml, {} for one that is empty or damaged."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def changed_keys(saved, cfg):
    """Return what differs between the config of a checkpoint and that of the run that goes on.

    Args:
        saved: text of a yaml, as ``cfg.dump()`` writes it.
        cfg: config of the run.

    Returns:
        {key: (value in the checkpoint, value now)}, without the keys that change nothing.
    """
    old, new = _comparable(yaml.safe_load(saved)), _comparable(yaml.safe_load(cfg.dump()))
    return {
        key: (old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not is_among(key, _SILENT)
    }


def check_changes(saved, cfg, path):
    """Refuse the changes that cannot take effect, and log those that do.

    Args:
        saved: config in the checkpoint, or "" of one that has none.
        cfg: config of the run.
        path: of the checkpoint.

    Returns:
        SOLVER.IMS_PER_BATCH of the checkpoint, 0 if it is not known.

    Raises:
        ValueError: a key has changed that must not.
    """
    if not saved:
        logger.warning("%s is from an older version and has no config: changed keys are not seen",
                       path)  # fmt: skip
        return 0
    changed = changed_keys(saved, cfg)
    for key, (old, new) in changed.items():
        reason = next((why for x, why in _REFUSED.items() if is_among(key, (x,))), "")
        if reason:
            raise ValueError(
                f"--resume with {key} {new!r}, but {path} was trained with {old!r}: {reason}. "
                f"Leave {key} as it was; or start a new run in another OUTPUT_DIR, with "
                "MODEL.WEIGHTS set to the checkpoint if it is to begin with these weights."
            )
    for key, (old, new) in changed.items():
        logger.warning("%s is now %r, it was %r: takes effect from here on", key, new, old)
    return changed.get("SOLVER.IMS_PER_BATCH", (cfg.SOLVER.IMS_PER_BATCH,))[0]


def digest_of(dataset_dicts):
    """Return a digest of the names of a list of images, in its order; folders may have moved."""
    digest = hashlib.sha256()
    for i in range(len(dataset_dicts)):  # detectron2's list has no end that "for" would see
        name = os.path.basename(dataset_dicts[i]["file_name"])
        digest.update(name.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def own_hyperparameters(optimizer, scheduler):
    """Within it states are loaded; learning rates, decay and the like stay those of this run.

    A state holds them too, and would silently bring back those of the run that wrote it.
    """
    groups = [{k: x for k, x in y.items() if k != "params"} for y in optimizer.param_groups]
    base_lrs = list(scheduler.base_lrs)
    yield
    for group, own in zip(optimizer.param_groups, groups):
        group.update(own)
    scheduler.base_lrs = base_lrs


def check_groups(saved, optimizer):
    """Refuse a state of an optimizer that has its parameters in other groups.

    Args:
        saved: state of the optimizer in the checkpoint.
        optimizer: that of this run.
    """
    numbers = [len(x["params"]) for x in saved["param_groups"]]
    if numbers != [len(x["params"]) for x in optimizer.param_groups]:
        raise ValueError(
            "--resume: the optimizer in the checkpoint has its parameters in other groups. Leave "
            "SOLVER.BIAS_LR_FACTOR, SOLVER.WEIGHT_DECAY_NORM and SOLVER.WEIGHT_DECAY_BIAS as they "
            "were, and what is frozen."
        )


def continue_schedule(scheduler, iteration):
    """Set the learning rates to those of the schedule after ``iteration`` steps."""
    scheduler.last_epoch = iteration
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_lr()):
        group["lr"] = rate


def check_length(start, cfg, can_evaluate):
    """Say that nothing is left to train; raise if the run would do nothing at all.

    Args:
        start: iteration that the run would begin with.
        cfg: its config.
        can_evaluate: the run evaluates at its end.
    """
    length = cfg.SOLVER.MAX_ITER
    if start < length:
        return
    text = (
        f"The checkpoint in {cfg.OUTPUT_DIR} is after iteration {start}, and SOLVER.MAX_ITER is "
        f"{length}: nothing is left to train. Raise SOLVER.EPOCHS or SOLVER.MAX_ITER to train on"
    )
    if start > length or not (can_evaluate and cfg.DATASETS.TEST):
        raise ValueError(f"{text}.")
    logger.warning("%s; the detector is evaluated.", text)


def check_images(saved, found, cfg, path):
    """Refuse to go on in other images: the position in them would mean something else.

    Args:
        saved, found: (number, digest) of the images of the checkpoint and of this run.
        cfg: config of the run.
        path: of the checkpoint.
    """
    if saved and found and saved[1] != found[1]:
        raise ValueError(
            f"--resume: {path} was trained on {saved[0]} images, and DATASETS.TRAIN "
            f"{tuple(cfg.DATASETS.TRAIN)} gives {found[0]} now, with other names or in another "
            "order. Restore the images of the start; or start a new run in another OUTPUT_DIR, "
            "with MODEL.WEIGHTS set to the checkpoint if it is to begin with these weights."
        )


def _comparable(values):
    return {
        key: _SAME_NORMS.get(x, x) if key.rpartition(".")[2] in ("NORM", "HEAD_NORM") else x
        for key, x in flatten(values)
    }
