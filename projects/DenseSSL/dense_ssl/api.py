"""DenseSSL in Python: what train_net.py does, and what comes after it (docs/python.md).

Every function takes a config: the name of a yaml in configs/ ("mini/pretrain/scrl_R_18"), the path
of a yaml, the folder of a run, or what :func:`get_config` returns; and a dict of keys to change,
such as ``{"SOLVER.IMS_PER_BATCH": 8}``.
"""

import argparse
import logging
import os
from pathlib import Path

from detectron2.modeling import build_backbone, build_model
from torch import nn

from .checkpoint import Checkpointer, backbone_settings
from .config import read_config
from .config.values import check_values
from .engine import launch, run
from .engine.inference import Detector, FeatureMaps, known_labels
from .engine.machine import resolve_device, resolve_norms
from .engine.setup import is_pretraining, meta_architecture
from .modeling.backbones import ask_for_finer_maps
from .modeling.detectors.frozen_features import FrozenFeatures

logger = logging.getLogger(__name__)

# Where configs/ is: in an installed package, and in a checkout (also after pip install -e).
_PLACES = (Path(__file__).with_name("configs"), Path(__file__).parents[3] / "configs")


def get_config(config, overrides=None):
    """Return a config that can be changed.

    Args:
        config: see the module.
        overrides: {key: value} on top.

    Returns:
        detectron2 CfgNode. MODEL.DEVICE is "detect" unless it is stated.

    Raises:
        FileNotFoundError: no such yaml; the message lists similar names.
        KeyError: a key does not exist.
    """
    options = _options(overrides)
    if isinstance(config, (str, os.PathLike)):
        return read_config(_yaml_file(os.fspath(config)), options)
    cfg = config.clone()
    cfg.defrost()
    cfg.merge_from_list(options)
    return cfg


def train(config, overrides=None, *, resume=False, processes=1):
    """Pre-train a backbone, or fine-tune a detector, as ``train_net.py`` does.

    The run writes its checkpoints, log.txt, metrics.json and config.yaml to OUTPUT_DIR; scores of
    a detector on DATASETS.TEST are in metrics.json, or :func:`evaluate` returns them.

    Args:
        config, overrides: see the module.
        resume: continue from the last checkpoint in OUTPUT_DIR, if there is one.
        processes: processes on this machine, one for each GPU. A script that starts several must
            do so below ``if __name__ == "__main__":``.

    Returns:
        path of the weights: ``backbone.pkl`` of a pre-training, ``model_final.pth`` of a detector.
    """
    _run(config, overrides, resume=resume, eval_only=False, num_gpus=processes)
    cfg = get_config(config, overrides)
    return os.path.join(
        cfg.OUTPUT_DIR, "backbone.pkl" if is_pretraining(cfg) else "model_final.pth"
    )


def evaluate(config, overrides=None):
    """Evaluate a detector on DATASETS.TEST, as ``train_net.py --eval-only`` does.

    Args:
        config, overrides: see the module. MODEL.WEIGHTS must be those of the trained detector. A
            run's folder gives its last checkpoint, unless ``overrides`` has other weights.

    Returns:
        scores in percent by task and name: ``{"bbox": {"AP": 41.3, "AP-cat": ...}}``.
    """
    if _is_run(config):
        overrides = {"MODEL.WEIGHTS": last_checkpoint(config), **(overrides or {})}
    return _run(config, overrides, resume=False, eval_only=True, num_gpus=1)


def load_backbone(weights, config=None, overrides=None, *, finer_maps=False):
    """Return a backbone with its weights, to compute feature maps.

    Args:
        weights: backbone.pkl, any other weights that MODEL.WEIGHTS may be, or the folder of a run.
        config, overrides: see the module; of a pre-training or a detector. Default: config.yaml
            beside the weights.
        finer_maps: of a ResNet, also the maps before those of MODEL.RESNETS.OUT_FEATURES.

    Returns:
        :class:`~.engine.inference.FeatureMaps`.
    """
    weights, cfg = _located(weights, config, overrides)
    if finer_maps:
        ask_for_finer_maps(cfg)
    holder = nn.Module()
    holder.backbone = build_backbone(cfg)
    _load(holder.to(cfg.MODEL.DEVICE), cfg, weights, needed="backbone")
    return FeatureMaps(holder.backbone, cfg)


def load_detector(weights, config=None, overrides=None):
    """Return a trained detector or segmentor, to predict on images.

    Args:
        weights: ``model_final.pth`` or another checkpoint of it, or the folder of its run.
        config, overrides: see the module. Default: config.yaml beside the weights.

    Returns:
        :class:`~.engine.inference.Detector`.
    """
    weights, cfg = _located(weights, config, overrides)
    if is_pretraining(cfg):
        raise ValueError(
            f"{weights} is of a pre-training, which has learned features but no classes: fine-tune "
            "a detector first (configs/finetune/, MODEL.WEIGHTS its backbone.pkl). For features, "
            "there are load_backbone and tools/embed.py."
        )
    if issubclass(meta_architecture(cfg), FrozenFeatures):
        raise ValueError(
            f"{weights} is of a {cfg.MODEL.META_ARCHITECTURE}, which classifies labelled boxes or "
            "whole images to evaluate a backbone, and finds no objects: train_net.py --eval-only "
            "gives its accuracy. To predict, fine-tune a detector (configs/finetune/)."
        )
    model = build_model(cfg)
    checkpoint = _load(model, cfg, weights, needed="model")
    return Detector(model, cfg, known_labels(checkpoint, cfg))


def last_checkpoint(folder):
    """Return the path of the last checkpoint of a run; backbone.pkl where that was deleted."""
    path = os.path.join(folder, "last_checkpoint")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{folder!r} has no last_checkpoint: is it the OUTPUT_DIR of a run that has saved one?"
        )
    last = os.path.join(folder, Path(path).read_text(encoding="utf-8").strip())
    backbone = os.path.join(folder, "backbone.pkl")  # compare.py --delete-checkpoints keeps it
    return backbone if os.path.isfile(backbone) and not os.path.isfile(last) else last


def _run(config, overrides, **arguments):
    """Start ``engine.run`` as train_net.py does; return what it returns in a single process."""
    args = argparse.Namespace(
        config_file="", opts=[], num_machines=1, machine_rank=0, dist_url="auto", **arguments
    )
    if isinstance(config, (str, os.PathLike)):
        args.config_file, args.opts = _yaml_file(os.fspath(config)), _options(overrides)
    else:
        args.cfg, args.opts = get_config(config, overrides), _options(overrides)
    return launch(run, args)


def _options(overrides):
    """{"A.B": 1} -> ["A.B", 1], as on the command line."""
    return [x for pair in (overrides or {}).items() for x in pair]


def _is_run(config):
    return isinstance(config, (str, os.PathLike)) and os.path.isfile(
        os.path.join(config, "config.yaml")
    )


def _yaml_file(name):
    """Return the yaml of a name, a path or the folder of a run."""
    if _is_run(name):
        return os.path.join(name, "config.yaml")
    if os.path.isfile(name):
        return name
    folder = next((x for x in _PLACES if x.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"there is no file {name!r}, and no configs/ beside the package.")
    path = folder / (name if name.endswith(".yaml") else f"{name}.yaml")
    if path.is_file():
        return str(path)
    names = [x.relative_to(folder).with_suffix("").as_posix() for x in folder.rglob("*.yaml")]
    words = set(name.replace(".yaml", "").replace("/", "_").split("_"))
    near = sorted(names, key=lambda x: -len(words & set(x.replace("/", "_").split("_"))))[:5]
    raise FileNotFoundError(
        f"there is no config {name!r}, neither as a path nor in {folder}. Similar names there: "
        f"{', '.join(near)}."
    )


def _located(weights, config, overrides):
    """Return (weights file, config resolved for this machine in one process)."""
    weights = os.fspath(weights)
    if os.path.isdir(weights):
        config, weights = config or weights, last_checkpoint(weights)
    beside = os.path.dirname(weights)
    if config is None and not _is_run(beside):
        raise FileNotFoundError(
            f"there is no config.yaml beside {weights!r}: give the config of these weights as the "
            'second argument, such as "pretrain/scrl_R_50_coco".'
        )
    cfg = get_config(config or beside, overrides)
    check_values(cfg)
    resolve_device(cfg, logger)
    resolve_norms(cfg, logger)
    return weights, cfg


def _load(model, cfg, weights, needed):
    """Load weights; return what else the checkpoint holds."""
    checkpointer = Checkpointer(
        model, settings=backbone_settings(cfg), check=cfg.MODEL.CHECK_WEIGHTS,
        trust=cfg.MODEL.TRUST_WEIGHTS, needed=needed,
    )  # fmt: skip
    return checkpointer.load(weights)
