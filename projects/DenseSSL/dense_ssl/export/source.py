"""From a run's folder or a weights file to the module that is exported, on the CPU."""

import os

from ..config.lookup import get_config
from ..modeling.meta_architecture import is_pretraining
from ..prediction.loading import load_backbone, load_detector
from .errors import ExportError
from .modules import BackboneMaps, traceable


def load_source(weights, config=None, overrides=None):
    """Return (config, module to export, names of its classes) of a run or a weights file.

    The config of a pre-training gives its backbone, that of a detector or segmentor the whole
    model.

    Args:
        weights: folder of a run (its last checkpoint is taken), or a weights file.
        config: yaml, or the name of one in configs/; default: config.yaml beside the weights.
        overrides: {key: value} on top.

    Returns:
        (config, module of :mod:`.modules`, list of names or None where they are not known).

    Raises:
        ExportError: no weights or no config there, or a model that cannot be exported.
        ValueError: the weights do not fit the config.
    """
    if config is None:
        config = weights if os.path.isdir(weights) else os.path.dirname(weights) or "."
        if not os.path.isfile(os.path.join(config, "config.yaml")):
            raise ExportError(
                f"There is no config.yaml in {config}: give the yaml of these weights by "
                "--config-file."
            )
    if not os.path.exists(weights):
        raise ExportError(f"There is no file {weights}.")
    cfg = get_config(config, {**(overrides or {}), "MODEL.DEVICE": "cpu"})
    if is_pretraining(cfg):
        found, names = load_backbone(weights, cfg), None
        module = BackboneMaps(found.backbone, found.mean, found.std)
    else:
        found = load_detector(weights, cfg)
        names = found.labels.get("thing_classes") or found.labels.get("stuff_classes")
        module = traceable(found.model)
    return found.cfg, module.eval().requires_grad_(False), list(names) if names else None
