"""Feature maps of detectron2's backbones, including those below a pyramid, and their pixels."""

import torch


def bottom_up_of(backbone):
    """Return the network below a pyramid, or ``backbone`` itself if it is not a pyramid."""
    if hasattr(backbone, "bottom_up"):  # FPN
        return backbone.bottom_up
    if hasattr(backbone, "scale_factors"):  # SimpleFeaturePyramid
        return backbone.net
    return backbone


def feature_shapes(backbone):
    """Return the ShapeSpec of every feature map by name; of a pyramid also those below it."""
    return {**bottom_up_of(backbone).output_shape(), **backbone.output_shape()}


# Maps of a ResNet, from fine to coarse.
_STAGES = ("res2", "res3", "res4", "res5")


def ask_for_finer_maps(cfg):
    """Let a ResNet also return the finer maps that it computes anyway, in place.

    A pre-training has only the map that it learns on in MODEL.RESNETS.OUT_FEATURES. Pyramids, which
    take all their maps, and other networks, which may not have these, are left alone.
    """
    node = cfg.MODEL.RESNETS
    is_resnet = "resnet" in cfg.MODEL.BACKBONE.NAME and "fpn" not in cfg.MODEL.BACKBONE.NAME
    if is_resnet and node.OUT_FEATURES and set(node.OUT_FEATURES) <= set(_STAGES):
        coarsest = max(_STAGES.index(x) for x in node.OUT_FEATURES)
        node.OUT_FEATURES = list(_STAGES[: coarsest + 1])


def require_feature(shapes, name, key):
    """Return ``shapes[name]``; if there is no such map, the error names the config ``key``."""
    if name not in shapes:
        raise ValueError(
            f"{key} is {name!r}, but the backbone gives {sorted(shapes)}. Set {key} to one of "
            "them, or add the map to MODEL.RESNETS.OUT_FEATURES."
        )
    return shapes[name]


def extract_features(backbone, images):
    """Return the feature maps by name; of a pyramid also those below it (``res2``..``res5``)."""
    network = bottom_up_of(backbone)
    if network is backbone:
        return backbone(images)
    below = {}
    handle = network.register_forward_hook(lambda *args: below.update(args[2]))
    try:
        features = backbone(images)
    finally:
        handle.remove()
    return {**below, **features}


def pixel_values(values):
    """Return MODEL.PIXEL_MEAN or PIXEL_STD as floats (C, 1, 1), whatever numbers the config has."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
