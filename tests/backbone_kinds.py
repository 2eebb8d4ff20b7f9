"""Small backbones of every kind that several tests pre-train, hand over and fine-tune."""

import importlib.util

LEVELS = ["res2", "res3", "res4", "res5"]


def _timm(name, *options):
    return ["MODEL.TIMM.NAME", name, "MODEL.TIMM.NORM", "BN", *options]


_SWIN = ("embed_dim=8", "depths=(1,1,2,1)", "num_heads=(1,2,2,2)")

# {kind: (part of the builder's name, options)}
KINDS = {
    "mobilenet": ("timm", _timm("mobilenetv2_035")),
    "convnext": ("timm", _timm("test_convnext", "MODEL.TIMM.OUT_NORM", "LN",
                               "MODEL.TIMM.DROP_PATH", 0.2)),
    "timm_swin": ("timm", _timm("swin_tiny_patch4_window7_224", "MODEL.TIMM.ARGUMENTS", _SWIN,
                                "MODEL.TIMM.DROP_PATH", 0.2)),
    "timm_regnet": ("timm", _timm("regnetx_002")),
    "timm_resnet": ("timm", _timm("test_resnet")),
    "resnext": ("resnet", ["MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.WIDTH_PER_GROUP", 4]),
    "deep_stem": ("resnet_deeplab", ["MODEL.RESNETS.STEM_OUT_CHANNELS", 8]),
    "vit": ("vit", ["MODEL.VIT.EMBED_DIM", 16, "MODEL.VIT.DEPTH", 2, "MODEL.VIT.NUM_HEADS", 2,
                    "MODEL.VIT.WINDOW_SIZE", 3, "MODEL.VIT.WINDOW_BLOCKS", (0,),
                    "MODEL.VIT.IMAGE_SIZE", 64, "MODEL.FPN.NORM", "LN"]),
}  # fmt: skip
_MODULES = {"vit": "detectron2.modeling.backbone.vit", "deep_stem": "detectron2.projects.deeplab"}
for _kind, _module in _MODULES.items():  # detectron2 v0.6 may lack them
    if importlib.util.find_spec(_module) is None:
        del KINDS[_kind]


def options(kind, pyramid="", levels=None):
    """yacs pairs of a kind, alone or under a pyramid: "fpn" or "retinanet"."""
    family, values = KINDS[kind]
    levels = levels or (LEVELS[1:] if pyramid == "retinanet" else LEVELS)
    name = {"": "build_{}_backbone", "fpn": "build_{}_fpn_backbone",
            "retinanet": "build_retinanet_{}_fpn_backbone"}[pyramid]  # fmt: skip
    return [
        "MODEL.BACKBONE.NAME", name.format(family), "MODEL.RESNETS.OUT_FEATURES", levels,
        "MODEL.FPN.IN_FEATURES", levels, "MODEL.FPN.NORM", "BN", "MODEL.FPN.OUT_CHANNELS", 16,
        *values,
    ]  # fmt: skip


def last_map(kind):
    """Name of the coarsest map."""
    return "last_feat" if kind == "vit" else "res5"
