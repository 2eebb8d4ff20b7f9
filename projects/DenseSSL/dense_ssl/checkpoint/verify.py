"""Loading a written file into detectron2's backbone, as a check."""

from torch import nn

from .checkpointer import Checkpointer
from .formats import extract_backbone, read_checkpoint
from .formats.architecture import build
from .handover import backbone_settings


def verify(path, stated=None):
    """Load a file as ``MODEL.WEIGHTS`` of the detectron2 backbone that it belongs to.

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
    # the model is built from the file's own settings: there is nothing to compare
    settings = backbone_settings(cfg)
    checkpointer = Checkpointer(model, settings=settings, check=False, needed="backbone")
    checkpointer.load(str(path))
    return checkpointer.loaded
