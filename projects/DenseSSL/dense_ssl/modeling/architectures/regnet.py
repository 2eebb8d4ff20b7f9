"""detectron2's RegNets from yacs keys (MODEL.REGNETS).

Registers build_regnet_backbone, build_regnet_fpn_backbone and build_retinanet_regnet_fpn_backbone.
"""

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.regnet import RegNet, ResBottleneckBlock, SimpleStem

from .families import register_family, selected_maps

# Names of the maps elsewhere, and detectron2's.
_STAGES = {"stem": "stem", "res2": "s1", "res3": "s2", "res4": "s3", "res5": "s4"}


class NamedRegNet(RegNet):
    """detectron2's RegNet, its maps named by stride as a ResNet's; tensor names stay."""

    def __init__(self, out_features, **arguments):
        """
        Args:
            out_features: of "stem", "res2" .. "res5".
            arguments: of detectron2's RegNet.
        """
        super().__init__(out_features=["stem"], **arguments)
        if len(self.stages_and_names) != 4:
            raise ValueError(
                f"MODEL.REGNETS gives {len(self.stages_and_names)} stages instead of 4: W_A, W_0, "
                "W_M and DEPTH must be those of a published RegNet."
            )
        self._out_features = list(out_features)
        depth = max(list(_STAGES).index(x) for x in out_features)
        for _, name in self.stages_and_names[depth:]:
            delattr(self, name)  # no map needs it, so that it would never get a gradient
        self.stages_and_names = self.stages_and_names[:depth]

    def forward(self, images):
        maps = {"stem": self.stem(images)}
        x = maps["stem"]
        for stage, name in self.stages_and_names:
            maps[name] = x = stage(x)
        return {name: maps[_STAGES[name]] for name in self._out_features}

    def output_shape(self):
        channels, strides = self._out_feature_channels, self._out_feature_strides
        return {
            name: ShapeSpec(channels=channels[_STAGES[name]], stride=strides[_STAGES[name]])
            for name in self._out_features
        }


def _build(cfg, input_shape):
    node = cfg.MODEL.REGNETS
    if not node.NORM:
        raise ValueError("MODEL.REGNETS.NORM is empty, but RegNets need one: set it to 'SyncBN'.")
    return NamedRegNet(
        selected_maps(cfg, list(_STAGES)),
        stem_class=SimpleStem,
        stem_width=node.STEM_WIDTH,
        block_class=ResBottleneckBlock,
        depth=node.DEPTH,
        w_a=node.W_A,
        w_0=node.W_0,
        w_m=node.W_M,
        group_width=node.GROUP_WIDTH,
        se_ratio=node.SE_RATIO,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


register_family("regnet", _build)
