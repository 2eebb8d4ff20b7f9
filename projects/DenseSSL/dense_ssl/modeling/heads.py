"""Projection and prediction heads."""

from detectron2.layers import get_norm
from torch import nn
from torch.nn import functional as F


class MLPHead(nn.Module):
    """Linear, norm, ReLU, linear: projector and predictor of BYOL and SCRL, head of MoCo v2.

    Over rows that are the cells of a map it is an MLP of 1 x 1 convolutions.

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
