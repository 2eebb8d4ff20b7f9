"""DenseSSL: self-supervised pre-training of object detectors, as a detectron2 project.

``add_dense_ssl_config`` is what a detectron2 program needs of it. ``get_config``, ``train``,
``evaluate``, ``load_backbone`` and ``load_detector`` are the Python API (docs/python.md).
"""

import importlib.util

for _module, _what_to_do in {
    "torch": "install a build that suits your machine (https://pytorch.org/get-started)",
    "torchvision": "install the version that belongs to your torch",
    "cv2": "pip install opencv-python-headless (or opencv-python, but only one of the two)",
    "detectron2": "it has no package of its own name on the index. Either build it (pip install "
    "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2'), or run "
    "tools/install_detectron2.py of this project, which installs a pure-Python build of it for any "
    "Python and torch version",
}.items():
    if importlib.util.find_spec(_module) is None:
        raise ImportError(f"dense_ssl needs {_module}: {_what_to_do}.")

from . import modeling  # noqa: E402 - registers every META_ARCHITECTURE, objective and backbone
from .config import add_dense_ssl_config  # noqa: E402

_API = ("evaluate", "get_config", "load_backbone", "load_detector", "train")

__all__ = ["add_dense_ssl_config", "modeling", *_API]


def __getattr__(name):
    """Import the API when it is used: a program that only registers the models does not need it."""
    if name in _API:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
