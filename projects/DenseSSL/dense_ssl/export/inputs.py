"""The images that an exported file is compared on."""

import numpy as np
import torch
from detectron2.data import transforms as T

from ..data.finetune.images import ResizeShortestEdge
from ..data.image_io import read_image
from ..data.sources.folder import list_image_folder
from ..prediction.models import as_tensor
from ..scenes import SceneSpec, draw_scene

NUM_IMAGES = 3
# Sides of generated scenes, and of what backbones see, in pixels.
_SCENE, _BACKBONE_SIDE = (320, 256), 224


def read_images(cfg, kind, folder="", size=None):
    """Return uint8 tensors (3, H, W) in the colour order of INPUT.FORMAT, as in evaluation.

    Args:
        cfg: config.
        kind: "backbone", "detector" or "segmentor".
        folder: images; "": generated scenes.
        size: (height, width) to resize to; None: by INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST.
    """
    if folder:
        files = [x["file_name"] for x in list_image_folder(folder)]
        picked = np.linspace(0, len(files) - 1, min(NUM_IMAGES, len(files))).round().astype(int)
        images = [read_image(files[i]) for i in picked]
    else:
        spec = SceneSpec(size=_SCENE)
        images = [draw_scene(spec, "val", i)[0] for i in range(NUM_IMAGES)]
    resize = _resize(cfg, kind, size)
    arrays = [resize.get_transform(x).apply_image(x) for x in images]
    return [as_tensor(x, cfg.INPUT.FORMAT) for x in arrays]


def _resize(cfg, kind, size):
    if size:
        return T.Resize(size)
    shortest, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    if kind == "backbone":
        shortest, longest = _BACKBONE_SIDE, 2 * _BACKBONE_SIDE
    return ResizeShortestEdge([shortest, shortest], longest)


def compared_inputs(images, batched, fixed):
    """Return what the file is run on, beside each image: what a trace may have fixed by mistake.

    An image without content (no detections) and, unless the size is fixed, two parts of the first
    image, one of them transposed, so that the sides differ; for batches two of one.

    Args:
        images: result of :func:`read_images`. batched: inputs have a first axis N.
        fixed: only the size of the first image is allowed.
    """
    first = images[0]
    inputs = [*images, torch.zeros_like(first)]
    if not fixed:
        height, width = first.shape[-2:]
        inputs.append(first[:, : height * 2 // 3].transpose(1, 2).contiguous())
        inputs.append(first[:, : height * 5 // 6 + 1, : width * 2 // 3 + 1].contiguous())
    if not batched:
        return inputs
    inputs = [x[None] for x in inputs]
    if not fixed:
        inputs.append(torch.cat([inputs[-1], inputs[-1].flip(-1)]))
    return inputs
