"""Reading one run: its config, its metrics and how far it is."""

import time
from pathlib import Path

from detectron2.modeling import META_ARCH_REGISTRY

from ...modeling.pretrainer import Pretrainer
from ...visualization.curves import read_metrics
from ..run_record import last_start, read_record
from .configs import read_flat_config
from .model import Run
from .scores import last_scores

# Seconds after which a run that writes nothing is not called running.
_SILENCE = 900


def read_run(folder, name):
    """Read a run, which may still go on.

    Args:
        folder: OUTPUT_DIR. name: for the report.
    """
    folder = Path(folder)
    config = read_flat_config(folder)
    metrics_file = folder / "metrics.json"
    metrics = read_metrics(metrics_file) if metrics_file.is_file() else {}
    length = int(config.get("SOLVER.MAX_ITER") or 0)
    reached = max((x[-1] + 1 for x, _ in metrics.values()), default=0)
    state = _state(folder, reached, length)
    return Run(
        name=name,
        folder=folder,
        is_pretraining=is_pretraining(config, folder),
        config=config,
        record=read_record(folder),
        metrics=metrics,
        iteration=min(reached, length) if length else reached,
        length=length,
        state=state,
        scores=last_scores(folder, config, state == "done") if metrics else {},
    )


def is_pretraining(config, folder):
    """Return True if a run pre-trains; by its weights where its method is not registered here."""
    name = config.get("MODEL.META_ARCHITECTURE")
    if name in META_ARCH_REGISTRY:
        return issubclass(META_ARCH_REGISTRY.get(name), Pretrainer)
    return (Path(folder) / "backbone.pkl").is_file()


def _state(folder, reached, length):
    last = folder / "last_checkpoint"
    if length and reached >= length:
        return "done"
    if last.is_file() and last.read_text().strip() == "model_final.pth":
        final, started = folder / "model_final.pth", last_start(read_record(folder))
        # a run that was made longer has the final file of before until its next checkpoint
        if not final.is_file() or final.stat().st_mtime >= started:
            return "done"
    written = [folder / x for x in ("metrics.json", "log.txt")]
    age = time.time() - max((x.stat().st_mtime for x in written if x.is_file()), default=0)
    return "running" if age < _SILENCE else "stopped"
