"""The batch that a learning rate was stated for."""

import yaml
from detectron2.config import CfgNode

_DEFAULT_BATCH = 16  # detectron2's IMS_PER_BATCH, for its BASE_LR


def recipe_batch(config_file, options=()):
    """Return the SOLVER.IMS_PER_BATCH that was in force where SOLVER.BASE_LR was last stated.

    A yaml is read after its ``_BASE_``, and ``KEY VALUE`` pairs after all files.

    Args:
        config_file: yaml; "" for none. options: keys and values in turn.
    """
    layers = _solver_nodes(config_file) if config_file else []
    pairs = dict(zip(options[::2], options[1::2]))
    layers.append({k[7:]: CfgNode._decode_cfg_value(x) for k, x in pairs.items() if k[:7] == "SOLVER."})  # noqa: E501  # fmt: skip
    batch = recipe = _DEFAULT_BATCH
    for node in layers:
        batch = node.get("IMS_PER_BATCH", batch)
        if "BASE_LR" in node:
            recipe = node.get("RECIPE_BATCH") or batch  # of the config.yaml of a run
    return recipe


def _solver_nodes(config_file):
    """Return what each file states under SOLVER, without its ``_BASE_``; bases first."""
    found = []

    class Reader(CfgNode):
        @classmethod
        def load_yaml_with_base(cls, filename, allow_unsafe=False):
            values = super().load_yaml_with_base(filename, allow_unsafe)
            with cls._open_cfg(filename) as file:
                found.append((yaml.unsafe_load(file) or {}).get("SOLVER") or {})
            return values

    Reader.load_yaml_with_base(config_file, allow_unsafe=True)
    return found
