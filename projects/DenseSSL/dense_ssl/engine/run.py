"""One run from its config to its end: what train_net.py and the Python API start."""

import contextlib
import logging
import sys
import time

from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils import logger as detectron2_logger

from ..utils.exit_codes import FAILED
from ..utils.plain_errors import FULL, message_of
from .interrupts import ctrl_c_ends, handlers_restored
from .setup import setup
from .trainer import Trainer

logger = logging.getLogger(__name__)

_LOGGERS = ("dense_ssl", "detectron2", "fvcore")
_PATIENCE = 10  # seconds in which the end of one process ends the others


def run(args):
    """Train, or evaluate with ``eval_only``; runs in every process.

    Args:
        args: result of detectron2's ``default_argument_parser()``. The Python API gives ``cfg``, a
            config, instead of a file and options.

    Returns:
        results of the (last) evaluation in the main process.
    """
    with _own_log(), contextlib.ExitStack() as hold:
        try:
            with _full_disk(), handlers_restored(), ctrl_c_ends():
                cfg = setup(args, hold)
                return evaluate(cfg, args.resume) if args.eval_only else train(cfg, args.resume)
        except Exception:
            if logger.hasHandlers():  # for log.txt, if the run came as far as that
                logger.error("The run ends with an error", exc_info=True)
            raise


def run_command(args):
    """:func:`run` of a command line: an error with a message for the user has no traceback."""
    try:
        return run(args)
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        if not comm.is_main_process():
            time.sleep(_PATIENCE)  # the main process most likely says the same
        sys.stderr.write(f"\n{message}\n")
        raise SystemExit(FAILED) from None


def train(cfg, resume):
    """Train from the result of :func:`~.setup.setup`; return the results of the evaluation."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer.train()


def evaluate(cfg, resume):
    """Evaluate MODEL.WEIGHTS (or the last checkpoint) on DATASETS.TEST; return the results."""
    model = Trainer.build_model(cfg)
    needed = "model" if cfg.MODEL.CHECK_WEIGHTS else ""
    checkpointer = Trainer.build_checkpointer(cfg, model, needed=needed)
    if needed and not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        raise ValueError(
            "MODEL.WEIGHTS is empty, so --eval-only would evaluate random weights. Set it to the "
            "model_final.pth of a trained detector, or use --resume with its OUTPUT_DIR."
        )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


@contextlib.contextmanager
def _full_disk():
    """Say what to do where the disk is full; metrics, pictures and results are written all over."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(
            f"{error.filename or 'A file in OUTPUT_DIR'} is not written: {error.strerror}. The "
            "checkpoints are intact. Free some space, or move OUTPUT_DIR to another disk; then "
            "--resume goes on from the last checkpoint."
        ) from error


@contextlib.contextmanager
def _own_log():
    """Take the handlers of the run off the loggers at its end.

    A notebook starts several runs in one process: each would print every line once more than the
    one before, and write it to all earlier log.txt too.
    """
    loggers = [logging.getLogger(x) for x in _LOGGERS]
    before = [list(x.handlers) for x in loggers]
    try:
        yield
    finally:
        streams = set()
        for logger, handlers in zip(loggers, before):
            for handler in set(logger.handlers) - set(handlers):
                with contextlib.suppress(OSError):  # of a full disk; logging has said it
                    handler.flush()
                logger.removeHandler(handler)
                streams.add(getattr(handler, "stream", None))
        for stream in streams:  # that of log.txt is the loggers' in common; the console stays open
            if "log.txt" in str(getattr(stream, "name", "")):
                with contextlib.suppress(OSError):
                    stream.close()
        # else a second run with the same folder would not log, or log to a file that is gone
        detectron2_logger.setup_logger.cache_clear()
        detectron2_logger._cached_log_stream.cache_clear()
