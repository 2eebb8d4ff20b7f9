"""Residual blocks that start as their shortcut alone (MODEL.RESNETS.ZERO_INIT_RESIDUAL)."""

from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock, DeformBottleneckBlock
from torch import nn


def zero_init_residual(backbone):
    """Set the scale of the last batch norm in each residual block to 0, in place.

    BYOL's network starts like this. Networks other than detectron2's ResNets are left alone.

    Args:
        backbone: a backbone of detectron2, with or without an FPN.

    Raises:
        ValueError: the blocks have no normalisation layers.
    """
    for block in backbone.modules():
        if isinstance(block, (BottleneckBlock, DeformBottleneckBlock)):
            norm = block.conv3.norm
        elif isinstance(block, BasicBlock):
            norm = block.conv2.norm
        else:
            continue
        if norm is None:
            raise ValueError(
                "MODEL.RESNETS.ZERO_INIT_RESIDUAL is True, but the blocks have no normalisation "
                "layers whose scale could be 0. Set MODEL.RESNETS.NORM, or the key to False."
            )
        nn.init.zeros_(norm.weight)
