"""What is similar to a point of an object, against its mask (Bai et al. 2022, section 4.4)."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ..losses.precision import full_precision
from ..visualization.point_affinity import draw_point_affinity
from .masks import object_masks
from .registry import ANALYSES, ANY_COUNT, SHARE, BackboneAnalysis, Outcome, choose_level, option

KEEP, CENTRES = ("mass", "area"), ("box", "mask")


@ANALYSES.register()
class PointAffinity(BackboneAnalysis):
    """Jaccard index between objects and what is similar to their centres.

    The cosine of the feature at an object's centre with those of the whole image, cut at a
    threshold, is compared with the object's mask.
    """

    name, source = "point-affinity", "PLRC Table 3, Fig. 3 to 5"
    needs = "masks"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(200, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 32, res5")
        side: int = option(896, "images are resized to squares of this side")
        upsample: int = option(2, "the map is enlarged by this factor before it is read")
        keep: str = option("mass", "a threshold keeps this share of the sum of the affinities "
                           "('mass') or of the cells ('area')", KEEP)  # fmt: skip
        share: float = option(0.8, "share that is kept", limits=SHARE)
        centre: str = option("box", "point of an object: the centre of its 'box', or the pixel of "
                             "its 'mask' that is closest to the mask's mean", CENTRES)  # fmt: skip
        min_area: float = option(0.0, "least share of the image that an object covers")
        pictures: int = option(4, "images in the figure", limits=ANY_COUNT)
        points: str = option("", "points as shares of width and height, such as '0.5,0.5 0.2,0.8', "
                             "on any images; default: centres of objects")  # fmt: skip

    def __init__(self, **options):
        super().__init__(**options)
        self.points = parse_points(self.options.points)
        self.needs = "images" if self.points else "masks"

    def measure(self, maps, samples):
        level = choose_level(maps, self.options.level, stride=32)
        scores, examples, seen = [], [], 0
        for sample in samples:
            points, masks = self._points(sample, samples.metadata)
            if not points:
                continue
            seen += 1
            features = enlarged(maps(sample.image, self.size)[level], self.options.upsample)[0]
            affinities = point_affinity(features, np.array(points)).cpu().numpy()
            here = [
                jaccard(kept(x, self.options.keep, self.options.share), mask)
                for x, mask in zip(affinities, masks)
            ]
            scores += here
            if len(examples) < self.options.pictures:
                # chosen points, or that of the largest object
                shown = [int(np.argmax([x.sum() for x in masks]))] if masks else range(len(points))
                examples.append([(sample.image, points[i], affinities[i], here[i] if here else None)
                                 for i in shown])  # fmt: skip
        if not seen:
            raise ValueError("no image has a mask: lower --min-area, or name other data.")
        numbers = {"level": level}
        if scores:
            numbers.update(jaccard=100 * float(np.mean(scores)), objects=len(scores))
        return Outcome(numbers, sum(examples, []))

    def _points(self, sample, metadata):
        """Return the points of an image, and the masks of the objects that they are points of."""
        if self.points:
            return self.points, []
        masks = object_masks(sample.item, sample.image.shape[:2], metadata)
        masks = [x for x in masks if x.mean() >= self.options.min_area]
        return [object_point(x, self.options.centre) for x in masks], masks

    def draw(self, outcomes):
        return {"": draw_point_affinity({name: x.drawn for name, x in outcomes.items()})}


def enlarged(features, factor):
    """Return maps (N, C, h, w) enlarged by bilinear interpolation."""
    if factor == 1:
        return features
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)


def object_point(mask, centre):
    """Return the point (x, y) of an object, as shares of the image's width and height.

    Args:
        mask: bool (H, W), not empty.
        centre: "box" or "mask".
    """
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    if centre == "box":
        x, y = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    else:
        closest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        x, y = columns[closest] + 0.5, rows[closest] + 0.5
    return x / width, y / height


@full_precision
def point_affinity(features, points):
    """Return the cosine between the features at points and those of all cells.

    Args:
        features: (C, h, w).
        points: (P, 2), (x, y) as shares of width and height; the cell that holds a point is read.

    Returns:
        (P, h, w).
    """
    height, width = features.shape[1:]
    cells = F.normalize(features, dim=0)
    columns = np.clip((points[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip((points[:, 1] * height).astype(int), 0, height - 1)
    return torch.einsum("cp,chw->phw", cells[:, rows, columns], cells)


def kept(values, keep, share):
    """Return which cells a threshold keeps: the highest ones that hold a share of all.

    Cells that are equal to the last one that is kept are kept too.

    Args:
        values: (h, w) affinities; for "mass" they are shifted so that the smallest is 0.
        keep: "mass", a share of the sum of the values, or "area", of the number of cells.
        share: in 0..1.

    Returns:
        bool (h, w).
    """
    falling = np.sort(values.ravel())[::-1]
    weights = falling - falling[-1] if keep == "mass" else np.ones_like(falling)
    total = weights.sum(dtype=np.float64)
    if total <= 0:  # all values are equal
        return np.ones_like(values, bool)
    # rounding must not ask for one more cell
    enough = np.cumsum(weights, dtype=np.float64) >= share * total * (1 - 1e-6)
    return values >= falling[enough.argmax()] - 1e-6


def jaccard(found, mask):
    """Return the intersection over union of cells (h, w), drawn in pixels, and a mask (H, W)."""
    size = mask.shape[::-1]
    found = cv2.resize(found.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    return float((found & mask).sum() / max((found | mask).sum(), 1))


def parse_points(text):
    """'0.5,0.5 0.2,0.8' -> [(0.5, 0.5), (0.2, 0.8)]."""
    try:
        points = [tuple(float(x) for x in word.split(",")) for word in text.split()]
    except ValueError as error:
        raise ValueError(f"--points: {error}; write them as '0.5,0.5 0.2,0.8'.") from error
    if any(len(x) != 2 or not 0 <= min(x) <= max(x) <= 1 for x in points):
        raise ValueError(f"--points {text!r}: each point is x,y with numbers between 0 and 1.")
    return points
