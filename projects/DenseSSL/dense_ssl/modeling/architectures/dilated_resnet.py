"""ResNets of a smaller stride: dilation in the last stages instead of strides."""

from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from torch import nn

# (RES4_DILATION, RES5_DILATION): strides 32, 16 and 8.
_CHOICES = ((1, 1), (1, 2), (2, 4))


@BACKBONE_REGISTRY.register()
def build_dilated_resnet_backbone(cfg, input_shape):
    """detectron2's ResNet of any depth with MODEL.RESNETS.{RES4_DILATION, RES5_DILATION}.

    Names and shapes of its tensors are those of the ResNet without dilation, so it takes the same
    weights. detectron2 itself dilates res5 alone, and not of ResNet-18 and 34.
    """
    node = cfg.MODEL.RESNETS
    dilations = node.RES4_DILATION, node.RES5_DILATION
    if dilations not in _CHOICES:
        raise ValueError(
            f"MODEL.RESNETS.RES4_DILATION is {dilations[0]} and RES5_DILATION {dilations[1]}: set "
            "them to 1 and 1 (res5 of stride 32), 1 and 2 (stride 16), or 2 and 4 (stride 8)."
        )
    if any(node.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: build_dilated_resnet_backbone has no deformable "
            "convolutions. Set all four to False."
        )
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.RESNETS.RES5_DILATION = 1
    resnet = build_resnet_backbone(plain, input_shape)
    before = 1
    for name, dilation in zip(("res4", "res5"), dilations):
        # stages behind the last one asked for are not built
        if dilation > 1 and hasattr(resnet, name):
            dilate_stage(getattr(resnet, name), before if node.CONTRACT_DILATION else dilation,
                         dilation)  # fmt: skip
        before = dilation
    _set_strides(resnet)
    return resnet


def dilate_stage(stage, first, dilation):
    """Take the stride from a stage and dilate its convolutions (in place).

    Args:
        stage: nn.Sequential of detectron2's BasicBlock or BottleneckBlock.
        first: dilation of the convolutions up to and with the one that had the stride. Equal to the
            dilation of the stage before, the new features at every second place are the old ones.
        dilation: of those behind it.
    """
    current = first
    for block in stage:
        strided = False
        for name, conv in block.named_children():
            if not isinstance(conv, nn.Conv2d):
                continue
            is_strided, conv.stride = conv.stride != (1, 1), (1, 1)
            if name == "shortcut":
                continue
            if conv.kernel_size != (1, 1):
                conv.dilation = conv.padding = (current, current)
            strided |= is_strided
            if strided:
                current = dilation
        current = dilation
        block.stride = 1


def _set_strides(resnet):
    """Make ``output_shape()`` say what the stages do."""
    stride = resnet.stem.stride
    for name, stage in zip(resnet.stage_names, resnet.stages):
        for block in stage:
            stride *= block.stride
        resnet._out_feature_strides[name] = stride
