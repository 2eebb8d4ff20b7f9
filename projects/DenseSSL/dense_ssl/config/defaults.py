"""The keys of DenseSSL on top of detectron2's."""

from detectron2.config import CfgNode, get_cfg

from .backbones import add_backbone_config
from .data import add_data_config, add_view_config
from .flat import flatten
from .log import add_log_config
from .model import add_classifier_config, add_model_config, add_segmentation_config
from .node import Config
from .objectives import add_objective_config
from .probe import add_probe_config
from .removed import register_removed_keys
from .run import (
    add_evaluation_config,
    add_guard_config,
    add_run_config,
    add_solver_config,
)


def add_dense_ssl_config(cfg):
    """Add the keys of DenseSSL, those of every registered objective among them, to ``cfg``.

    ``cfg`` becomes a :class:`~.node.Config`, so that ``merge_from_file`` then knows IMPORTS.
    """
    if type(cfg) is CfgNode:
        object.__setattr__(cfg, "__class__", Config)  # as an attribute it would be a key
    add_run_config(cfg)
    add_log_config(cfg)
    add_data_config(cfg)
    add_view_config(cfg)
    add_model_config(cfg)
    add_segmentation_config(cfg)
    add_classifier_config(cfg)
    add_backbone_config(cfg)
    add_solver_config(cfg)
    add_evaluation_config(cfg)
    add_probe_config(cfg)
    add_guard_config(cfg)
    add_objective_config(cfg)
    register_removed_keys(cfg)


def default_config():
    """Return a config of detectron2 with the keys of DenseSSL."""
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    return cfg


def refuse_none(cfg):
    """Raise ValueError for None, as an empty value of a yaml is read, unless it is the default."""
    given = dict(flatten(cfg))
    for key, default in flatten(default_config()):
        if default is not None and given.get(key, default) is None:
            raise ValueError(
                f"{key} is None, as of a key without a value in a yaml. Give it a value, such as "
                f"its default {default!r}, or leave the key out."
            )
