"""``backbone.yaml``: what a stock detectron2 config needs for the ``backbone.pkl`` beside it.

detectron2's defaults (BGR, a pixel std of 1, frozen batch norm, two frozen stages) are those of its
own ImageNet weights. It loads other weights without an error, and computes other features.
"""

import json
import logging
import os

from ..utils.atomic_file import atomic_file
from ..utils.checks import value_of
from .handover import BATCH_NORMS, COLOUR_KEYS

logger = logging.getLogger(__name__)

# Builders that detectron2 has itself. Those of its projects (DeepLab's) are not part of it, and its
# ViT and Swin have no keys.
_PLAIN = "build_resnet_backbone"
_PYRAMIDS = ("build_resnet_fpn_backbone", "build_retinanet_resnet_fpn_backbone")
_RESNET_KEYS = ("DEPTH", "STEM_OUT_CHANNELS", "RES2_OUT_CHANNELS", "NUM_GROUPS", "WIDTH_PER_GROUP",
                "STRIDE_IN_1X1", "RES5_DILATION", "NORM")  # fmt: skip
_DEFORM_KEYS = ("DEFORM_ON_PER_STAGE", "DEFORM_MODULATED", "DEFORM_NUM_GROUPS")
_PYRAMID_KEYS = ("MODEL.BACKBONE.NAME", "MODEL.RESNETS.OUT_FEATURES", "MODEL.FPN.IN_FEATURES",
                 "MODEL.FPN.OUT_CHANNELS", "MODEL.FPN.NORM", "MODEL.FPN.FUSE_TYPE")  # fmt: skip
_NORM_KEYS = ("MODEL.RESNETS.NORM", "MODEL.FPN.NORM")

_TITLE = "# Of DenseSSL, for detectron2 without it."
_HOW = f"""{_TITLE} Put these lines into the config of your detector, with
# MODEL.WEIGHTS the path of {{name}}. With detectron2's defaults (BGR images, a pixel std of 1,
# frozen batch norm, two frozen stages) the weights load too, but the features are wrong.
"""
_REST = """\
# MODEL.BACKBONE.NAME and MODEL.RESNETS.OUT_FEATURES are those of your detector. With an FPN, set
# MODEL.FPN.NORM to the same as MODEL.RESNETS.NORM, as MoCo does.
"""
_NOT_STOCK = """{title} There is nothing to paste: {name} is of
# MODEL.BACKBONE.NAME "{builder}", which only DenseSSL has. Use it in a detector of DenseSSL
# (configs/finetune/), or in any detectron2 program after
#     from dense_ssl import add_dense_ssl_config
#     add_dense_ssl_config(cfg)
"""


def stock_keys(cfg):
    """Return {config key: value} of the backbone, as far as stock detectron2 has the keys.

    Args:
        cfg: config that the weights are made with.

    Returns:
        dict; without "MODEL.RESNETS.DEPTH" if stock detectron2 cannot build this backbone.
    """
    name = cfg.MODEL.BACKBONE.NAME
    if name != _PLAIN and name not in _PYRAMIDS:
        return {"MODEL.BACKBONE.NAME": name}
    resnet = _RESNET_KEYS + (_DEFORM_KEYS if any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE) else ())
    keys = [*COLOUR_KEYS, *(f"MODEL.RESNETS.{x}" for x in resnet)]
    keys += _PYRAMID_KEYS if name in _PYRAMIDS else ()
    return {key: value_of(cfg, key) for key in keys}


def stock_yaml(keys, weights="backbone.pkl"):
    """Return the text of ``backbone.yaml``.

    Args:
        keys: result of :func:`stock_keys`, or the same of another project's ResNet.
        weights: name of the weights file.
    """
    if "MODEL.RESNETS.DEPTH" not in keys:
        builder = keys["MODEL.BACKBONE.NAME"]
        return _NOT_STOCK.format(title=_TITLE, name=weights, builder=builder)
    tree = {"MODEL": {"BACKBONE": {"FREEZE_AT": 0}}}
    for key, value in keys.items():
        if key in _NORM_KEYS and value in BATCH_NORMS:
            value = "BN"  # stock detectron2 replaces no SyncBN where it cannot run
        *nodes, last = key.split(".")
        node = tree
        for name in nodes:
            node = node.setdefault(name, {})
        node[last] = value
    text = _HOW.format(name=weights)
    text += "" if "MODEL.FPN.OUT_CHANNELS" in keys else _REST
    unknown = [x for x in COLOUR_KEYS if x not in keys]
    text += f"# Add what the weights were trained with: {', '.join(unknown)}.\n" if unknown else ""
    return text + "\n".join(_lines(tree))


def _lines(tree, indent=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            comment = "  # SyncBN on several GPUs" if value == "BN" else ""
            yield f"{indent}{key}: {json.dumps(value)}{comment}"
    if not indent:
        yield ""


def write_stock_yaml(text, weights):
    """Write the result of :func:`stock_yaml` beside a weights file; return the path, or None.

    A file of that name that DenseSSL has not written stays as it is.
    """
    path = os.path.splitext(weights)[0] + ".yaml"
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            if not file.read(len(_TITLE)) == _TITLE:
                logger.warning("%s is another file, so it is not replaced by the config of %s for "
                               "stock detectron2", path, weights)  # fmt: skip
                return None
    with atomic_file(path) as file:
        file.write(text.encode())
    return path
