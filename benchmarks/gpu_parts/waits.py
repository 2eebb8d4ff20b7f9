"""Where the host waits for the device in a step of each method."""

import functools
import warnings
from collections import Counter
from pathlib import Path

import torch

from gpu_parts.common import fixed_trainer, pretrain_config

WARM_UP = 3


def items(settings):
    """{method: function}; nothing without a GPU, where no operation waits."""
    if not settings.on_gpu:
        return {}
    return {x: functools.partial(waits, settings, x) for x in settings.methods}


def waits(settings, method):
    """Count the operations of a step that synchronise, by the line that called them."""
    trainer = fixed_trainer(pretrain_config(settings, method, 8, "SOLVER.AMP.ENABLED", True))
    for _ in range(WARM_UP):
        trainer.step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            trainer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = Counter(
        f"{Path(x.filename).parent.name}/{Path(x.filename).name}:{x.lineno}"
        for x in caught
        if "synchronizing" in str(x.message)
    )
    return {"ok": None, "waits": sum(found.values()), "_lines": dict(found.most_common())}
