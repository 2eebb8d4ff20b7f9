"""What the console shows; log.txt has everything.

detectron2 logs its environment, the config, every layer of the model and tables of the weights and
of the data: some 800 lines before the first step. The console gets one line for each of them.
"""

import logging
import os
import platform
import sys

import detectron2
import torch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from termcolor import colored

from ..utils.printable import PrintableMessages
from ..utils.quiet import hold_back_torch

logger = logging.getLogger(__name__)

# Logger, and the function that logs ("" for all): their messages, except warnings, are for log.txt.
_FOR_THE_FILE = (
    ("detectron2", "default_setup"),  # environment, command line, config
    ("detectron2.engine.defaults", "build_model"),
    ("detectron2.engine.train_loop", ""),
    ("detectron2.data", ""),
    ("detectron2.checkpoint", ""),
    ("detectron2.evaluation.evaluator", ""),  # there is a progress bar
    ("fvcore.common.checkpoint", ""),
)

# They log the error that ends a run, and raise it.
_END_THE_RUN = ("detectron2.engine.train_loop", "dense_ssl.engine.run")


def setup_console(output_dir):
    """Set up the loggers of a run: log.txt with everything, the console with what matters.

    A record may carry another text for the console, ``extra={"console": text}``.

    Args:
        output_dir: OUTPUT_DIR.
    """
    rank = comm.get_rank()
    hold_back_torch()
    # in the very form of detectron2's default_setup, which then gets the same loggers
    loggers = [
        setup_logger(output_dir, distributed_rank=rank, name="fvcore"),
        setup_logger(output_dir, distributed_rank=rank),
        setup_logger(output_dir, distributed_rank=rank, name="dense_ssl"),
    ]
    for handler in {handler for x in loggers for handler in x.handlers}:
        handler.filters = [PrintableMessages()]
        if getattr(handler, "stream", None) is sys.stdout:
            handler.filters = [_is_for_the_console, PrintableMessages()]
            handler.setFormatter(_ConsoleFormatter("[%(asctime)s]", datefmt="%H:%M:%S"))


def announce(cfg, config_file, is_kept=False):
    """Log one line on the environment and one on the config.

    Args:
        cfg: config. config_file: path of the yaml, or "".
        is_kept: config.yaml is that of another run, whose detector is evaluated.
    """
    log = f"; details in {os.path.join(cfg.OUTPUT_DIR, 'log.txt')}" if cfg.OUTPUT_DIR else ""
    logger.info(
        "torch %s, detectron2 %s, Python %s on %s%s",
        torch.__version__, detectron2.__version__, platform.python_version(),
        describe_device(cfg.MODEL.DEVICE), log,
    )  # fmt: skip
    if cfg.OUTPUT_DIR:
        logger.info(
            "Config: %s and the command line; all values in %s",
            config_file or "defaults",
            os.path.join(cfg.OUTPUT_DIR, "log.txt" if is_kept else "config.yaml"),
        )  # fmt: skip


def announce_model(cfg, model):
    """Log one line on the model."""
    count = sum(x.numel() for x in model.parameters() if x.requires_grad)
    logger.info("Model: %s, backbone by %s, %.1f million parameters with a gradient",
                cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE.NAME, count / 1e6)  # fmt: skip


def describe_device(device):
    """Return a device in words, such as "cpu, 2 threads"; with the processes, if several."""
    processes = f", {comm.get_world_size()} processes" if comm.get_world_size() > 1 else ""
    if device.startswith("cuda"):
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{torch.cuda.get_device_name(device)} ({memory:.0f} GiB){processes}"
    return f"{device}, {torch.get_num_threads()} threads{processes}"


def _is_for_the_console(record):
    if record.exc_info and record.name in _END_THE_RUN:
        return False  # the command ends with this error
    if record.levelno >= logging.WARNING:
        return True
    return not any(
        record.funcName == function if function else f"{record.name}.".startswith(f"{name}.")
        for name, function in _FOR_THE_FILE
        if not function or record.name == name
    )


class _ConsoleFormatter(logging.Formatter):
    """'[12:34:56] message', without the name of the module."""

    def formatMessage(self, record):
        if hasattr(record, "console"):
            return record.console
        level = record.levelname
        level = f"{colored(level, 'red')}: " if record.levelno >= logging.WARNING else ""
        return f"{colored(super().formatMessage(record), 'green')} {level}{record.message}"
