"""The RoI heads of C4 detectors on self-supervised backbones."""

from detectron2.layers import get_norm
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, ResNet
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import nn

# Number of blocks in res5 of the ResNets with basic blocks.
_BASIC_BLOCKS = {18: 2, 34: 3}


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):
    """detectron2's C4 head with a normalisation layer (MODEL.RESNETS.NORM) after res5.

    MoCo's C4 detectors have it, and so have all that compare with them. The blocks keep their
    names, so ``roi_heads.res5.*`` takes res5 of a pre-trained backbone; ``roi_heads.res5.norm`` is
    new. Unlike detectron2's, this head also works for ResNet-18 and 34.
    """

    @classmethod
    def _build_res5_block(cls, cfg):
        if cfg.MODEL.RESNETS.DEPTH in _BASIC_BLOCKS:
            res5, channels = _build_basic_res5(cfg)
        else:
            res5, channels = super()._build_res5_block(cfg)
        norm = get_norm(cfg.MODEL.RESNETS.NORM, channels)
        if norm is None:
            raise ValueError(
                "MODEL.RESNETS.NORM is empty, so MODEL.ROI_HEADS.NAME 'Res5ROIHeadsExtraNorm' has "
                "no layer to add: set the norm to 'SyncBN', or the heads to 'Res5ROIHeads'."
            )
        res5.add_module("norm", norm)
        return res5, channels


def _build_basic_res5(cfg):
    """Return res5 of a ResNet-18 or 34 (nn.Sequential), and its number of output channels."""
    node = cfg.MODEL.RESNETS
    channels = node.RES2_OUT_CHANNELS * 8  # doubled by each of three stages
    num_blocks = _BASIC_BLOCKS[node.DEPTH]
    blocks = ResNet.make_stage(
        BasicBlock,
        num_blocks,
        stride_per_block=[2] + [1] * (num_blocks - 1),
        in_channels=channels // 2,
        out_channels=channels,
        norm=node.NORM,
    )
    return nn.Sequential(*blocks), channels
