"""The local contrastive loss of LC-loss."""

import torch.nn.functional as F

from ..utils.constants import constant
from .log_sum_exp import log_sum_exp
from .precision import full_precision


def read_cells(cells, points):
    """Bilinear reading of a map at sub-cell positions.

    Args:
        cells: (B, D, h, w).
        points: (B, P, 2), grid indices (x, y): cell (row r, column c) is at (c, r); held at the
            border.

    Returns:
        (B, P, D).
    """
    extent = constant(cells.shape[:1:-1], points)
    grid = ((2 * points + 1) / extent - 1).to(cells)[:, None]  # (B, 1, P, 2)
    read = F.grid_sample(cells, grid, "bilinear", "border", align_corners=False)
    return read[:, :, 0].transpose(1, 2)


@full_precision
def local_contrast(anchors, candidates, points, valid, temperature, max_entries=None):
    r"""Each cell of one view finds its place among the cells of another.

    .. math:: NLL(p_c, p_k) = -\log \frac{\exp(C'(p_c, p_k) / \tau)}
                  {\sum_{l \in \Omega} \exp(C'(p_c, p_l) / \tau)}, \qquad
              L = \frac{1}{|P|} \sum_{(p_c, p_{sc}) \in P} NLL(p_c, p_{sc})

    LC-loss (Islam et al. 2022): Eq. 2 is the similarity C', Eq. 3 the map of NLL, Eq. 4 the loss.
    The map NLL(p_c, .) is read bilinearly at the true, sub-cell position. Its normaliser is the
    same everywhere on the map, and the rest is linear in the normalised candidates. The reading is
    therefore the normaliser minus the product of the anchor with the bilinear reading of the
    *candidates*, and the map itself is never made.

    Args:
        anchors: (B, D, h, w), normalised inside; the caller detaches them where they are targets.
        candidates: (B, D, h', w'), normalised inside.
        points: (B, h * w, 2), for each anchor (row by row) its place as grid indices (x, y) of
            the candidates; held at the border.
        valid: (B, h * w) bool, which anchors count.
        temperature: :math:`\tau`.
        max_entries: largest number of similarities that are held at once.

    Returns:
        Scalar in float32 or better. Without a valid anchor a zero that keeps the graph.
    """
    anchors, candidates = F.normalize(anchors, dim=1), F.normalize(candidates, dim=1)
    rows = anchors.flatten(2).transpose(1, 2) / temperature  # (B, h * w, D)
    cells = candidates.flatten(2).transpose(1, 2)  # (B, h' * w', D)
    matched = (rows * read_cells(candidates, points)).sum(dim=2)  # (B, h * w)
    total = log_sum_exp(rows, cells, max_entries=max_entries)  # (B, h * w)
    weights = valid.to(rows)
    return ((total - matched) * weights).sum() / weights.sum().clamp(min=1e-12)
