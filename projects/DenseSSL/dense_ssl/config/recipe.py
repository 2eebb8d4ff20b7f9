"""The batch that a learning rate was stated for."""

from detectron2.config import CfgNode

from .layers import is_trusted, yaml_layers

_DEFAULT_BATCH = 16  # detectron2's IMS_PER_BATCH, for its BASE_LR


def recipe_batch(config_file, options=()):
    """Return the SOLVER.IMS_PER_BATCH that was in force where SOLVER.BASE_LR was last stated.

    A yaml is read after its ``_BASE_``, and ``KEY VALUE`` pairs after all files.

    Args:
        config_file: yaml; "" for none. options: keys and values in turn.
    """
    layers = yaml_layers(config_file, is_trusted(options)) if config_file else []
    layers = [values.get("SOLVER") or {} for _, values in layers]
    pairs = dict(zip(options[::2], options[1::2]))
    layers.append({k[7:]: CfgNode._decode_cfg_value(x) for k, x in pairs.items() if k[:7] == "SOLVER."})  # noqa: E501  # fmt: skip
    batch = recipe = _DEFAULT_BATCH
    for node in layers:
        batch = node.get("IMS_PER_BATCH", batch)
        if "BASE_LR" in node:
            recipe = node.get("RECIPE_BATCH") or batch  # of the config.yaml of a run
    return recipe
