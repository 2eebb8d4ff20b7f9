"""detectron2's Swin Transformers from yacs keys (MODEL.SWIN).

Registers build_swin_backbone, build_swin_fpn_backbone and build_retinanet_swin_fpn_backbone.
"""

import warnings

from detectron2.layers import ShapeSpec

from .families import register_family, selected_maps
from .freezing import freeze_modules

try:
    from detectron2.modeling.backbone.swin import SwinTransformer
except ImportError:  # detectron2 v0.6
    SwinTransformer = None

# Names of the maps elsewhere, and the stages that give them.
_STAGES = {"res2": 0, "res3": 1, "res4": 2, "res5": 3}


def build_swin(cfg, input_shape):
    """A Swin Transformer, its maps named by stride as a ResNet's; tensor names are detectron2's."""
    node = cfg.MODEL.SWIN
    maps = selected_maps(cfg, list(_STAGES))
    depth = _STAGES[maps[-1]] + 1  # a later stage would never get a gradient
    with warnings.catch_warnings():  # it imports timm.models.layers, an old name
        warnings.simplefilter("ignore", FutureWarning)
        network = NamedSwin(
            in_chans=input_shape.channels,
            embed_dim=node.EMBED_DIM,
            depths=tuple(node.DEPTHS)[:depth],
            num_heads=tuple(node.NUM_HEADS)[:depth],
            window_size=node.WINDOW_SIZE,
            drop_path_rate=node.DROP_PATH,
            ape=node.APE,
            out_indices=[_STAGES[x] for x in maps],
        )
    network.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    return network


if SwinTransformer is not None:

    class NamedSwin(SwinTransformer):
        """detectron2's Swin, its maps named "res2" .. "res5"."""

        @property
        def size_divisibility(self):
            return 32  # detectron2's own property is misspelt

        def forward(self, images):
            """Maps {name: (N, C, h, w)} of images (N, 3, H, W) of any size."""
            maps = super().forward(images)
            return {f"res{int(name[1:]) + 2}": x for name, x in maps.items()}

        def output_shape(self):
            return {
                f"res{i + 2}": ShapeSpec(channels=self.num_features[i], stride=2 ** (i + 2))
                for i in self.out_indices
            }

        def freeze(self, freeze_at):
            """Freeze the patch embedding (1), the first stage (2) and so on; 0: nothing."""
            modules = [(self, "patch_embed")]
            modules += [(self.layers, str(i)) for i in range(len(self.layers))]
            freeze_modules(modules[:freeze_at])
            if freeze_at > 0 and self.ape:
                self.absolute_pos_embed.requires_grad_(False)

    register_family("swin", build_swin)
