"""Projection and prediction heads."""

from detectron2.layers import get_norm
from torch import nn
from torch.nn import functional as F


class MLPHead(nn.Module):
    """Linear, norm, ReLU, linear: projector and predictor of BYOL and SCRL, head of MoCo v2.

    Shapes: (N, in_dim) -> (N, out_dim).
    """

    def __init__(self, in_dim, hidden_dim, out_dim, norm="", output_bias=False):
        """
        Args:
            in_dim, hidden_dim, out_dim: widths.
            norm: name of a norm of detectron2, or "".
            output_bias: whether the last layer has a bias, as MoCo's has and BYOL's has not.
        """
        super().__init__()
        self.hidden = nn.Linear(in_dim, hidden_dim)
        self.norm = get_norm(norm, hidden_dim)
        self.output = nn.Linear(hidden_dim, out_dim, bias=output_bias)

    def forward(self, x):
        x = self.hidden(x)
        if self.norm is not None:
            # detectron2's norms take maps: (N, D) -> (N, D, 1, 1) and back
            x = self.norm(x[:, :, None, None])[:, :, 0, 0]
        return self.output(F.relu(x))


def on_cells(head, feature_map):
    """Run a head over every cell of a map, as 1 x 1 convolutions: (N, C, H, W) -> (N, D, H, W)."""
    rows = feature_map.flatten(2).transpose(1, 2)  # (N, H * W, C)
    result = head(rows.flatten(0, 1)).view(*rows.shape[:2], -1)  # (N, H * W, D)
    return result.transpose(1, 2).unflatten(2, feature_map.shape[2:])
