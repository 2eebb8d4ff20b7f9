"""Networks of timm as backbones of detectron2.

Registers build_timm_backbone, build_timm_fpn_backbone and build_retinanet_timm_fpn_backbone.
"""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import nn
from torch.nn import functional as F

from .families import register_family, selected_maps
from .freezing import freeze_modules
from .norms import replace_batch_norms
from .timm_network import STRIDES, create_network
from .timm_weights import rename_timm_weights


class TimmBackbone(Backbone):
    """A network of timm, its maps named by stride as those of a ResNet.

    "stem" has stride 2, "res2" 4, "res3" 8, "res4" 16 and "res5" 32. Images of any size: they are
    padded at the right and at the bottom, so that a map of stride s has ceil(size / s) cells, and
    cell i shows the pixels from s * i on, whatever the network does at its borders.

    Attributes:
        body: timm's ``features_only`` network, with timm's names.
        pixels: {key: value} of the images that timm's own weights were made for.
    """

    @configurable
    def __init__(
        self,
        *,
        name,
        out_features,
        in_channels=3,
        norm="BN",
        out_norm="",
        drop_path=0.0,
        arguments=(),
        freeze_at=0,
    ):
        """
        Args:
            name, in_channels, drop_path, arguments: see :func:`create_network`.
            out_features: names of maps, from fine to coarse.
            norm: what the batch norms of the network become.
            out_norm: "LN" for a layer norm on each map, or "".
            freeze_at: 1 freezes all before the block of "res2", 2 that as well, and so on.
        """
        super().__init__()
        self.body = create_network(
            name, out_features, in_channels=in_channels, drop_path=drop_path, arguments=arguments
        )
        info = self.body.feature_info
        _exchange_norms(self.body, norm)
        self._out_features = list(out_features)
        self._channels = dict(zip(out_features, info.channels()))
        self._size_divisibility = max(x["reduction"] for x in info.info)
        self._is_nhwc = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        self.out_norms = _build_out_norms(out_norm, self._channels)
        self.pixels = {
            "INPUT.FORMAT": "RGB",
            "MODEL.PIXEL_MEAN": [255 * x for x in self.body.pretrained_cfg["mean"]],
            "MODEL.PIXEL_STD": [255 * x for x in self.body.pretrained_cfg["std"]],
        }
        if freeze_at > 0:
            self._freeze(name, freeze_at)

    @classmethod
    def from_config(cls, cfg, input_shape):
        node = cfg.MODEL.TIMM
        return {
            "name": node.NAME,
            "out_features": selected_maps(cfg, list(STRIDES)),
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
        return {x: ShapeSpec(channels=self._channels[x], stride=STRIDES[x]) for x in self._channels}

    def forward(self, images):
        """Maps {name: (N, C, ceil(H / stride), ceil(W / stride))} of images (N, 3, H, W)."""
        height, width = images.shape[-2:]
        step = self._size_divisibility
        if height % step or width % step:
            images = F.pad(images, (0, -width % step, 0, -height % step))
        maps = dict(zip(self._out_features, self.body(images)))
        if self._is_nhwc:
            maps = {name: x.permute(0, 3, 1, 2) for name, x in maps.items()}
        if self.out_norms is not None:
            maps = {name: self.out_norms[name](x) for name, x in maps.items()}
        return {
            name: x[..., : -(-height // STRIDES[name]), : -(-width // STRIDES[name])]
            for name, x in maps.items()
        }

    def from_timm(self, weights):
        """{name below this backbone: tensor} of weights with timm's names; empty for others'."""
        renamed = rename_timm_weights(weights, self.body.state_dict())
        return {f"body.{name}": tensor for name, tensor in renamed.items()}

    def _freeze(self, name, freeze_at):
        """Freeze the stages up to stride 2 ** ``freeze_at`` (from 2 on), the stem for 1."""
        info, steps = self.body.feature_info, _steps(self.body)
        last = {x["reduction"]: x["module"].replace(".", "_") for x in info.info}
        names = [step for step, _, _ in steps if _is_sequence(self.body)]
        stops = [names.index(last[s]) + 1 for s in (4, 8, 16, 32) if last.get(s) in names]
        if len(stops) < freeze_at - 1 or not stops:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but MODEL.TIMM.NAME {name!r} has "
                f"{len(stops)} stages that can be frozen one by one. Set it to 0, or freeze the "
                "whole backbone by MODEL.FREEZE_BACKBONE True."
            )
        count = stops[0] - 1 if freeze_at == 1 else stops[freeze_at - 2]
        freeze_modules([(parent, child) for _, parent, child in steps[:count]])


def _is_sequence(body):
    """Do the children of a network run one after the other? (HRNet's do not.)"""
    from timm.models import FeatureListNet

    return isinstance(body, FeatureListNet) or hasattr(body, "conv_stem")


def _steps(body):
    """[(timm's name with "_" for ".", parent, name there)] of what runs one after the other."""
    steps = []
    for name, child in body.named_children():
        if isinstance(child, nn.Sequential) and name == "blocks":
            steps += [(f"{name}_{x}", child, x) for x, _ in child.named_children()]
        else:
            steps.append((name, body, name))
    return steps


def _exchange_norms(body, norm):
    if norm == "BN":  # timm's own
        return
    try:
        if not norm:
            raise ValueError("the network's weights are made for norms")
        replace_batch_norms(body, norm)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"MODEL.TIMM.NORM is {norm!r}, which cannot take the place of the network's batch "
            f"norms ({error}): set it to 'BN', 'SyncBN' or 'FrozenBN'."
        ) from error


def _build_out_norms(out_norm, channels):
    if not out_norm:
        return None
    if out_norm != "LN":
        raise ValueError(f"MODEL.TIMM.OUT_NORM is {out_norm!r}; it must be 'LN' or ''.")
    from timm.layers import LayerNorm2d

    return nn.ModuleDict({name: LayerNorm2d(x) for name, x in channels.items()})


register_family("timm", TimmBackbone)
