"""Every config key that DenseSSL adds to detectron2, with its default.

The defaults change nothing for a stock detectron2 config: the same ``cfg`` still trains a plain
Mask R-CNN. Pre-training values live in ``configs/Base-Pretrain.yaml`` and its children.
"""

from .backbones import add_backbone_config
from .data import add_data_config, add_view_config
from .methods import add_bootstrap_config, add_contrastive_config, add_method_config
from .model import add_model_config, add_segmentation_config
from .run import add_run_config, add_solver_config


def add_dense_ssl_config(cfg):
    """Add the keys of DenseSSL to ``cfg`` (in place)."""
    add_run_config(cfg)
    add_data_config(cfg)
    add_view_config(cfg)
    add_model_config(cfg)
    add_segmentation_config(cfg)
    add_backbone_config(cfg)
    add_method_config(cfg)
    add_contrastive_config(cfg)
    add_bootstrap_config(cfg)
    add_solver_config(cfg)
