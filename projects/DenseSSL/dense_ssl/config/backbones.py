"""Keys of the backbones beside detectron2's ResNets (docs/backbones.md)."""

from detectron2.config import CfgNode as CN


def add_backbone_config(cfg):
    """Add the keys of detectron2's ResNets, of timm's networks and of ViTs.

    MODEL.RESNETS.OUT_FEATURES chooses the maps of every backbone except ViTs.
    """
    # Pre-training starts with a scale of 0 in the last batch norm of each residual block, so that
    # every block begins as its shortcut. DeepMind's network for BYOL does this; torchvision's
    # ResNet, which the PyTorch codes of the other methods take, does not by default. Only of
    # detectron2's ResNets: timm's networks have an argument of their own (zero_init_last, True by
    # default), for MODEL.TIMM.ARGUMENTS.
    cfg.MODEL.RESNETS.ZERO_INIT_RESIDUAL = False

    # For build_timm_backbone, ..._fpn_backbone, build_retinanet_...: a network of timm.
    timm = cfg.MODEL.TIMM = CN()
    timm.NAME = ""
    # Replaces its batch norm layers; layer norm and others stay.
    timm.NORM = "BN"
    # "LN": a layer norm on every map (detectors on Swin and ConvNeXt have it); "": none.
    timm.OUT_NORM = ""
    # Rate of stochastic depth in the last block, rising from 0 in the first; only of the online
    # network.
    timm.DROP_PATH = 0.0
    # Further arguments of timm.create_model, each "name=value" with a Python literal.
    timm.ARGUMENTS = ()

    # For build_resnet_deeplab_backbone and its FPNs: the stem is "basic" or three 3x3 convolutions
    # ("deeplab"; ResNet-50c has them with MODEL.RESNETS.STEM_OUT_CHANNELS 128). MULTI_GRID
    # multiplies the dilation of each block in res5.
    cfg.MODEL.RESNETS.setdefault("STEM_TYPE", "deeplab")
    cfg.MODEL.RESNETS.setdefault("RES5_MULTI_GRID", [1, 1, 1])

    # For build_vit_backbone (one map, "last_feat") and its pyramids; the default is ViTDet's ViT-B.
    vit = cfg.MODEL.VIT = CN()
    vit.PATCH_SIZE = 16
    vit.EMBED_DIM = 768
    vit.DEPTH = 12
    vit.NUM_HEADS = 12
    vit.DROP_PATH = 0.0
    # Relative positions, for images of IMAGE_SIZE x IMAGE_SIZE; interpolated for other sizes.
    vit.REL_POS = True
    vit.IMAGE_SIZE = 1024
    # Blocks that attend within windows of WINDOW_SIZE x WINDOW_SIZE cells instead of globally.
    vit.WINDOW_SIZE = 14
    vit.WINDOW_BLOCKS = (0, 1, 3, 4, 6, 7, 9, 10)
    # Detectors pad every image to a square of this side; 0: to multiples of 32.
    vit.SQUARE_PAD = 0
