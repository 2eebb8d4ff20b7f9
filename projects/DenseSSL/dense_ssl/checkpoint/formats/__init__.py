"""Backbones from and to the checkpoint formats of other projects."""

from .backbone import Backbone, extract_backbone, flip_colours
from .layouts import LAYOUTS
from .reading import CheckpointError, read_checkpoint
from .recognise import recognise
from .report import describe, warnings
from .sources import check_stated
from .writing import FORMATS, detectron2_checkpoint, torchvision_state_dict, write_backbone

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "Backbone",
    "CheckpointError",
    "check_stated",
    "describe",
    "detectron2_checkpoint",
    "extract_backbone",
    "flip_colours",
    "read_checkpoint",
    "recognise",
    "torchvision_state_dict",
    "warnings",
    "write_backbone",
]
