"""Which checkpoint of a folder a run goes on from, what is deleted, and who may write there."""

import contextlib
import fcntl
import logging
import math
import os
import re
import zipfile
from pathlib import Path

from .formats import read_checkpoint

logger = logging.getLogger(__name__)

_NUMBERED = re.compile(r"model_(\d+)\.pth")
_FINAL = "model_final.pth"
_TAG = "last_checkpoint"
_LOCK = ".lock"

_held = set()  # file descriptors of locks


def _let_go():
    """In a forked process, such as a worker of the data loader: the lock is its parent's alone.

    A worker outlives a killed run by some seconds, and the next run would be refused.
    """
    null = os.open(os.devnull, os.O_RDONLY) if _held else None
    for descriptor in _held:
        os.dup2(null, descriptor)
    if null is not None:
        os.close(null)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def checkpoints_of(folder):
    """Return the checkpoints that a run could go on from: the final one, then the newest first.

    model_best.pth is not among them: it is a detector, not the end of a run.
    """
    if not os.path.isdir(folder):
        return []
    numbered = [x for x in Path(folder).iterdir() if _NUMBERED.fullmatch(x.name)]
    numbered.sort(key=_iteration, reverse=True)
    final = Path(folder, _FINAL)
    return [final, *numbered] if final.is_file() else numbered


def last_intact(folder):
    """Return the path of the newest complete checkpoint of a run, "" if there is none at all.

    It is the one that ``last_checkpoint`` names. Where that is lost or damaged, or the file that it
    names, the newest one that is intact.

    Raises:
        ValueError: there are checkpoints, and all of them are damaged.
    """
    others, tagged = checkpoints_of(folder), _tagged(folder)
    if others and tagged is None:
        logger.warning(
            "%s/%s is lost or damaged: looking for the newest checkpoint beside it", folder, _TAG
        )
    others = [x for x in others if x != tagged]
    for path in _by_age(tagged, others):
        fault = fault_of(path)
        if not fault:
            return str(path)
        logger.warning("%s is damaged (%s): trying the checkpoint before it", path, fault)
    count = len(others) + (tagged is not None)
    if count:
        raise ValueError(
            f"All {count} checkpoints in {folder} are damaged, so --resume has nothing "
            "to go on from. Move them away to start again, or set another OUTPUT_DIR."
        )
    return ""


def _by_age(tagged, others):
    """Yield the tagged checkpoint, then the others, the newest first.

    A run that was made longer has numbered checkpoints that are newer than the final one. The final
    one is opened only if the tagged one was not taken.
    """
    if tagged is not None:
        yield tagged
    yield from sorted(others, key=_last_iteration, reverse=True)


def _last_iteration(path):
    if path.name != _FINAL:
        return _iteration(path)
    try:
        return int(read_checkpoint(str(path))["iteration"])
    except Exception:  # an older file, or a damaged one, which will not be taken
        return math.inf


def fault_of(path):
    """Say what is wrong with a checkpoint, by the checksums in it; "" if it is intact."""
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        return str(error) or type(error).__name__
    return f"the checksum of {broken} is wrong" if broken else ""


def remove_leftovers(folder):
    """Delete what writers left that were killed; nobody else may write to the folder."""
    for path in Path(folder).glob("*.tmp[0-9]*"):
        logger.info("Deleting %s, which a killed run left half written", path)
        path.unlink(missing_ok=True)


def remove_old(folder, keep, period):
    """Delete the checkpoints of a run except the last ones.

    Args:
        folder: OUTPUT_DIR.
        keep: how many stay; 0: all.
        period: those after each so many iterations stay too; 0: none of them.
    """
    tagged = _tagged(folder)
    numbered = [x for x in checkpoints_of(folder) if x.name != _FINAL]
    # those of a run that goes on with larger batches have smaller numbers than older ones
    numbered.sort(key=lambda x: (x.stat().st_mtime_ns, _iteration(x)), reverse=True)
    for path in numbered[keep:] if keep else ():
        done = _iteration(path) + 1
        if path != tagged and not (period and done % period == 0):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder):
    """Hold a folder for one run: the system lets go of it when the process ends, however it ends.

    Raises:
        BlockingIOError: another run writes to it.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, _LOCK), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another run writes to {folder}. Wait for its end or stop it; or set OUTPUT_DIR "
                "to another folder."
            ) from None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s): start no second run in it", folder, error)
        _held.add(file.fileno())
        try:
            yield
        finally:
            _held.discard(file.fileno())


def _iteration(path):
    return int(_NUMBERED.fullmatch(path.name)[1])


def _tagged(folder):
    """Return the path that ``last_checkpoint`` names; None if it names none that is there."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        name = Path(folder, _TAG).read_text(encoding="utf-8").strip()
        path = Path(folder, name)
        if name and path.is_file():
            return path
    return None
