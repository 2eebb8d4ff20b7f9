"""Checkpoints as other projects write them, made from torchvision's own networks."""

from collections import OrderedDict

import torch
from torch import nn
from torchvision import models


def network(name, seed, **more):
    """A torchvision ResNet with every tensor random, norm statistics included."""
    torch.manual_seed(seed)
    model = getattr(models, name)(num_classes=7, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.uniform_(-0.3, 0.3, generator=generator)
                module.num_batches_tracked.fill_(42)
    return model.eval()


def detectron2_tensors(model):
    """{detectron2's name: tensor} of a torchvision ResNet, walked module by module."""
    result = {}

    def add(name, conv, norm):
        result[f"{name}.weight"] = conv.weight.detach()
        for key in ("weight", "bias", "running_mean", "running_var"):
            result[f"{name}.norm.{key}"] = getattr(norm, key).detach()

    add("stem.conv1", model.conv1, model.bn1)
    for stage in range(1, 5):
        for i, block in enumerate(getattr(model, f"layer{stage}")):
            for k in (1, 2, 3):
                if hasattr(block, f"conv{k}"):
                    name = f"res{stage + 1}.{i}.conv{k}"
                    add(name, getattr(block, f"conv{k}"), getattr(block, f"bn{k}"))
            if block.downsample is not None:
                add(f"res{stage + 1}.{i}.shortcut", *block.downsample)
    return result


def body(model, prefix=""):
    """Its tensors without the classifier, with a prefix."""
    return {f"{prefix}{k}": x for k, x in model.state_dict().items() if not k.startswith("fc.")}


def indexed(model, prefix=""):
    """Its tensors as ``nn.Sequential(*list(model.children())[:-1])`` has them."""
    layers = nn.Sequential(*list(model.children())[:-1])
    return {f"{prefix}{k}": x for k, x in layers.state_dict().items()}


def simclr_v2(model, prefix=""):
    """Its tensors in the names of SimCLR v2's PyTorch port."""
    layers = {"conv1": "0", "bn1": "1.0", "conv2": "2", "bn2": "3.0", "conv3": "4", "bn3": "5.0"}
    result = {}
    for name, x in model.state_dict().items():
        parts = name.split(".")
        if parts[0] in ("conv1", "bn1"):
            new = ["net", "0", layers[parts[0]], parts[1]]
        elif parts[0] == "fc":
            new = parts
        else:
            new = ["net", parts[0][-1], "blocks", parts[1]]
            if parts[2] == "downsample":
                new += ["projection", ("shortcut", "bn.0")[int(parts[3])], parts[4]]
            else:
                new += ["net", layers[parts[2]], parts[3]]
        result[prefix + ".".join(new)] = x
    return result


def linear(name, size=3):
    """A layer of some head."""
    return {f"{name}.weight": torch.rand(size, size), f"{name}.bias": torch.rand(size)}


def wrapped(state_dict):
    """As DistributedDataParallel saves it."""
    return OrderedDict((f"module.{k}", x) for k, x in state_dict.items())


def soco_fpn(widths, prefix=""):
    """SoCo's FPN and box head, narrow, over stages of the given widths."""
    result = {}
    for i, width in enumerate(widths):
        for kind, shape in (("lateral", (8, width, 1, 1)), ("fpn", (8, 8, 3, 3))):
            start = f"{prefix}neck.{kind}_convs.{i}"
            result[f"{start}.conv.weight"] = torch.rand(shape)
            for key in ("weight", "bias", "running_mean", "running_var"):
                result[f"{start}.bn.{key}"] = torch.rand(8)
            result[f"{start}.bn.num_batches_tracked"] = torch.tensor(3)
    result[f"{prefix}head.conv1.weight"] = torch.rand(8, 8, 3, 3)
    result[f"{prefix}head.bn1.weight"] = torch.rand(8)
    result.update(linear(f"{prefix}head.fc1"))
    return result
