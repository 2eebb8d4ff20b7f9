"""Packages that only some settings need."""

import importlib.util
from importlib import metadata

from packaging.requirements import Requirement

# Module: what pip installs it from. setup.py has each of them in an extra.
REQUIREMENTS = {
    "timm": "timm>=1.0.9",
    "safetensors": "safetensors",
    "wandb": "wandb",
    "mlflow": "mlflow",  # or mlflow-skinny, which has the same module
}


def what_is_wrong(module):
    """Return why a module of REQUIREMENTS cannot be used, as part of a sentence; "" if it can."""
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    requirement = Requirement(REQUIREMENTS[module])
    if not requirement.specifier:
        return ""
    version = metadata.version(requirement.name)
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{module} {version} is too old"
    return ""
