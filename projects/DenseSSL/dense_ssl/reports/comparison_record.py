"""What the trainings of a comparison have in common: a folder, its RECORD, and their state."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..utils.atomic_file import atomic_file
from .run_origin import run_origin
from .run_settings import differences

RECORD = "comparison_run.json"


@dataclass
class Training:
    """A training with a folder of its own. RECORD in it holds the fields that ``recorded`` names.

    Attributes:
        backbone: name. seed: SEED.
        folder: OUTPUT_DIR.
        last_iteration: SOLVER.MAX_ITER.
        settings: result of ``run_settings``.
        config_file, options: for train_net.py.
        origins: results of ``run_origin`` for every start of the training that had another one.
    """

    backbone: str
    seed: int
    folder: Path
    last_iteration: int
    settings: dict
    config_file: str = ""
    options: tuple = ()
    origins: list = field(default_factory=list)

    recorded = ("backbone", "seed", "last_iteration", "settings", "config_file", "options",
                "origins")  # fmt: skip

    def write(self):
        """Make the folder and write RECORD, with the commit and the versions of now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        saved, origin = self.read(self.folder), run_origin()
        self.origins = list(saved.origins) if saved else []
        if origin not in self.origins:
            self.origins.append(origin)
        text = json.dumps({key: getattr(self, key) for key in self.recorded}, indent=1) + "\n"
        with atomic_file(self.folder / RECORD) as file:
            file.write(text.encode())

    @classmethod
    def read(cls, folder):
        """Return the training of a folder, None without RECORD."""
        path = Path(folder) / RECORD
        if not path.is_file():
            return None
        saved = json.loads(path.read_text(encoding="utf-8"))
        known = {k: x for k, x in saved.items() if k in cls.recorded}  # a newer version has more
        return cls(folder=Path(folder), **known)

    def conflict(self):
        """Return why the training cannot use its folder, "" if it can."""
        saved = self.read(self.folder)
        if saved is not None:
            return "\n".join(f"    {x}" for x in differences(saved.settings, self.settings))
        # RECORD is written first: a process killed before that leaves a lock or a temporary file
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        if any(not x.name.startswith(f"{Path(RECORD).stem}.") for x in files):
            return f"    it has files, but no {RECORD}"
        return ""

    @property
    def length(self):
        """The length of the training as text."""
        epochs = self.settings.get("SOLVER.EPOCHS", 0)  # they replace the iterations
        return f"{epochs} epochs" if epochs else f"{self.last_iteration} iterations"

    def last_checkpoint(self):
        """Return the name of the last checkpoint, "" without one."""
        path = self.folder / "last_checkpoint"
        return path.read_text().strip() if path.is_file() else ""

    def state(self):
        """Return "done", "to run", or the checkpoint that it resumes from."""
        if self.is_done():
            return "done"
        last = self.last_checkpoint()
        return f"resumes from {last}" if last else "to run"
