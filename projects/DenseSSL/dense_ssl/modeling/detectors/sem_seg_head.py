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
from ...utils.checks import require_one_of
from ...utils.events import is_logged, put_scalar
from ..backbones import require_feature

_KEY = "MODEL.SEM_SEG_HEAD"


@SEM_SEG_HEADS_REGISTRY.register()
class FCNHead(nn.Module):
    """Convolutions on one feature map, a 1x1 classifier, upsampling, cross entropy per pixel.

    By default the head with which MoCo's paper (appendix A.5), DUPR and point-level region contrast
    evaluate: two 3x3 convolutions of dilation 6. Its keys also give that of mmsegmentation, which
    LC-loss uses: the input concatenated to the output of the convolutions, dropout, and a second
    head on an earlier map that helps in training.
    """

    @configurable
    def __init__(self, *, main, auxiliary, ignore_value, mean_over="valid"):
        """
        Args:
            main: :class:`MapClassifier` that predicts.
            auxiliary: MapClassifier that only adds a loss, or None.
            ignore_value: label of pixels that take no part in the loss.
            mean_over: see :func:`pixel_cross_entropy`.
        """
        super().__init__()
        require_one_of(f"{_KEY}.FCN.LOSS_MEAN_OVER", mean_over, ("valid", "all"))
        self.main = main
        self.auxiliary = auxiliary
        self.mean_over = mean_over
        self.ignore_value = ignore_value  # SemanticSegmentor pads labels with it

    @classmethod
    def from_config(cls, cfg, input_shape):
        node, fcn = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.SEM_SEG_HEAD.FCN
        if len(node.IN_FEATURES) != 1:
            raise ValueError(
                f"{_KEY}.IN_FEATURES is {list(node.IN_FEATURES)}; FCNHead works on one map: "
                '["res5"].'
            )

        def build(feature, key, loss_weight, width, **convs):
            shape = require_feature(input_shape, feature, f"{_KEY}.{key}")
            convs.update(norm=node.NORM, dropout=fcn.DROPOUT)
            layers = build_layers(shape.channels, width, node.NUM_CLASSES, **convs)
            return MapClassifier(layers, feature, shape.stride, loss_weight, fcn.ALIGN_CORNERS)

        main = build(
            node.IN_FEATURES[0], "IN_FEATURES", node.LOSS_WEIGHT, node.CONVS_DIM,
            num_convs=fcn.NUM_CONVS, dilation=fcn.DILATION, concat_input=fcn.CONCAT_INPUT,
        )  # fmt: skip
        auxiliary = None
        if fcn.AUX_IN_FEATURE:
            auxiliary = build(
                fcn.AUX_IN_FEATURE, "FCN.AUX_IN_FEATURE", fcn.AUX_LOSS_WEIGHT, fcn.AUX_CONVS_DIM,
                num_convs=1, dilation=1,
            )  # fmt: skip
        return {
            "main": main,
            "auxiliary": auxiliary,
            "ignore_value": node.IGNORE_VALUE,
            "mean_over": fcn.LOSS_MEAN_OVER,
        }

    def forward(self, features, targets=None):
        """
        Args:
            features: {name: (N, channels, h, w)}.
            targets: (N, H, W) int64, class numbers or ``ignore_value``; in training.

        Returns:
            In training (None, {"loss_sem_seg": scalar} and "loss_sem_seg_aux" of the second head);
            else (logits (N, C, s * h, s * w), float32, {}).
        """
        logits = self.main(features)
        if not self.training:
            return logits, {}
        logits = _fit(logits, targets.shape[-2:])
        losses = {"loss_sem_seg": self.main.loss_weight * self._loss(logits, targets)}
        self._log_accuracy(logits, targets)
        if self.auxiliary is not None:
            logits = _fit(self.auxiliary(features), targets.shape[-2:])
            loss = self._loss(logits, targets)
            losses["loss_sem_seg_aux"] = self.auxiliary.loss_weight * loss
        return None, losses

    def _loss(self, logits, targets):
        return pixel_cross_entropy(logits, targets, self.ignore_value, self.mean_over)

    @torch.no_grad()
    def _log_accuracy(self, logits, targets):
        if is_logged():
            valid = targets != self.ignore_value
            right = (logits.argmax(dim=1) == targets) & valid
            put_scalar("sem_seg/accuracy", right.sum() / valid.sum().clamp(min=1))


class MapClassifier(nn.Sequential):
    """Layers on one feature map that give logits per cell, upsampled to pixels."""

    def __init__(self, layers, feature, stride, loss_weight, align_corners):
        """
        Args:
            layers: result of :func:`build_layers`.
            feature, stride: name and stride of the map.
            loss_weight: of its loss.
            align_corners: see :func:`upsample`.
        """
        super().__init__(*layers)
        self.feature, self.stride = feature, stride
        self.loss_weight, self.align_corners = loss_weight, align_corners

    def forward(self, features):
        """Logits (N, C, s * h, s * w), float32, of features {name: (N, channels, h, w)}."""
        logits = super().forward(features[self.feature])
        return upsample(at_least_float32(logits), self.stride, self.align_corners)


def build_layers(
    in_channels, width, num_classes, *, num_convs, dilation, norm, dropout=0.0, concat_input=False
):
    """Build convolutions with normalisation and ReLU, then dropout and a 1x1 classifier.

    Args:
        in_channels, width: channels of the input and of the convolutions.
        num_classes: channels of the output.
        num_convs, dilation: how many 3x3 convolutions, and their dilation.
        norm: detectron2's name of a normalisation layer; "": none.
        dropout: share of channels dropped before the classifier.
        concat_input: concatenate the input to the output, and add a convolution on both.

    Returns:
        list of modules, from (N, in_channels, h, w) to (N, num_classes, h, w).
    """
    widths = [in_channels] + [width] * num_convs
    layers = [_conv(a, b, dilation, norm) for a, b in zip(widths, widths[1:])]
    if concat_input:
        joined = _conv(in_channels + widths[-1], width, 1, norm)
        layers = [WithInput(nn.Sequential(*layers), joined)]
    classifier = nn.Conv2d(width if layers else in_channels, num_classes, kernel_size=1)
    # near zero, so that all classes are equally likely at first
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
    if dropout > 0:
        layers.append(nn.Dropout2d(dropout))
    return [*layers, classifier]


class WithInput(nn.Module):
    """``joined`` applied to the input of ``inner`` concatenated with its output."""

    def __init__(self, inner, joined):
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
    """Upsample bilinearly from cells to pixels.

    Args:
        logits: (N, C, h, w).
        stride: of the cells, in pixels.
        align_corners: True: cell i is at pixel ``i * stride``, the centre of strided convolutions
            with symmetric padding (all of a ResNet's); the last cell is repeated beyond its pixel.
            On crops of k * stride + 1 pixels this is F.interpolate with align_corners=True.
            False: cell i covers pixels ``i * stride`` to ``(i + 1) * stride - 1``, as the patches
            of transformers do.

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


def pixel_cross_entropy(logits, targets, ignore_value, mean_over="valid"):
    """Return the mean cross entropy of the pixels that have a label; 0 if none has one.

    Args:
        logits: (N, C, H, W).
        targets: (N, H, W) int64.
        ignore_value: label of pixels to leave out.
        mean_over: "valid": their sum is divided by their number; "all": by N * H * W.
    """
    total = F.cross_entropy(logits, targets, ignore_index=ignore_value, reduction="sum")
    if mean_over == "all":
        return total / max(targets.numel(), 1)
    return total / (targets != ignore_value).sum().clamp(min=1)
