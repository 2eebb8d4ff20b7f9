"""The keys of objectives, which may live in other modules."""

from detectron2.config import CfgNode, get_cfg

from ..modeling.objective import OBJECTIVE_REGISTRY


def add_objective_config(cfg):
    """Add the keys of every registered objective that ``cfg`` does not have yet.

    It may be called again after more objectives have been registered; values stay.
    """
    defaults = get_cfg()
    for _, kind in OBJECTIVE_REGISTRY:
        kind.add_config(defaults)
        _add_missing(cfg, defaults)


def _add_missing(cfg, defaults):
    for key, value in defaults.items():
        if key not in cfg:
            cfg[key] = value
        elif isinstance(value, CfgNode):
            _add_missing(cfg[key], value)
