"""DenseCL: dense contrastive learning (Wang et al. 2021), the example of docs/add_a_method.md.

A method of its own in one file: what it needs beside MoCo's heads, queue and keys of the config is
its loss.
"""

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch.nn import functional as F

from ..heads import on_cells
from ..objective import OBJECTIVE_REGISTRY
from ..pretrainer import Pretrainer
from .moco_v2 import MoCoObjective


@OBJECTIVE_REGISTRY.register()
class DenseCLObjective(MoCoObjective):
    """The dense loss, Eq. 2: each cell finds the cell of the other view that looks most alike.

    Like is what the *backbone* says (Eq. 3), whatever the geometry; negatives are the averaged
    dense keys of other images, one per image.
    """

    label = "dense_cl"

    def forward(self, views, passes):
        loss = 0
        for online, target in self.directions:
            query_map, key_map = (
                x[self.in_feature] for x in (passes.online(online), passes.target(target))
            )
            query = cells(on_cells(self.projector, query_map))  # (N, H * W, D)
            with torch.no_grad():
                key = cells(on_cells(self.target_projector, key_map))
                match = most_alike(cells(query_map), cells(key_map))  # (N, H * W)
                positive = key.gather(1, match[..., None].expand_as(query))
            found = self.contrast(query.flatten(0, 1), positive.flatten(0, 1), self.label)
            loss = loss + found / len(self.directions)
            self.contrast.hold(key.float().mean(dim=1))
        return {"loss_dense": loss}


def cells(feature_map):
    """(N, C, H, W) -> (N, H * W, C)."""
    return feature_map.flatten(2).transpose(1, 2)


@torch.no_grad()
def most_alike(first, second):
    """For each row of (N, P, C) the row of (N, Q, C) with the largest cosine: (N, P)."""
    first, second = (F.normalize(x.detach().float(), dim=2) for x in (first, second))
    with torch.autocast(first.device.type, enabled=False):
        return (first @ second.transpose(1, 2)).argmax(dim=2)


@META_ARCH_REGISTRY.register()
class DenseCL(Pretrainer):
    """Eq. 4: 1 - lambda times MoCo's loss plus lambda times the dense loss.

    MODEL.SSL.OBJECTIVE_WEIGHTS holds (1 - lambda, lambda).
    """

    objective_names = ("MoCoObjective", "DenseCLObjective")
