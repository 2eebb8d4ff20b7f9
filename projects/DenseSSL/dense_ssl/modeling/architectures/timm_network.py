"""Building networks of timm that give feature maps."""

import ast
import difflib
import re

import torch

from .swin_windows import pad_before_shift

# Maps by name: their stride, and their place from the end of what timm calls feature_info.
STRIDES = {"stem": 2, "res2": 4, "res3": 8, "res4": 16, "res5": 32}
_PLACES = {"stem": -5, "res2": -4, "res3": -3, "res4": -2, "res5": -1}
# Networks without stochastic depth do not know this argument; at 0 they do not need it.
_NO_DROP_PATH = ("drop_path_rate", 0)


def create_network(name, maps, *, in_channels=3, drop_path=0.0, arguments=()):
    """Build timm's network ``name`` up to the last of ``maps``.

    Args:
        name: of a network in timm, with or without the tag of its weights.
        maps: names in ``STRIDES``, from fine to coarse.
        in_channels: channels of the image.
        drop_path: rate of stochastic depth of the last block.
        arguments: "name=value" strings, passed on to timm.

    Returns:
        module that gives a list of maps; ``feature_info`` describes them.
    """
    timm = import_timm()
    check_name(timm, name)
    options = {
        "features_only": True,
        "pretrained": False,
        "in_chans": in_channels,
        "drop_path_rate": drop_path,
        "out_indices": tuple(_PLACES[x] for x in maps),
        **parse_arguments(arguments),
    }
    network = _create(timm, name, maps, options)
    if network.feature_info.reduction() != [STRIDES[x] for x in maps]:
        _refuse_strides(name, maps, network.feature_info)
    _cut(network)
    pad_before_shift(network)
    _check_drop_path(network, name, drop_path)
    _check_maps(network, name, maps, in_channels)
    return network


def import_timm(key="MODEL.BACKBONE.NAME"):
    """Return the module timm; ``key`` is the config key that asks for one of its networks."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"{key} asks for a network of timm: pip install 'timm>=1.0.9' (it brings no torch of "
            "its own)."
        ) from error
    return timm


def check_name(timm, name, key="MODEL.TIMM.NAME"):
    """Raise unless ``name``, the value of a config key, is a network of timm."""
    if not name:
        raise ValueError(f"{key} is empty: name a network, such as 'mobilenetv2_100'.")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), cutoff=0.5)
        raise ValueError(
            f"{key} is {name!r}, which timm {timm.__version__} does not have. Close to it: "
            f"{close}; timm.list_models() names all."
        )


def parse_arguments(arguments, key="MODEL.TIMM.ARGUMENTS"):
    """Return {name: value} of "name=value" strings, the value of a config key."""
    result = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        try:
            result[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            equals = ""
        if not equals:
            raise ValueError(
                f"{key} has {text!r}: each must be 'name=value' with a Python literal, such as "
                "'window_size=14'."
            )
    return result


def _create(timm, name, maps, options):
    """Call timm.create_model without those of our arguments that the network does not know."""
    options = {"strict_img_size": False, **options}
    if not timm.get_pretrained_cfg(name).fixed_input_size:
        del options["strict_img_size"]
    while True:
        try:
            return timm.create_model(name, **options)
        except (TypeError, RuntimeError, AssertionError, IndexError) as error:
            if "out of range" in str(error):  # it has fewer maps
                plain = timm.create_model(name, features_only=True)
                _refuse_strides(name, maps, plain.feature_info)
            found = re.search(r"unexpected keyword argument(?:\(s\))?\W+(\w+)", str(error))
            unknown = found and found[1]
            if unknown == "strict_img_size" or (unknown, options.get(unknown)) == _NO_DROP_PATH:
                del options[unknown]
                continue
            key = "MODEL.TIMM.DROP_PATH" if unknown == "drop_path_rate" else "MODEL.TIMM.ARGUMENTS"
            raise ValueError(
                f"timm cannot build MODEL.TIMM.NAME {name!r} as a backbone ({error}). Set another "
                f"network, or fix {key}."
            ) from error


def _refuse_strides(name, maps, info):
    found = sorted({x["reduction"] for x in info.info})
    text = (
        f"MODEL.TIMM.NAME {name!r} gives maps of strides {found}; MODEL.RESNETS.OUT_FEATURES asks "
        f"for {list(maps)}, of strides {[STRIDES[x] for x in maps]}."
    )
    if len(found) == 1:
        text += " Networks with one resolution: build_vit_backbone, build_vit_fpn_backbone."
    raise ValueError(text)


def _cut(network):
    """Remove the stages after the last map, where timm does not (EfficientNets, MobileNets)."""
    last = re.fullmatch(r"blocks\.(\d+)(\..*)?", network.feature_info.module_name()[-1])
    if last and isinstance(getattr(network, "blocks", None), torch.nn.Sequential):
        network.blocks = network.blocks[: int(last[1]) + 1]


def _check_drop_path(network, name, drop_path):
    if drop_path > 0 and not any(getattr(x, "drop_prob", 0) for x in network.modules()):
        raise ValueError(
            f"MODEL.TIMM.DROP_PATH is {drop_path}, but {name!r} has no stochastic depth: set it "
            "to 0."
        )


@torch.no_grad()
def _check_maps(network, name, maps, in_channels):
    """Raise if the network needs one image size, or its maps lack cells at the border."""
    height, width = 64, 96
    training = network.training
    try:
        found = network.eval()(torch.zeros(1, in_channels, height, width))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"MODEL.TIMM.NAME {name!r} cannot take an image of {height} x {width} pixels, but "
            f"views and images of detectors can have any size ({error}). Set another network."
        ) from error
    network.train(training)
    for x, key in zip(found, maps):
        cells = (height // STRIDES[key], width // STRIDES[key])
        if cells not in (tuple(x.shape[2:]), tuple(x.shape[1:3])):
            raise ValueError(
                f"MODEL.TIMM.NAME {name!r} does not pad: of {height} x {width} pixels {key} has "
                f"{tuple(x.shape)} instead of {cells} cells. Set another network."
            )
