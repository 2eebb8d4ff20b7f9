"""Which runs a comparison has, from what its command line says."""

import os
from pathlib import Path

from ..utils.checks import value_of
from .comparison_pretraining import plan_pretrainings
from .comparison_runs import PROBE, Protocol, Run, check_unique, protocol_name
from .run_settings import OWN_KEYS, WEIGHTS, read_config, run_settings

# Meta-architectures whose data the probe can classify.
_PROBED = ("GeneralizedRCNN", "RetinaNet", "RoIClassifier", "SemanticSegmentor", "WindowSegmentor")


def plan_runs(backbones, config_files, seeds, output, options=(), num_gpus=1, pretrain_options=(),
              grid=(), probe=""):  # fmt: skip
    """Return all runs of a comparison, done or not.

    Seeds change last, so that a comparison that is stopped has results for every cell.

    Args:
        backbones: list of :class:`~.comparison_backbones.Backbone`.
        config_files: yamls of the protocols.
        seeds: list of numbers. output: folder of the comparison.
        options: list of keys and values for every run. num_gpus: GPUs of a run.
        pretrain_options: list of keys and values for every pre-training.
        grid: (key, values ...): a variant of each protocol for each value that is not its own.
        probe: feature map; for each folder of protocols, a probe on the data of its first one.

    Returns:
        list of :class:`Run`.

    Raises:
        ValueError: a run that is not possible; FileNotFoundError: no such weights.
    """
    _check_arguments(backbones, config_files, seeds, options, grid)
    pretrainings = plan_pretrainings(backbones, seeds, output, pretrain_options, num_gpus)
    protocols = _plan_protocols(config_files, options, num_gpus, grid)
    if probe:
        protocols.update(_plan_probes(protocols, probe))
    return [
        _plan_run(protocol, cfg, backbone, seed, output, options, pretrainings)
        for seed in seeds
        for protocol, cfg in protocols.items()
        for backbone in backbones
    ]


def _check_arguments(backbones, config_files, seeds, options, grid):
    """Raise ValueError for what no comparison can have, see :func:`plan_runs`."""
    check_unique("--backbones NAME=PATH", [x.name for x in backbones])
    check_unique("--seeds", seeds)
    check_unique("--protocols", [protocol_name(x) for x in config_files])
    if min(seeds) < 0:
        raise ValueError(f"--seeds: {min(seeds)} would be a new random seed; give 0 or more.")
    check_unique("--grid", grid[1:])
    if any("/" in x for x in grid[1:]):
        raise ValueError(
            "--grid: a value is part of the name of a folder, so it cannot have a '/'."
        )
    own = [x for x in (*options[::2], *grid[:1]) if x in OWN_KEYS]
    if own:
        raise ValueError(f"{own[0]} is set for each run by --backbones, --seeds and --output.")


def _plan_protocols(config_files, options, num_gpus, grid):
    """Return {Protocol: config} of the yamls and of their variants with other values of a key."""
    protocols = {}
    for config_file in config_files:
        base = Protocol(os.fspath(config_file))
        protocols[base] = cfg = read_config(config_file, options, num_gpus)
        for value in grid[1:]:
            variant = Protocol(base.config_file, (grid[0], value))
            changed = read_config(config_file, (*options, *variant.options), num_gpus)
            if value_of(changed, grid[0]) != value_of(cfg, grid[0]):
                protocols[variant] = changed
    return protocols


def _plan_probes(protocols, feature):
    found = {}
    for protocol, cfg in protocols.items():
        probe = Protocol(protocol.config_file, probe=feature)
        if probe.name in {x.name for x in found}:
            continue
        if cfg.MODEL.META_ARCHITECTURE not in _PROBED:
            raise ValueError(
                f"--probe: {protocol.config_file} has neither boxes nor label maps to classify."
            )
        found[probe] = cfg.clone()
    return found


def _plan_run(protocol, cfg, backbone, seed, output, options, pretrainings):
    folder = Path(output) / protocol.name / backbone.name / f"seed{seed}"
    pretraining = pretrainings.get((backbone.name, seed))
    weights = str(pretraining.weights) if pretraining else backbone.weights(seed)
    cfg.SEED, cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS = seed, str(folder), "" if pretraining else weights
    words = (*options, *protocol.options, WEIGHTS, weights, "SEED", str(seed),
             "OUTPUT_DIR", str(folder))  # fmt: skip
    run = Run(
        backbone.name, seed, folder, cfg.SOLVER.MAX_ITER, run_settings(cfg), protocol.config_file,
        words, protocol=protocol.name, per_seed=backbone.path != weights, pretraining=pretraining,
    )  # fmt: skip
    run.take_weights()
    if protocol.probe:
        run.settings[PROBE] = protocol.probe
    return run
