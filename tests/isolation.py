"""Undoing what a run changes in its process, so that the next test starts afresh."""

import logging
import random
from contextlib import contextmanager

import numpy as np
import torch

LOGGERS = ("dense_ssl", "detectron2", "fvcore")


@contextmanager
def restored_process():
    """Restore loggers, random states and the settings of cuDNN, which ``setup`` changes."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(list(x.handlers), x.propagate, x.level) for x in loggers]
    states = [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        for restore, state in states:
            restore(state)
        for logger, (handlers, propagate, level) in zip(loggers, before):
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
