"""Keys of the backbones beside detectron2's ResNets."""

from detectron2.config import CfgNode as CN


def add_backbone_config(cfg):
    """timm, RegNet, Swin, ViT, ResNets with a deep stem."""
    # Backbones beside detectron2's ResNets (docs/backbones.md). MODEL.RESNETS.OUT_FEATURES chooses
    # the maps of every backbone, by the names that a ResNet's maps of these strides have.
    timm = cfg.MODEL.TIMM = CN()
    # For build_timm_backbone, ..._fpn_backbone, build_retinanet_...: a network of timm.
    timm.NAME = ""
    # What its batch norms become; layer norms and others stay as they are.
    timm.NORM = "BN"
    # "LN": a layer norm on every map (detectors on Swin and ConvNeXt have it); "": none.
    timm.OUT_NORM = ""
    # Rate of stochastic depth of the last block, 0 of the first; of the online network alone.
    timm.DROP_PATH = 0.0
    # Further arguments of timm.create_model, each "name=value" with a Python literal.
    timm.ARGUMENTS = ()

    # For build_resnet_deeplab_backbone and its FPNs: the stem, three 3x3 convolutions ("deeplab",
    # with MODEL.RESNETS.STEM_OUT_CHANNELS 128: ResNet-50c) or "basic", and dilations.
    cfg.MODEL.RESNETS.setdefault("STEM_TYPE", "deeplab")
    cfg.MODEL.RESNETS.setdefault("RES4_DILATION", 1)
    cfg.MODEL.RESNETS.setdefault("RES5_MULTI_GRID", [1, 1, 1])

    # For build_regnet_backbone and its FPNs; the default is RegNetX-4GF.
    regnets = cfg.MODEL.REGNETS = CN()
    regnets.NORM = "BN"
    regnets.STEM_WIDTH = 32
    regnets.DEPTH = 23
    regnets.W_A = 38.65
    regnets.W_0 = 96
    regnets.W_M = 2.43
    regnets.GROUP_WIDTH = 40
    # Above 0: RegNetY.
    regnets.SE_RATIO = 0.0

    # For build_swin_backbone and its FPNs; the default is Swin-T.
    swin = cfg.MODEL.SWIN = CN()
    swin.EMBED_DIM = 96
    swin.DEPTHS = (2, 2, 6, 2)
    swin.NUM_HEADS = (3, 6, 12, 24)
    swin.WINDOW_SIZE = 7
    # Absolute position embedding.
    swin.APE = False
    swin.DROP_PATH = 0.0

    # For build_vit_backbone (one map, "last_feat") and its pyramids; the default is ViTDet's ViT-B.
    vit = cfg.MODEL.VIT = CN()
    vit.PATCH_SIZE = 16
    vit.EMBED_DIM = 768
    vit.DEPTH = 12
    vit.NUM_HEADS = 12
    vit.DROP_PATH = 0.0
    # Relative positions, of IMAGE_SIZE x IMAGE_SIZE pixels; interpolated for other images.
    vit.REL_POS = True
    vit.IMAGE_SIZE = 1024
    # Blocks that attend within windows of so many cells instead of globally.
    vit.WINDOW_SIZE = 14
    vit.WINDOW_BLOCKS = (0, 1, 3, 4, 6, 7, 9, 10)
    # Detectors pad every image to a square of this side; 0: to multiples of 32.
    vit.SQUARE_PAD = 0
