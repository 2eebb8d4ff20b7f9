"""Views: a batch of one view, that is images and the geometry that made them.

Shapes: N images, P points, K boxes. Coordinates are continuous *edge* coordinates: pixel k covers
[k, k + 1], so an image of width W spans [0, W]. Points are (x, y), boxes (x1, y1, x2, y2).
"""

from dataclasses import dataclass
from typing import Optional

import torch

from .utils.constants import constant

# Regions are 8-bit numbers; this one means none.
NO_REGION = 255


@dataclass
class Views:
    """One view of each image of a batch.

    Attributes:
        images: (N, C, H, W); only the height and width matter for the geometry.
        affine: (N, 4), ``(scale_x, shift_x, scale_y, shift_y)`` from image pixels to view pixels:
            ``view = scale * image + shift``. A horizontal flip makes ``scale_x`` negative.
        seeds: (N,) int64, one seed per image, the same in all views of a batch; None where
            random numbers need not repeat.
        image_size: (N, 2), width and height of the images; None where it is not known.
        regions: (N, R, R) uint8, the region of the image that each cell of an R x R grid on the
            view shows, 255 for none; None where the data has no regions.
    """

    images: torch.Tensor
    affine: torch.Tensor
    seeds: Optional[torch.Tensor] = None
    image_size: Optional[torch.Tensor] = None
    regions: Optional[torch.Tensor] = None

    def __post_init__(self):
        if self.images.dim() != 4 or self.affine.shape != (len(self.images), 4):
            raise ValueError(
                "Views needs images (N, C, H, W) and affine (N, 4), got "
                f"{tuple(self.images.shape)} and {tuple(self.affine.shape)}."
            )

    def __len__(self):
        return len(self.images)

    @property
    def size(self):
        """(height, width) of the view in pixels."""
        return tuple(self.images.shape[-2:])

    @property
    def scale(self):
        """(N, 2), view pixels per image pixel along x and y; negative where flipped."""
        return self.affine[:, 0::2]

    @property
    def shift(self):
        """(N, 2), position of the image's origin in the view."""
        return self.affine[:, 1::2]

    @property
    def zoom(self):
        """(N, 2), view pixels per image pixel along x and y, without sign."""
        return self.scale.abs()

    def to_view(self, points):
        """Map points (N, P, 2) from image pixels to view pixels."""
        return points * self.scale[:, None] + self.shift[:, None]

    def to_image(self, points):
        """Map points (N, P, 2) from view pixels to image pixels."""
        return (points - self.shift[:, None]) / self.scale[:, None]

    def boxes_to_view(self, boxes):
        """Map boxes (N, K, 4) from image to view pixels; corners stay sorted under a flip."""
        return self._map_corners(boxes, self.to_view)

    def boxes_to_image(self, boxes):
        """Map boxes (N, K, 4) from view pixels to image pixels; corners stay sorted."""
        return self._map_corners(boxes, self.to_image)

    def shows(self, points):
        """Return (N, P) bool: True where points (N, P, 2) in view pixels lie within the view.

        The left and upper border belong to the view, the right and lower one do not.
        """
        height, width = self.size
        return ((points >= 0) & (points < constant((width, height), points))).all(dim=-1)

    def footprint(self):
        """(N, 4), the part of the image that the view shows, in image pixels."""
        height, width = self.size
        whole = constant((0, 0, width, height), self.affine).expand(len(self), 1, 4)
        return self.boxes_to_image(whole)[:, 0]

    def overlap(self, other):
        """Intersection of the footprints of two views of the same images.

        Returns:
            (N, 4) boxes in image pixels; width or height is not positive where the views are
            disjoint.
        """
        a, b = self.footprint(), other.footprint()
        return torch.cat(
            [torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])], dim=1
        )

    @staticmethod
    def _map_corners(boxes, mapping):
        count, number = boxes.shape[:2]
        corners = boxes.reshape(count, 2 * number, 2)  # (N, K, 4) -> (N, 2K, 2)
        corners = mapping(corners).reshape(count, number, 2, 2)
        return torch.cat([corners.amin(dim=2), corners.amax(dim=2)], dim=-1)  # (N, K, 4)
