"""The backbones of a comparison, as the command line names them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

# Usual names of weights files; the name of their folder says more.
_COMMON_NAMES = ("backbone", "model_final")


@dataclass(frozen=True)
class Backbone:
    """A row of the comparison: its name, and its weights ("" for random ones).

    ``{seed}`` in the path is replaced by the seed of the run, for several pre-trainings. The path
    may be a yaml: the comparison then pre-trains for each seed.
    """

    name: str
    path: str

    @classmethod
    def parse(cls, text):
        """Read "random", "PATH", "NAME=PATH" or "NAME=random"."""
        name, equals, path = text.partition("=")
        if not equals or os.path.isfile(_file(text)):
            path, file = text, Path(_file(text))
            name = file.parent.name if file.stem in _COMMON_NAMES else file.stem
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ValueError(
                f"--backbones: {text!r} needs a name of letters, digits and '_.+-': NAME=PATH"
            )
        return cls(name, "" if path == "random" else path)

    @property
    def is_yaml(self):
        """The backbone is pre-trained by the comparison."""
        return self.path.endswith((".yaml", ".yml"))

    def weights(self, seed):
        """Return MODEL.WEIGHTS for a seed; not of a yaml."""
        path = self.path.replace("{seed}", str(seed))
        if path and "://" not in path and not os.path.isfile(_file(path)):
            raise FileNotFoundError(f"--backbones: {self.name} has no weights at {path!r}")
        return path


def _file(weights):
    """Return the path in MODEL.WEIGHTS, without options as in "x.pth?matching_heuristics=True"."""
    return weights.partition("?")[0]
