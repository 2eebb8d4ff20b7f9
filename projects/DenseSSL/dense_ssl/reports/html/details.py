"""How a run was made: its data, environment, commands to repeat it, and its warnings."""

import re
import shlex

from .model import Details, Table
from .tables import number, number_cell, text_cell

_MOST_WARNINGS = 20
_LOG_LINE = re.compile(r"\[[\d/]+ [\d:]+\] (\S+) ([A-Z]+): (.*)")
# Its table of tensors says more than its first line.
_NO_WARNING = "fvcore.common.checkpoint"


def read_details(run):
    """Return the :class:`~.model.Details` of a run."""
    data = run.record.get("data") or {}
    return Details(
        run.name,
        _data(run, data),
        _environment(run),
        _commands(run),
        _warnings(run.folder / "log.txt"),
        _objects(data.get("objects")),
    )


def _data(run, data):
    facts = [("trained on", ", ".join(run.config.get("DATASETS.TRAIN") or ()))]
    if data.get("images"):
        epochs = run.length * (run.config.get("SOLVER.IMS_PER_BATCH") or 0) / data["images"]
        text = f"; {epochs:.1f} epochs in {run.length:,} steps" * (epochs > 0)
        facts.append(("images", number(data["images"]) + text))
    if run.config.get("DATASETS.TEST"):
        facts.append(("tested on", ", ".join(run.config["DATASETS.TEST"])))
    return [(label, text) for label, text in facts if text]


def _objects(counts):
    """Return the number of labelled objects of each class as a table; None where unknown."""
    if not counts:
        return None
    rows = [[text_cell(k), number_cell(v)] for k, v in counts.items()]
    return Table("Labelled objects", ["class", "objects"], rows)


def _environment(run):
    facts = []
    for start in run.record.get("starts", []):
        commit = start.get("commit", "")[:12] + (
            " with uncommitted changes" if start.get("dirty") else ""
        )
        texts = [
            f"from iteration {start['iteration']:,}" if start.get("iteration") else "",
            f"on {start['device']}" if start.get("device") else "",
            f"{start['processes']} processes" if start.get("processes", 1) > 1 else "",
            *(f"{x} {start[x]}" for x in ("torch", "detectron2", "python") if x in start),
            f"commit {commit}" if commit else "",
        ]
        facts.append((start.get("time", ""), ", ".join(x for x in texts if x)))
    return facts


def _commands(run):
    """Return (what it does, command) pairs."""
    commands = []
    starts = run.record.get("starts", [])
    if starts:
        folder = shlex.quote(starts[0].get("folder", "."))
        commands.append(("As it was started", f"cd {folder}\n{starts[0].get('command', '')}"))
    config, folder = (shlex.quote(str(x)) for x in (run.folder / "config.yaml", run.folder))
    again = f"python train_net.py --config-file {config}"
    commands.append(("Again, from its resolved config", f"{again} OUTPUT_DIR output/again"))
    if run.state != "done":
        commands.append(("Go on from its last checkpoint", f"{again} --resume OUTPUT_DIR {folder}"))
    if run.is_pretraining and (run.folder / "backbone.pkl").is_file():
        weights = shlex.quote(str(run.folder / "backbone.pkl"))
        commands.append(
            (
                "A detector from it",
                f"python train_net.py --config-file YAML MODEL.WEIGHTS {weights}",
            )
        )
    return commands


def _warnings(path):
    """Return the warnings of a log.txt, each once, the last of them if there are many."""
    if not path.is_file():
        return []
    found = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            parts = _LOG_LINE.match(line)
            if parts and parts[2] in ("WARNING", "ERROR") and parts[1] != _NO_WARNING:
                found[parts[3].strip()] = None
    return list(found)[-_MOST_WARNINGS:]
