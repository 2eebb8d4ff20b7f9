"""Regions and points of point-level region contrast, and similarity maps of points."""

import cv2
import numpy as np
from matplotlib import colormaps
from torch.nn import functional as F

from .canvas import enlarged, side_by_side

_TINT = 0.35
_WHITE = (255, 255, 255)


def draw_regions(images, sample, scale=1):
    """Draw views with their points, tinted by region; a region has one colour in both views.

    Dots are points that are contrasted; they are places of the view alone, unless points are
    paired. A cross marks a place that both views show, one of those that distillation compares in
    a region.

    Args:
        images: list of the two views, each (n, 3, H, W) float, RGB, 0 to 255.
        sample: :class:`~dense_ssl.modeling.geometry.region_sampling.RegionSample`.
        scale: integer, drawing pixels per view pixel.

    Returns:
        uint8 (3, height, width): a row per image, a column per view.
    """
    palette = (255 * np.array(colormaps["tab20"].colors)).astype(np.uint8)
    columns = []
    for view, batch in enumerate(images):
        rows = []
        for row, image in enumerate(batch):
            pixels = enlarged(image, scale)
            _tint(pixels, sample.region_maps[view][row].cpu().numpy(), palette)
            for place, colour in _places(sample.points, view, row, scale, palette):
                cv2.circle(pixels, place, 2, _WHITE, -1)
                cv2.circle(pixels, place, 1, colour, -1)
            if sample.pairs is not None:
                of_a_region = sample.pairs.regions.shape[1] // sample.drawn.shape[1]
                for place, colour in _places(sample.pairs, view, row, scale, palette, of_a_region):
                    cv2.drawMarker(pixels, place, _WHITE, cv2.MARKER_CROSS, 9, 3)
                    cv2.drawMarker(pixels, place, colour, cv2.MARKER_CROSS, 7, 1)
            rows.append(pixels)
        columns.append(rows)
    return side_by_side(columns)


def _places(points, view, row, scale, palette, step=1):
    """Yield (place in drawing pixels, colour) of every ``step``-th point that there is."""
    places, labels = points.xy[view][row][::step].tolist(), points.regions[row][::step].tolist()
    for (x, y), label in zip(places, labels):
        if label >= 0:
            colour = tuple(int(c) for c in palette[label % len(palette)])
            yield (int(scale * x), int(scale * y)), colour


def _tint(pixels, regions, palette):
    """Blend the colours of regions (R * R,), -1 for none, into pixels (H, W, 3), in place."""
    side = round(len(regions) ** 0.5)
    grid = regions.reshape(side, side).astype(np.int32)
    grid = cv2.resize(grid, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    colours = palette[grid % len(palette)]
    blended = (1 - _TINT) * pixels + _TINT * colours
    np.copyto(pixels, blended.astype(np.uint8), where=(grid >= 0)[..., None])


def draw_affinity(images, features, vectors, points, scale=1):
    """Draw the similarity between the features of an image and those at some of its points.

    Args:
        images: (n, 3, H, W) float, RGB, 0 to 255.
        features: (n, C, h, w).
        vectors, points: (n, P, C), (n, P, 2): the features at the points, in view pixels.
        scale: integer, drawing pixels per view pixel.

    Returns:
        uint8 (3, height, width): a row per image; the image, then per point a map of the cosine
        similarity to it. Bright is similar; a red circle marks the point.
    """
    size = images.shape[-2:]
    unit = F.normalize(features.flatten(2), dim=1)  # (n, C, h * w)
    similar = F.normalize(vectors, dim=2) @ unit  # (n, P, h * w)
    similar = similar.unflatten(2, features.shape[2:])
    drawn = [[enlarged(x, scale) for x in images]]
    for column in range(points.shape[1]):
        drawn.append(
            [
                _heat_map(similar[row, column].numpy(), points[row, column].tolist(), size, scale)
                for row in range(len(images))
            ]
        )
    return side_by_side(drawn)


def _heat_map(values, point, size, scale):
    low, high = values.min(), values.max()
    values = (values - low) / max(high - low, 1e-6)
    shape = (size[1] * scale, size[0] * scale)
    values = cv2.resize(values, shape, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    pixels = np.ascontiguousarray((255 * colormaps["viridis"](values)[..., :3]).astype(np.uint8))
    x, y = (int(scale * z) for z in point)
    cv2.circle(pixels, (x, y), max(3, shape[0] // 40), (255, 0, 0), 2)
    return pixels
