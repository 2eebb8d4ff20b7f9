"""Does a written file fill detectron2's backbone?"""

from torch import nn

from .checkpointer import Checkpointer
from .formats import extract_backbone, read_checkpoint
from .formats.architecture import build
from .handover import backbone_settings


def verify(path, stated=None):
    """Load a file into the detectron2 backbone that it is of, as ``MODEL.WEIGHTS`` would be.

    Args:
        path: a file that :func:`~.formats.write_backbone` wrote, in any of its formats.
        stated: {config key: value} that the file itself does not keep.

    Returns:
        (tensors filled, tensors of the backbone)

    Raises:
        ValueError: a tensor is missing, or has another shape.
    """
    backbone = extract_backbone(read_checkpoint(path), stated=stated)
    model = nn.Module()
    model.backbone, cfg = build({**backbone.architecture, **backbone.settings})
    # what the backbone was trained with is stated above: nothing is left to compare
    checkpointer = Checkpointer(
        model, settings=backbone_settings(cfg), check=False, needed="backbone"
    )
    checkpointer.load(str(path))
    return checkpointer.loaded
