"""The keys of DenseSSL on top of detectron2's."""

from detectron2.config import CfgNode, get_cfg

from ..modeling.objective import OBJECTIVE_REGISTRY
from .backbones import add_backbone_config
from .data import add_data_config, add_view_config
from .model import add_model_config, add_segmentation_config
from .node import Config
from .removed import register_removed_keys
from .run import add_evaluation_config, add_run_config, add_solver_config


def add_dense_ssl_config(cfg):
    """Add the keys of DenseSSL, those of every registered objective among them, to ``cfg``."""
    add_run_config(cfg)
    add_data_config(cfg)
    add_view_config(cfg)
    add_model_config(cfg)
    add_segmentation_config(cfg)
    add_backbone_config(cfg)
    add_solver_config(cfg)
    add_evaluation_config(cfg)
    add_objective_config(cfg)
    register_removed_keys(cfg)


def add_objective_config(cfg):
    """Add the keys of every registered objective that ``cfg`` does not have yet.

    It may be called again after more objectives have been registered; values stay.
    """
    defaults = get_cfg()
    for _, kind in OBJECTIVE_REGISTRY:
        kind.add_config(defaults)
        _add_missing(cfg, defaults)


def default_config():
    """Return a config of detectron2 with the keys of DenseSSL."""
    cfg = Config(get_cfg())
    add_dense_ssl_config(cfg)
    return cfg


def _add_missing(cfg, defaults):
    for key, value in defaults.items():
        if key not in cfg:
            cfg[key] = value
        elif isinstance(value, CfgNode):
            _add_missing(cfg[key], value)
