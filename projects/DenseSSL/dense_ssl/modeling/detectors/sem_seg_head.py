"""The head of fully convolutional segmentors.

Shape vocabulary: N images, C classes, (h, w) cells of a feature map of stride s, (H, W) pixels.
"""

import torch
from detectron2.config import configurable
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from fvcore.nn import weight_init
from torch import nn
from torch.nn import functional as F

from ...losses.precision import at_least_float32
from ...utils.events import is_logged, put_scalar
from ..backbones import feature_shape

_KEY = "MODEL.SEM_SEG_HEAD"


@SEM_SEG_HEADS_REGISTRY.register()
class FCNHead(nn.Module):
    """Convolutions on one feature map, a 1x1 classifier, upsampled logits, cross entropy per pixel.

    By default the head with which MoCo's paper (appendix A.5), DUPR and point-level region contrast
    evaluate: two 3x3 convolutions of dilation 6. By its keys also that of mmsegmentation, which
    LC-loss uses: the input joined to the output of the convolutions, dropout, and a second head
    on an earlier map that helps in training.
    """

    @configurable
    def __init__(
        self, *, main, stride, feature, ignore_value, loss_weight=1.0, align_corners=True,
        auxiliary=None, aux_stride=1, aux_feature="", aux_loss_weight=0.4
    ):  # fmt: skip
        """
        Args:
            main: module from features to logits, see :func:`build_classifier`.
            stride, feature: stride and name of the map it works on.
            ignore_value: label of pixels that take no part in the loss.
            loss_weight: of the loss.
            align_corners: see :func:`upsample`.
            auxiliary, aux_stride, aux_feature, aux_loss_weight: the same for the second head; None:
                there is none.
        """
        super().__init__()
        self.main = main
        self.auxiliary = auxiliary
        self.feature, self.aux_feature = feature, aux_feature
        self.stride, self.aux_stride = stride, aux_stride
        self.ignore_value = ignore_value  # SemanticSegmentor pads labels with it
        self.loss_weight, self.aux_loss_weight = loss_weight, aux_loss_weight
        self.align_corners = align_corners

    @classmethod
    def from_config(cls, cfg, input_shape):
        node = cfg.MODEL.SEM_SEG_HEAD
        if len(node.IN_FEATURES) != 1:
            raise ValueError(
                f"{_KEY}.IN_FEATURES is {list(node.IN_FEATURES)}; FCNHead works on one map: "
                '["res5"].'
            )
        feature, aux_feature = node.IN_FEATURES[0], node.FCN.AUX_IN_FEATURE
        shape = feature_shape(input_shape, feature, f"{_KEY}.IN_FEATURES")
        result = {
            "main": build_classifier(
                shape.channels, node.CONVS_DIM, node.NUM_CLASSES, num_convs=node.FCN.NUM_CONVS,
                dilation=node.FCN.DILATION, norm=node.NORM, dropout=node.FCN.DROPOUT,
                concat_input=node.FCN.CONCAT_INPUT,
            ),
            "stride": shape.stride,
            "feature": feature,
            "ignore_value": node.IGNORE_VALUE,
            "loss_weight": node.LOSS_WEIGHT,
            "align_corners": node.FCN.ALIGN_CORNERS,
        }  # fmt: skip
        if aux_feature:
            shape = feature_shape(input_shape, aux_feature, f"{_KEY}.FCN.AUX_IN_FEATURE")
            result["auxiliary"] = build_classifier(
                shape.channels, node.FCN.AUX_CONVS_DIM, node.NUM_CLASSES, num_convs=1, dilation=1,
                norm=node.NORM, dropout=node.FCN.DROPOUT,
            )  # fmt: skip
            result.update(aux_stride=shape.stride, aux_feature=aux_feature)
            result["aux_loss_weight"] = node.FCN.AUX_LOSS_WEIGHT
        return result

    def forward(self, features, targets=None):
        """
        Args:
            features: {name: (N, channels, h, w)}.
            targets: (N, H, W) int64, class numbers or ``ignore_value``; in training.

        Returns:
            in training (None, {"loss_sem_seg": scalar} and "loss_sem_seg_aux" of the second head);
            else (logits (N, C, s * h, s * w), float32, {}).
        """
        logits = self._upsampled(self.main(features[self.feature]), self.stride)
        if not self.training:
            return logits, {}
        logits = _fit(logits, targets.shape[-2:])
        loss = pixel_cross_entropy(logits, targets, self.ignore_value)
        losses = {"loss_sem_seg": self.loss_weight * loss}
        self._log_accuracy(logits, targets)
        if self.auxiliary is not None:
            logits = self._upsampled(self.auxiliary(features[self.aux_feature]), self.aux_stride)
            logits = _fit(logits, targets.shape[-2:])
            loss = pixel_cross_entropy(logits, targets, self.ignore_value)
            losses["loss_sem_seg_aux"] = self.aux_loss_weight * loss
        return None, losses

    def _upsampled(self, logits, stride):
        return upsample(at_least_float32(logits), stride, self.align_corners)

    @torch.no_grad()
    def _log_accuracy(self, logits, targets):
        if is_logged():
            valid = targets != self.ignore_value
            right = (logits.argmax(dim=1) == targets) & valid
            put_scalar("sem_seg/accuracy", right.sum() / valid.sum().clamp(min=1))


def build_classifier(
    in_channels, width, num_classes, *, num_convs, dilation, norm, dropout=0.0, concat_input=False
):
    """Convolutions with norm and ReLU, then a 1x1 classifier.

    Args:
        in_channels, width: of the input and of the convolutions.
        num_classes: channels of the output.
        num_convs, dilation: how many 3x3 convolutions, and their dilation.
        norm: name of a norm, as get_norm of detectron2 takes it; "": none.
        dropout: share of channels dropped before the classifier.
        concat_input: join the input to the output of the convolutions, by one more of them.

    Returns:
        module from (N, in_channels, h, w) to (N, num_classes, h, w).
    """
    widths = [in_channels] + [width] * num_convs
    convs = [_conv(a, b, dilation, norm) for a, b in zip(widths, widths[1:])]
    if concat_input:
        joined = _conv(in_channels + widths[-1], width, 1, norm)
        convs = [WithInput(nn.Sequential(*convs), joined)]
    classifier = nn.Conv2d(width if convs else in_channels, num_classes, kernel_size=1)
    # near zero, so that all classes are equally likely at first
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
    if dropout > 0:
        convs.append(nn.Dropout2d(dropout))
    return nn.Sequential(*convs, classifier)


class WithInput(nn.Module):
    """A module whose output is joined to its input and goes through a convolution with it."""

    def __init__(self, inner, joined):
        """
        Args:
            inner: module that keeps the size of the map.
            joined: module on the channels of the input and of the output of ``inner``.
        """
        super().__init__()
        self.inner = inner
        self.joined = joined

    def forward(self, x):
        return self.joined(torch.cat([x, self.inner(x)], dim=1))


def _conv(in_channels, out_channels, dilation, norm):
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=dilation,
        dilation=dilation,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    weight_init.c2_msra_fill(conv)
    return conv


def upsample(logits, stride, align_corners):
    """Bilinear upsampling to the pixels that the cells stand for.

    Args:
        logits: (N, C, h, w).
        stride: of the cells, in pixels.
        align_corners: True: cell i stands at pixel ``i * stride``, where strided convolutions with
            symmetric padding (all of a ResNet's) have their centres; the last cell is repeated
            beyond its pixel. On crops of k * stride + 1 pixels this is what align_corners=True of
            F.interpolate gives. False: cell i covers pixels ``i * stride`` to
            ``(i + 1) * stride - 1``, as the patches of transformers do.

    Returns:
        (N, C, stride * h, stride * w).
    """
    if stride == 1:
        return logits
    h, w = logits.shape[-2:]
    if not align_corners:
        size = (stride * h, stride * w)
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    size = (stride * (h - 1) + 1, stride * (w - 1) + 1)
    logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
    return F.pad(logits, (0, stride - 1, 0, stride - 1), mode="replicate")


def _fit(logits, size):
    """Cut logits to the size (H, W) of the labels; repeat their edge where they are smaller."""
    missing = [max(a - b, 0) for a, b in zip(size, logits.shape[-2:])]
    if any(missing):
        logits = F.pad(logits, (0, missing[1], 0, missing[0]), mode="replicate")
    return logits[..., : size[0], : size[1]]


def pixel_cross_entropy(logits, targets, ignore_value):
    """Mean cross entropy over the pixels that have a label; 0 where none has.

    Args:
        logits: (N, C, H, W). targets: (N, H, W) int64.
        ignore_value: label of pixels to leave out.

    Returns:
        scalar.
    """
    total = F.cross_entropy(logits, targets, ignore_index=ignore_value, reduction="sum")
    return total / (targets != ignore_value).sum().clamp(min=1)
