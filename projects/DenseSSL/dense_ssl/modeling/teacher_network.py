"""Building a teacher: a whole network of timm with the weights of a file."""

import logging
import os
import sys

import torch
from detectron2.utils.file_io import PathManager

from ..utils.checks import refuse_non_finite
from .architectures.timm_network import check_name, import_timm, parse_arguments
from .teacher import KEY, Colours, Teacher

logger = logging.getLogger(__name__)

# MODEL.DISTILLATION.TEACHER.WEIGHTS of a teacher without weights, to try things out.
RANDOM = "random"
# What lets a network take images of any size, by kinds of networks; others always do.
_ANY_SIZE = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


def build_teacher(cfg, sides):
    """Build the teacher of MODEL.DISTILLATION.TEACHER.

    Args:
        cfg: config. sides: of the views that it will see, in pixels.

    Returns:
        :class:`~.teacher.Teacher`, and the channels of its cells and of its image vector.
    """
    node = cfg.MODEL.DISTILLATION.TEACHER
    if node.SCALE <= 0:
        raise ValueError(f"{KEY}.SCALE is {node.SCALE}; it must be above 0.")
    network = create_teacher_network(node.NAME, node.WEIGHTS, node.ARGUMENTS)
    pixels = network.pretrained_cfg
    colours = Colours(
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.FORMAT, pixels["mean"], pixels["std"]
    )
    stride = network.feature_info[-1]["reduction"]
    teacher = Teacher(network, name=node.NAME, stride=stride, colours=colours, scale=node.SCALE)
    return teacher, _channels(teacher, node.NAME, sides)


def create_teacher_network(name, weights, arguments=()):
    """Build timm's network ``name`` without classifier, and fill it from a file.

    The random numbers of the process stay as they are.

    Args:
        name: with the tag of its weights, which says how pixels are normalised.
        weights: file of torch.save or safetensors, a path that iopath knows, or "random".
        arguments: "name=value" strings, passed on to timm.
    """
    timm = import_timm(f"{KEY}.NAME")
    check_name(timm, name, f"{KEY}.NAME")
    if not weights:
        raise ValueError(
            f"{KEY}.WEIGHTS is empty: set it to the file with the weights of {name!r} "
            "(docs/distillation.md says where to get it). 'random' gives a randomly initialised "
            "teacher, which is good for tests alone."
        )
    options = parse_arguments(arguments, f"{KEY}.ARGUMENTS")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of a random teacher: the same in all processes, and after a resume
        network = _create(timm, name, options)
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(f"{KEY}.NAME {name!r} gives no feature maps in timm: set another network.")
    if weights == RANDOM:
        logger.warning("%s.WEIGHTS is %r: there is nothing to learn from it.", KEY, RANDOM)
    else:
        _fill(network, name, weights)
    return network


def _create(timm, name, options):
    for any_size in _ANY_SIZE:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **any_size, **options)
        except TypeError as error:
            if not any(x in str(error) for x in any_size):
                raise ValueError(
                    f"timm cannot build {KEY}.NAME {name!r} ({error}): fix {KEY}.ARGUMENTS."
                ) from error
    raise AssertionError("the last entry has no argument that could be unknown")


def _fill(network, name, path):
    """Load the weights of a file; all that the network has must be in it."""
    from timm.models import load_state_dict

    file = PathManager.get_local_path(path)
    if not os.path.isfile(file):
        raise FileNotFoundError(f"There is no file {path!r}: fix {KEY}.WEIGHTS.")
    weights = load_state_dict(file, weights_only=True)  # its code is never run
    # from the names of the authors' files, and to positions of another image size
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    wrong = f"{KEY}.WEIGHTS {path!r} does not fit {KEY}.NAME {name!r}"
    try:
        found = network.load_state_dict(convert(weights, network) if convert else weights, False)
    except (RuntimeError, KeyError, AttributeError) as error:  # other shapes, or no weights at all
        raise ValueError(f"{wrong} ({error}). Set the network of the file.") from error
    if found.missing_keys:
        raise ValueError(
            f"{wrong}: {len(found.missing_keys)} of {len(network.state_dict())} tensors are not in "
            f"it, such as {found.missing_keys[0]!r}. Set the network of the file."
        )
    refuse_non_finite(network.state_dict(), f"{KEY}.WEIGHTS {path}")
    logger.info("teacher %s from %s", name, path)
    if found.unexpected_keys:
        logger.info("left out of the file: %s", ", ".join(found.unexpected_keys))


def _channels(teacher, name, sides):
    """Return the channels of the cells and of the image vector; raise where a view does not fit."""
    for side in sides:
        image = torch.zeros(1, 3, side, side)
        try:
            cells, vector = teacher(image)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"{KEY}.NAME {name!r} cannot take the views of {side} pixels (INPUT.VIEWS.SIZE) "
                f"at {KEY}.SCALE {teacher.scale} ({error}). Set another network, or other sizes."
            ) from error
    return cells.shape[1], vector.shape[1]
