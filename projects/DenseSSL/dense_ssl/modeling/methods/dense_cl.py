"""DenseCL (Wang et al. 2021): each cell finds the cell of the other view that looks most alike.

It has MoCo's heads, queue and keys; only the loss is its own.
"""

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch.nn import functional as F

from ...losses.precision import full_precision
from ...utils.maps import rows_of_cells
from ..heads import on_cells
from ..objective import OBJECTIVE_REGISTRY
from ..pretrainer import Pretrainer
from .moco_v2 import MoCoObjective


@OBJECTIVE_REGISTRY.register()
class DenseCLObjective(MoCoObjective):
    """The dense loss, Eq. 2.

    Cells are matched by the features of the *backbone*, Eq. 4, whatever the geometry. Negatives are
    the averaged dense keys of other images, one per image.
    """

    label = "dense_cl"

    def forward(self, views, passes):
        loss = 0
        for online, target in self.directions:
            query_map = passes.online(online)[self.in_feature]
            key_map = passes.target(target)[self.in_feature]
            query = rows_of_cells(on_cells(self.projector, query_map))  # (N, H * W, D)
            with torch.no_grad():
                key = rows_of_cells(on_cells(self.target_projector, key_map))
                match = most_alike(rows_of_cells(query_map), rows_of_cells(key_map))  # (N, H * W)
                positive = key.gather(1, match[..., None].expand_as(query))
            term = self.contrast(query.flatten(0, 1), positive.flatten(0, 1), self.label)
            loss = loss + term / len(self.directions)
            self.contrast.bank.push(key.float().mean(dim=1))
        return {"loss_dense": loss}


@torch.no_grad()
@full_precision
def most_alike(first, second):
    """For each row of (N, P, C) the row of (N, Q, C) with the largest cosine, Eq. 4: (N, P)."""
    first, second = F.normalize(first, dim=2), F.normalize(second, dim=2)
    return (first @ second.transpose(1, 2)).argmax(dim=2)


@META_ARCH_REGISTRY.register()
class DenseCL(Pretrainer):
    """Eq. 3: 1 - lambda times MoCo's loss plus lambda times the dense loss.

    MODEL.SSL.OBJECTIVE_WEIGHTS holds (1 - lambda, lambda).
    """

    objective_names = ("MoCoObjective", "DenseCLObjective")
