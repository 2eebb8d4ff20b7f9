"""Features of whole images: feature maps averaged to a grid, kept in files, not in memory."""

import contextlib
import os
from dataclasses import dataclass
from itertools import islice

import numpy as np
from torch.nn import functional as F

from ..data.finetune.image_mapper import centre_crop
from ..modeling.backbones import bottom_up_of, feature_shapes, require_feature
from .registry import choose_level

_BATCH = 16
# The shorter side of an image before its centre is cropped, relative to the crop: 256 for 224.
_MARGIN = 256 / 224
_STEM = "stem"


@dataclass(frozen=True)
class Level:
    """A feature map, averaged to ``grid`` x ``grid`` cells."""

    name: str
    grid: int = 1

    def __str__(self):
        return self.name if self.grid == 1 else f"{self.name}:{self.grid}"


def choose_levels(maps, text):
    """Return the levels that an option names.

    Args:
        maps: :class:`~dense_ssl.prediction.models.FeatureMaps`.
        text: "res4,res5:2", a map and perhaps its grid; "": the last map; "all": all maps of the
            network below a pyramid, the stem of a ResNet first.
    """
    network = bottom_up_of(maps.backbone)
    if not text:
        return [Level(choose_level(maps, "", stride=32))]
    known = feature_shapes(maps.backbone)
    stem = [_STEM] if hasattr(network, _STEM) else []
    if text == "all":
        return [Level(x) for x in dict.fromkeys([*stem, *network.output_shape()])]
    levels = []
    for word in (x.strip() for x in text.split(",")):
        name, colon, grid = word.partition(":")
        if name not in stem:
            require_feature(known, name, "--levels")
        if colon and not (grid.isdigit() and int(grid) > 0):
            raise ValueError(f"--levels: the grid of {word!r} must be a number above 0.")
        levels.append(Level(name, int(grid or 1)))
    return list(dict.fromkeys(levels))


def extract(maps, samples, levels, side, folder):
    """Compute the features of all images that can be read.

    Args:
        maps: :class:`~dense_ssl.prediction.models.FeatureMaps`.
        samples: :class:`~.samples.Samples`.
        levels: list of :class:`Level`.
        side: of the centre crop, in pixels.
        folder: for the files that hold the features.

    Returns:
        ({level: float32 (n, C * grid^2), mapped from its file}, detectron2's dicts of the n).
    """
    files, items = {}, []
    images = ((x.item, centre_crop(x.image, round(side * _MARGIN), side)) for x in samples)
    with _with_stem(maps) as stem:
        for batch in iter(lambda: list(islice(images, _BATCH)), []):
            found = {**maps([x for _, x in batch]), **stem}
            for level in levels:
                cells = F.adaptive_avg_pool2d(found[level.name].float(), level.grid)
                rows = cells.flatten(1).cpu().numpy()
                if level not in files:
                    path = os.path.join(folder, f"{len(files)}.npy")
                    shape = len(samples), rows.shape[1]
                    files[level] = np.lib.format.open_memmap(path, "w+", np.float32, shape)
                files[level][len(items) : len(items) + len(batch)] = rows
            items += [x for x, _ in batch]
    if not items:
        raise ValueError(f"no image of {samples.entry!r} can be read.")
    return {k: x[: len(items)] for k, x in files.items()}, items


@contextlib.contextmanager
def _with_stem(maps):
    """Give a dict that holds the stem's map of the last batch, if the network has a stem."""
    found, network = {}, bottom_up_of(maps.backbone)
    if not hasattr(network, _STEM):
        yield found
        return
    handle = network.stem.register_forward_hook(lambda *args: found.update({_STEM: args[2]}))
    try:
        yield found
    finally:
        handle.remove()
