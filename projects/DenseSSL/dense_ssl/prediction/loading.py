"""From finished weights to a backbone or a detector that takes images."""

import logging
import os
from pathlib import Path

from detectron2.modeling import build_backbone
from torch import nn

from ..checkpoint import Checkpointer, backbone_settings
from ..config.lookup import get_config, is_run
from ..config.machine import resolve_device, resolve_norms
from ..config.values import check_values
from ..modeling.backbones import ask_for_finer_maps
from ..modeling.building import build_model
from ..modeling.detectors.frozen_features import FrozenFeatures
from ..modeling.meta_architecture import is_pretraining, meta_architecture
from .models import Detector, FeatureMaps, known_labels

logger = logging.getLogger(__name__)


def load_backbone(weights, config=None, overrides=None, *, finer_maps=False):
    """Return a backbone with its weights, to compute feature maps.

    Args:
        weights: backbone.pkl, any other weights that MODEL.WEIGHTS may be, or the folder of a run.
        config, overrides: of :func:`~..config.lookup.get_config`; of a pre-training or a detector.
            Default: config.yaml beside the weights.
        finer_maps: of a ResNet, also the maps before those of MODEL.RESNETS.OUT_FEATURES.

    Returns:
        :class:`~.models.FeatureMaps`.
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
        config, overrides: of :func:`~..config.lookup.get_config`. Default: config.yaml beside
            the weights.

    Returns:
        :class:`~.models.Detector`.
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


def _located(weights, config, overrides):
    """Return (weights file, config resolved for this machine in one process)."""
    weights = os.fspath(weights)
    if os.path.isdir(weights):
        config, weights = config or weights, last_checkpoint(weights)
    beside = os.path.dirname(weights)
    if config is None and not is_run(beside):
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
