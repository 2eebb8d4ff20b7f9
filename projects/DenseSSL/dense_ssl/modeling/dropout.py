"""Dropout and stochastic depth, where a network must run whole."""

from torch.nn.modules.dropout import _DropoutNd


def remove_dropout(module):
    """Set every rate of dropout, stochastic depth and DropBlock in ``module`` to 0, for good.

    For networks that others are measured against (a momentum encoder) or that are frozen:
    ``eval()`` would be undone by the next ``train()``, and would change their norms as well.
    """
    for part in module.modules():
        if isinstance(part, _DropoutNd):
            part.p = 0.0
        elif hasattr(part, "drop_prob"):  # timm's DropPath and DropBlock2d
            part.drop_prob = 0.0
