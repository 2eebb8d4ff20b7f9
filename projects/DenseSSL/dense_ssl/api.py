"""DenseSSL in Python: what train_net.py does, and what comes after it (docs/python.md).

Every function takes a config: the name of a yaml in configs/ ("mini/pretrain/scrl_R_18"), the path
of a yaml, the folder of a run, or what :func:`get_config` returns; and a dict of keys to change,
such as ``{"SOLVER.IMS_PER_BATCH": 8}``.
"""

import argparse
import os

from .config.lookup import as_options, get_config, is_run, yaml_of
from .engine import launch, run
from .modeling.meta_architecture import is_pretraining
from .prediction.loading import last_checkpoint, load_backbone, load_detector

__all__ = ["evaluate", "get_config", "last_checkpoint", "load_backbone", "load_detector", "train"]


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
    if is_run(config):
        overrides = {"MODEL.WEIGHTS": last_checkpoint(config), **(overrides or {})}
    return _run(config, overrides, resume=False, eval_only=True, num_gpus=1)


def _run(config, overrides, **arguments):
    """Start ``engine.run`` as train_net.py does; return what it returns in a single process."""
    args = argparse.Namespace(
        config_file="", opts=[], num_machines=1, machine_rank=0, dist_url="auto", **arguments
    )
    if isinstance(config, (str, os.PathLike)):
        args.config_file, args.opts = yaml_of(os.fspath(config)), as_options(overrides)
    else:
        args.cfg, args.opts = get_config(config, overrides), as_options(overrides)
    return launch(run, args)
