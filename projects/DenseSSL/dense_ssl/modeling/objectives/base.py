"""What an objective is: heads, sampling and a loss on the passes of some views."""

import torch
from fvcore.common.registry import Registry
from torch import nn
from torch.nn import functional as F

from ...utils.events import is_logged, put_scalar
from ..momentum import momentum_copy

OBJECTIVE_REGISTRY = Registry("OBJECTIVE")
OBJECTIVE_REGISTRY.__doc__ = """
Objectives of pre-training, as named in MODEL.SSL.OBJECTIVES. An entry is a subclass of
:class:`Objective` with ``from_config(cfg, shapes)``, where ``shapes`` holds the feature maps of the
backbone by name.
"""


class Objective(nn.Module):
    """Base of all objectives.

    Attributes:
        online_views, target_views: indices of the views it passes through the online and the
            target encoder.
    """

    online_views = (0, 1)
    target_views = (0, 1)

    def __init__(self):
        super().__init__()
        self._pairs = []

    def add_target(self, name):
        """Give the head ``name`` a momentum copy, ``target_<name>``."""
        setattr(self, f"target_{name}", momentum_copy(getattr(self, name)))
        self._pairs.append((name, f"target_{name}"))

    def momentum_pairs(self):
        """List of (online module, target module) of this objective."""
        return [(getattr(self, a), getattr(self, b)) for a, b in self._pairs]

    def forward(self, views, passes):
        """Losses of one step.

        Args:
            views: list of :class:`~dense_ssl.structures.Views`.
            passes: :class:`~dense_ssl.modeling.passes.Passes`.

        Returns:
            dict of scalars named ``loss_*``.
        """
        raise NotImplementedError

    def matches(self, views):
        """Boxes to draw: {view index: (N, K, 4) in view pixels}, box k the same thing in all."""
        return {}


@torch.no_grad()
def log_feature_std(name, vectors):
    """Store how spread out vectors (N, D) are: 0 when all are equal (collapse), 1 when isotropic.

    The standard deviation over the batch of the L2-normalised vectors, averaged over dimensions
    and multiplied by sqrt(D).
    """
    if is_logged() and len(vectors) > 1:
        unit = F.normalize(vectors.detach().float(), dim=1)
        put_scalar(name, unit.std(dim=0).mean() * vectors.shape[1] ** 0.5)
