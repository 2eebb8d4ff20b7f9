"""Switching off dropout and stochastic depth for good."""

from torch.nn.modules.dropout import _DropoutNd


def remove_dropout(module):
    """Set every rate of dropout, stochastic depth and DropBlock in ``module`` to 0.

    For momentum encoders and frozen networks. ``eval()`` would not do: the next ``train()`` undoes
    it, and it also changes the normalisation layers.
    """
    for part in module.modules():
        if isinstance(part, _DropoutNd):
            part.p = 0.0
        elif hasattr(part, "drop_prob"):  # timm's DropPath and DropBlock2d
            part.drop_prob = 0.0
