"""Backbones of detectron2, with every feature map they compute."""


def bottom_up_of(backbone):
    """The network below a pyramid, or ``backbone`` itself where there is no pyramid."""
    if hasattr(backbone, "bottom_up"):  # FPN
        return backbone.bottom_up
    if hasattr(backbone, "scale_factors"):  # SimpleFeaturePyramid
        return backbone.net
    return backbone


def feature_shapes(backbone):
    """Shapes of all feature maps of ``backbone`` by name; of a pyramid also those below it."""
    return {**bottom_up_of(backbone).output_shape(), **backbone.output_shape()}


def extract_features(backbone, images):
    """Feature maps by name; of a pyramid also those below it (``res2``..``res5``)."""
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


def feature_shape(shapes, name, key):
    """The shape of feature map ``name``; an error names the config ``key`` if there is none."""
    if name not in shapes:
        raise ValueError(
            f"{key} is {name!r}, but the backbone gives {sorted(shapes)}. Set {key} to one of "
            "them, or add the map to MODEL.RESNETS.OUT_FEATURES."
        )
    return shapes[name]
