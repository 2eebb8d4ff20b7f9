"""ResNets of a smaller stride: dilation instead of strides in the last stages."""

from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from torch import nn

# (RES4_DILATION, RES5_DILATION): strides 32, 16 and 8.
_CHOICES = ((1, 1), (1, 2), (2, 4))


@BACKBONE_REGISTRY.register()
def build_dilated_resnet_backbone(cfg, input_shape):
    """detectron2's ResNet of any depth with MODEL.RESNETS.{RES4_DILATION, RES5_DILATION}.

    Tensors have the names and shapes of the ResNet without dilation, so it takes the same weights.
    detectron2's own builder dilates only res5, and not in ResNet-18 and 34.
    """
    node = cfg.MODEL.RESNETS
    dilations = {"res4": node.RES4_DILATION, "res5": node.RES5_DILATION}
    if tuple(dilations.values()) not in _CHOICES:
        raise ValueError(
            f"MODEL.RESNETS.RES4_DILATION is {dilations['res4']} and RES5_DILATION "
            f"{dilations['res5']}: set them to 1 and 1 (res5 of stride 32), 1 and 2 (stride 16), "
            "or 2 and 4 (stride 8)."
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
    previous, stride = 1, resnet.stem.stride
    for name, stage in zip(resnet.stage_names, resnet.stages):
        dilation = dilations.get(name, 1)
        if dilation > 1:
            dilate_stage(stage, previous if node.CONTRACT_DILATION else dilation, dilation)
        previous = dilation
        for block in stage:
            stride *= block.stride
        resnet._out_feature_strides[name] = stride
    return resnet


def dilate_stage(stage, first, dilation):
    """Remove the stride of a stage and dilate its convolutions (in place).

    Args:
        stage: nn.Sequential of detectron2's BasicBlock or BottleneckBlock.
        first: dilation of the convolutions up to and including the one that had the stride. If it
            is the dilation of the stage before, every second feature in each direction equals a
            feature of the strided stage.
        dilation: of the convolutions after it.
    """
    current = first
    for block in stage:
        for name, conv in block.named_children():
            if not isinstance(conv, nn.Conv2d):
                continue
            had_stride, conv.stride = conv.stride != (1, 1), (1, 1)
            if conv.kernel_size != (1, 1):
                conv.dilation = conv.padding = (current, current)
            if had_stride and name != "shortcut":
                current = dilation
        current = dilation
        block.stride = 1
