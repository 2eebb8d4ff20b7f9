"""OUTPUT_DIR: one run at a time, no new run over the checkpoints of another, and its config."""

import os

from detectron2.utils import comm

from ..checkpoint.recovery import checkpoints_of, locked, remove_leftovers
from ..config.machine import SYNC_BN
from ..utils.atomic_file import atomic_file
from ..utils.checks import value_of


class CheckpointsThere(FileExistsError):
    """A new run would overwrite the checkpoints of another."""


def claim(folder, resume, hold):
    """Take the output folder for a training; runs in every process.

    Args:
        folder: OUTPUT_DIR; "" for none.
        resume: the run goes on from the checkpoint in it.
        hold: contextlib.ExitStack; the folder is held until it closes.

    Raises:
        BlockingIOError: another run writes to the folder.
        OSError: it cannot be written to.
        CheckpointsThere: it has checkpoints, and the run would begin anew.
    """
    if not folder:
        return
    error = None
    if comm.is_main_process():
        try:
            hold.enter_context(locked(folder))
            _refuse_to_overwrite(folder, resume)
            remove_leftovers(folder)
        except (BlockingIOError, CheckpointsThere) as found:
            error = found
        except OSError as found:
            error = type(found)(
                f"OUTPUT_DIR {folder} cannot be written to ({found.strerror}). Set OUTPUT_DIR to a "
                "folder that you may write to, with enough space."
            )
    error = comm.all_gather(error)[0]  # or else the others would wait for the main process
    if error is not None:
        raise error


def config_file(cfg):
    """Return the path of config.yaml."""
    return os.path.join(cfg.OUTPUT_DIR, "config.yaml")


def write_config(cfg, with_device, synchronised=()):
    """Write config.yaml, so that it suits other machines and numbers of processes.

    Args:
        cfg: config, which stays as it is.
        with_device: False for a device that was detected.
        synchronised: keys of norms that were SyncBN before they were fitted to the processes.
    """
    cfg = cfg.clone()
    cfg.defrost()
    for key in synchronised:
        node, _, name = key.rpartition(".")
        value_of(cfg, node)[name] = SYNC_BN
    if not with_device:
        del cfg.MODEL["DEVICE"]
    with atomic_file(config_file(cfg)) as file:
        file.write(cfg.dump().encode())


def _refuse_to_overwrite(folder, resume):
    found = checkpoints_of(folder)
    if found and not resume:
        raise CheckpointsThere(
            f"OUTPUT_DIR {folder} has the checkpoints of a run, the newest is {found[0].name}: a "
            "new run would overwrite them. Add --resume to go on from it; or set OUTPUT_DIR to "
            "another folder, or delete this one."
        )
