"""Networks of timm as backbones of detectron2.

Registers build_timm_backbone, build_timm_fpn_backbone and build_retinanet_timm_fpn_backbone.
"""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import nn
from torch.nn import functional as F

from ...utils.checks import require_one_of
from .fpn import refuse_c4, register_builder, register_fpn_builders
from .freezing import freeze_stages
from .norms import replace_batch_norms
from .timm_network import STRIDES, create_network
from .timm_weights import rename_timm_weights


class TimmBackbone(Backbone):
    """A network of timm whose maps are named by stride, like those of a ResNet.

    "stem" has stride 2, "res2" 4, "res3" 8, "res4" 16 and "res5" 32. Images of any size: they are
    padded at the right and at the bottom, so that a map of stride s has ceil(size / s) cells and
    cell i starts at pixel s * i, however the network treats its borders.

    Attributes:
        body: timm's ``features_only`` network, with timm's names.
        pixels: {key: value} of the images that timm's own weights were trained on.
    """

    @configurable
    def __init__(
        self, *, name, out_features, in_channels=3, norm="BN", out_norm="", drop_path=0.0,
        arguments=(), freeze_at=0
    ):  # fmt: skip
        """
        Args:
            name, in_channels, drop_path, arguments: see :func:`create_network`.
            out_features: names of maps, from fine to coarse.
            norm: replaces the batch norm layers of the network.
            out_norm: "LN" for a layer norm on each map, or "".
            freeze_at: see :func:`freeze_stages`; 0 freezes nothing.
        """
        super().__init__()
        self.body = create_network(
            name, out_features, in_channels=in_channels, drop_path=drop_path, arguments=arguments
        )
        info, timm_cfg = self.body.feature_info, self.body.pretrained_cfg
        _set_norm(self.body, norm)
        self._channels = dict(zip(out_features, info.channels()))
        self._size_divisibility = max(x["reduction"] for x in info.info)
        self._is_nhwc = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        self.out_norms = _build_out_norms(out_norm, self._channels)
        self.pixels = {
            "INPUT.FORMAT": "RGB",
            "MODEL.PIXEL_MEAN": [255 * x for x in timm_cfg["mean"]],
            "MODEL.PIXEL_STD": [255 * x for x in timm_cfg["std"]],
        }
        if freeze_at > 0:
            freeze_stages(self.body, freeze_at, name)

    @classmethod
    def from_config(cls, cfg, input_shape):
        node = cfg.MODEL.TIMM
        return {
            "name": node.NAME,
            "out_features": _out_features(cfg),
            "in_channels": input_shape.channels,
            "norm": node.NORM,
            "out_norm": node.OUT_NORM,
            "drop_path": node.DROP_PATH,
            "arguments": tuple(node.ARGUMENTS),
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    @property
    def size_divisibility(self):
        return self._size_divisibility

    def output_shape(self):
        return {
            name: ShapeSpec(channels=channels, stride=STRIDES[name])
            for name, channels in self._channels.items()
        }

    def forward(self, images):
        """Maps {name: (N, C, ceil(H / stride), ceil(W / stride))} of images (N, 3, H, W)."""
        height, width = images.shape[-2:]
        step = self._size_divisibility
        if height % step or width % step:
            images = F.pad(images, (0, -width % step, 0, -height % step))
        maps = {}
        for name, x in zip(self._channels, self.body(images)):
            if self._is_nhwc:
                x = x.permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
            if self.out_norms is not None:
                x = self.out_norms[name](x)
            stride = STRIDES[name]
            maps[name] = x[..., : -(-height // stride), : -(-width // stride)]
        return maps

    def from_timm(self, weights):
        """Return timm's ``weights`` under the names of this backbone; empty if none fits."""
        renamed = rename_timm_weights(weights, self.body.state_dict())
        return {f"body.{name}": tensor for name, tensor in renamed.items()}


def _out_features(cfg):
    names = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    if not names or not set(names) <= set(STRIDES):
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES is {names}: for {cfg.MODEL.BACKBONE.NAME} it must name "
            f"some of {list(STRIDES)}."
        )
    return [x for x in STRIDES if x in names]  # from fine to coarse


def _set_norm(body, norm):
    if norm == "BN":  # timm's own
        return
    try:
        if not norm:
            raise ValueError("the network's weights need normalisation layers")
        replace_batch_norms(body, norm)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"MODEL.TIMM.NORM is {norm!r}, which cannot replace the network's batch norm layers "
            f"({error}): set it to 'BN', 'SyncBN' or 'FrozenBN'."
        ) from error


def _build_out_norms(out_norm, channels):
    require_one_of("MODEL.TIMM.OUT_NORM", out_norm, ("", "LN"))
    if not out_norm:
        return None
    from timm.layers import LayerNorm2d

    return nn.ModuleDict({name: LayerNorm2d(x) for name, x in channels.items()})


def build_timm_backbone(cfg, input_shape):
    """Return the network without an FPN."""
    refuse_c4(cfg)
    return TimmBackbone(cfg, input_shape)


register_builder("build_timm_backbone", build_timm_backbone)
register_fpn_builders("timm", TimmBackbone)
