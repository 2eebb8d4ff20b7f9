"""Backbones of detectron2, with every feature map they compute."""


def feature_shapes(backbone):
    """Shapes of all feature maps of ``backbone`` by name; of an FPN also its bottom-up ones."""
    shapes = dict(backbone.output_shape())
    if hasattr(backbone, "bottom_up"):
        shapes = {**backbone.bottom_up.output_shape(), **shapes}
    return shapes


def extract_features(backbone, images):
    """Feature maps by name; of an FPN also the bottom-up ones (``res2``..``res5``)."""
    if not hasattr(backbone, "bottom_up"):
        return backbone(images)
    bottom_up = {}
    handle = backbone.bottom_up.register_forward_hook(lambda *args: bottom_up.update(args[2]))
    try:
        features = backbone(images)
    finally:
        handle.remove()
    return {**bottom_up, **features}


def feature_shape(shapes, name, key):
    """The shape of feature map ``name``; an error names the config ``key`` if there is none."""
    if name not in shapes:
        raise ValueError(
            f"{key} is {name!r}, but the backbone gives {sorted(shapes)}. Set {key} to one of "
            "them, or add the map to MODEL.RESNETS.OUT_FEATURES."
        )
    return shapes[name]
