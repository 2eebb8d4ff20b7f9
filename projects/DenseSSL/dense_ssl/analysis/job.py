"""What the user of tools/analyze.py named: weights, data, a seed; and the files that come of it."""

import json
import logging
import math
import os
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Optional

import numpy as np
import torch
from detectron2.modeling import build_backbone
from fvcore.nn.precise_bn import get_bn_modules

from ..checkpoint import backbone_settings
from ..config.lookup import get_config
from ..config.machine import resolve_device, resolve_norms
from ..modeling.architectures.zero_init import zero_init_residual
from ..modeling.backbone_keys import norm_key
from ..modeling.backbones import ask_for_finer_maps
from ..modeling.norm_statistics import estimate_statistics
from ..prediction.loading import last_checkpoint, load_backbone
from ..prediction.models import FeatureMaps
from ..reports.run_origin import run_origin
from ..reports.run_settings import fingerprint
from ..utils.checks import value_of
from .samples import Samples

logger = logging.getLogger(__name__)

RANDOM = "random"
_BATCH = 4  # images of a batch that batch norm statistics are estimated on


@dataclass
class Job:
    """One run of an analysis.

    Attributes:
        weights: {name: file or folder of a run}.
        data: entry of DATASETS; "" if there is none.
        config_file: yaml for all weights; None: config.yaml beside each.
        overrides: {config key: value}.
        seed: of the images, of what is drawn for each, and of the random weights.
        norm_images: images that batch norm statistics are estimated on.
        norm_statistics: "file": those of the weights; only random weights get new ones. "data":
            all get new ones.
    """

    weights: dict = field(default_factory=dict)
    data: str = ""
    config_file: Optional[str] = None
    overrides: dict = field(default_factory=dict)
    seed: int = 0
    norm_images: int = 100
    norm_statistics: str = "file"

    def __post_init__(self):
        self._records, self._samples = {}, None

    def samples(self, count, needs):
        """Return the :class:`~.samples.Samples` of the data."""
        if not self.data:
            raise ValueError("give the data by --data ENTRY.")
        self._samples = Samples(self.data, count, self.seed, needs)
        return self._samples

    def backbones(self, samples, size):
        """Yield (name, :class:`~..prediction.models.FeatureMaps`): all weights, then random.

        Their attribute ``file`` says where the weights come from; "" for the random ones.

        Args:
            samples: images for batch norm statistics.
            size: (height, width) that they are resized to.
        """
        if RANDOM in self.weights:
            raise ValueError(f"--weights: {RANDOM!r} is the name of the random weights, which are "
                             "always there; choose another one.")  # fmt: skip
        cfg = None
        for name, path in self.weights.items():
            maps = load_backbone(path, self.config_file, self.overrides, finer_maps=True)
            cfg = cfg or maps.cfg
            if self.norm_statistics == "data":
                self._estimate(maps, samples, size)
            maps.file = self.record(name, path, maps.cfg)
            yield name, maps
        if cfg is None:
            cfg = self.config()
            ask_for_finer_maps(cfg)
        maps = random_backbone(cfg, self.seed)
        self._estimate(maps, samples, size)
        maps.file = self.record(RANDOM, "", maps.cfg)
        yield RANDOM, maps

    def config(self):
        """Return the config of --config-file, for this machine."""
        if not self.config_file:
            raise ValueError("give weights by --weights NAME=FILE, or a config by --config-file.")
        cfg = get_config(self.config_file, self.overrides)
        resolve_device(cfg, logger)
        resolve_norms(cfg, logger)
        return cfg

    def record(self, name, path, cfg):
        """Note which weights were used; return the file."""
        file = last_checkpoint(path) if os.path.isdir(path) else os.fspath(path)
        self._records[name] = {"file": file, "digest": fingerprint(file),
                               "config": backbone_settings(cfg)}  # fmt: skip
        return file

    def _estimate(self, maps, samples, size):
        """Set the batch norm statistics of a backbone to those of the first images."""
        maps.train()
        norms = get_bn_modules(maps)
        if norms:
            batches = _batches(islice(samples.read(), self.norm_images))
            count = -(-min(self.norm_images, len(samples)) // _BATCH)
            estimate_statistics(lambda x: maps(x, size), batches, count, norms)
        maps.eval()

    def write(self, analysis, numbers, figures, folder, formats=("png",)):
        """Write <name>.json and the figures; return the paths.

        Args:
            analysis: :class:`~.registry.Analysis`.
            numbers, figures: what its run returned.
            folder: to write to.
            formats: "png", "svg" or both.
        """
        os.makedirs(folder, exist_ok=True)
        record = {
            "analysis": analysis.name, "source": analysis.source,
            "results": numbers,
            "options": asdict(analysis.options), "seed": self.seed,
            "data": self._samples.record() if self._samples else {"entry": self.data},
            "weights": self._records,
            "config_file": self.config_file, "overrides": self.overrides,
            "norm_statistics": self.norm_statistics, "norm_images": self.norm_images,
            "origin": run_origin(),
        }  # fmt: skip
        paths = [os.path.join(folder, f"{analysis.name}.json")]
        with open(paths[0], "w", encoding="utf-8") as file:
            json.dump(_plain(record), file, indent=1, allow_nan=False)
            file.write("\n")
        for title, figure in figures.items():
            for kind in formats:
                stem = "_".join(filter(None, [analysis.name, title]))
                paths.append(os.path.join(folder, f"{stem}.{kind}"))
                figure.savefig(paths[-1], dpi=110)
        return paths


def random_backbone(cfg, seed):
    """Return a randomly initialised backbone, as a pre-training with this config and seed has it.

    Args:
        cfg: config. A frozen batch norm becomes a batch norm: it has no statistics of its own.
        seed: of torch's generator, which is restored afterwards.

    Returns:
        :class:`~dense_ssl.prediction.models.FeatureMaps`; its batch norms have no statistics yet.
    """
    cfg = cfg.clone()
    cfg.defrost()
    key = norm_key(cfg)
    if key and value_of(cfg, key) == "FrozenBN":
        cfg.merge_from_list([key, "BN"])
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.manual_seed(seed)
        backbone = build_backbone(cfg)
    if cfg.MODEL.RESNETS.ZERO_INIT_RESIDUAL:
        zero_init_residual(backbone)
    return FeatureMaps(backbone, cfg)


def _batches(samples):
    images = (x.image for x in samples)
    return iter(lambda: list(islice(images, _BATCH)), [])


def _plain(value):
    """Return what json can hold: lists for arrays, null for what is not a finite number."""
    if isinstance(value, dict):
        return {str(k): _plain(x) for k, x in value.items()}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
