"""DenseSSL: self-supervised pre-training of object detectors, as a detectron2 project."""

try:
    import detectron2 as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "dense_ssl needs detectron2, which has no package of its own name on the index. Either "
        "build it (pip install --no-build-isolation 'git+https://github.com/facebookresearch/"
        "detectron2'), or run tools/install_detectron2.py of this project, which installs a "
        "pure-Python build of it for any Python and torch version."
    ) from error

from . import modeling  # registers every META_ARCHITECTURE, objective and backbone
from .config import add_dense_ssl_config

__all__ = ["add_dense_ssl_config", "modeling"]
