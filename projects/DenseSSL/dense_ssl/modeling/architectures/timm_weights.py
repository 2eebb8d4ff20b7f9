"""timm's own weights under the names that its ``features_only`` networks use."""


def rename_timm_weights(weights, names):
    """Rename weights of a network of timm to those of its ``features_only`` form.

    timm flattens the outer ``nn.Sequential`` of most networks ("stages.0.blocks" becomes
    "stages_0.blocks"), puts others below "model" or "body", and leaves EfficientNets as they are.
    What the ``features_only`` form does not have, such as the classifier, is left out.

    Args:
        weights: {name in timm: tensor}, of the whole network or of its ``features_only`` form.
        names: tensor names of the ``features_only`` form.

    Returns:
        {new name: tensor}
    """
    names, renamed = set(names), {}
    for name, tensor in weights.items():
        for spelling in (name, name.replace(".", "_", 1), f"model.{name}", f"body.{name}"):
            if spelling in names:
                renamed[spelling] = tensor
                break
    return renamed
