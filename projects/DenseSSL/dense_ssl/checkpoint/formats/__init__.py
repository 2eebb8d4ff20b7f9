"""Backbones from and to the checkpoint formats of other projects."""

from .backbone import Backbone, extract_backbone, flip_colours
from .families import FAMILIES
from .reading import CheckpointError, read_checkpoint
from .recognise import recognise
from .report import describe, grouped, question, warnings
from .settings import check_stated
from .writing import FORMATS, detectron2_checkpoint, write_backbone

__all__ = [
    "FAMILIES",
    "FORMATS",
    "Backbone",
    "CheckpointError",
    "check_stated",
    "describe",
    "detectron2_checkpoint",
    "extract_backbone",
    "flip_colours",
    "grouped",
    "question",
    "read_checkpoint",
    "recognise",
    "warnings",
    "write_backbone",
]
