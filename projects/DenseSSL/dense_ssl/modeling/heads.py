"""Projection and prediction heads."""

from detectron2.layers import get_norm
from torch import nn
from torch.nn import functional as F

from ..utils.maps import rows_of_cells


class MLPHead(nn.Module):
    """Linear, normalisation, ReLU, linear: projector and predictor of BYOL, head of MoCo v2.

    Shapes: (N, in_dim) -> (N, out_dim).
    """

    def __init__(self, in_dim, hidden_dim, out_dim, norm="", output_bias=False):
        """
        Args:
            in_dim, hidden_dim, out_dim: widths.
            norm: a normalisation of detectron2 by name, or "" for none.
            output_bias: give the last layer a bias; MoCo's has one, BYOL's has none.
        """
        super().__init__()
        self.hidden = nn.Linear(in_dim, hidden_dim)
        self.norm = get_norm(norm, hidden_dim)
        self.output = nn.Linear(hidden_dim, out_dim, bias=output_bias)

    def forward(self, x):
        x = self.hidden(x)
        if self.norm is not None:
            # detectron2's normalisation layers take maps: (N, D) -> (N, D, 1, 1) and back
            x = self.norm(x[:, :, None, None])[:, :, 0, 0]
        return self.output(F.relu(x))


def on_cells(head, feature_map):
    """Run a head over every cell of a map, as 1 x 1 convolutions: (N, C, H, W) -> (N, D, H, W)."""
    rows = rows_of_cells(feature_map)  # (N, H * W, C)
    result = head(rows.flatten(0, 1)).view(*rows.shape[:2], -1)  # (N, H * W, D)
    return result.transpose(1, 2).unflatten(2, feature_map.shape[2:])
