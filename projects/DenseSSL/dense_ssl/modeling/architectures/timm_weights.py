"""Weights of timm's networks under the names of their feature extractors."""


def rename_timm_weights(weights, names):
    """Weights of a network of timm, as its ``features_only`` form names them.

    timm lays the outer ``nn.Sequential`` of most networks flat ("stages.0.blocks" becomes
    "stages_0.blocks"), puts others below "model" or "body", and leaves EfficientNets as they are.
    What the extractor does not have, such as the classifier, is left out.

    Args:
        weights: {name in timm: tensor}, of the whole network or of its extractor.
        names: tensor names of the extractor.

    Returns:
        {name of the extractor: tensor}
    """
    names, renamed = set(names), {}
    for name, tensor in weights.items():
        for spelling in (name, name.replace(".", "_", 1), f"model.{name}", f"body.{name}"):
            if spelling in names:
                renamed[spelling] = tensor
                break
    return renamed
