"""Every config key that DenseSSL adds to detectron2, and the loading of configs.

The defaults change nothing for a stock detectron2 config: the same ``cfg`` still trains a plain
Mask R-CNN. Pre-training values are in ``configs/Base-Pretrain.yaml`` and its children. The keys of
a method are in the method's file.
"""

from .defaults import add_dense_ssl_config, default_config
from .loading import detect_device, load_config, read_config

__all__ = [
    "add_dense_ssl_config",
    "default_config",
    "detect_device",
    "load_config",
    "read_config",
]
