"""BYOL on corresponding cells: a method outside of the package (docs/add_a_method.md)."""

from functools import partial

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from dense_ssl.losses import cosine_distance, read_cells
from dense_ssl.modeling import DIRECTIONS, OBJECTIVE_REGISTRY, Objective, Pretrainer
from dense_ssl.modeling.geometry.correspondence import corresponding_points
from dense_ssl.modeling.heads import MLPHead, on_cells
from dense_ssl.utils.distributed import weigh_by_count
from dense_ssl.utils.events import log_feature_std
from dense_ssl.utils.maps import rows_of_cells


@OBJECTIVE_REGISTRY.register()
class CellBYOLObjective(Objective):
    """Each cell of one view predicts what the other view's map shows at its place."""

    node, label = "CELL_BYOL", "cell_byol"

    @configurable
    def __init__(self, *, projector, predictor):
        super().__init__()
        self.projector, self.predictor = projector, predictor
        self.add_target("projector")

    @classmethod
    def add_config(cls, cfg):
        cfg.MODEL.CELL_BYOL = CN({"HIDDEN_DIM": 4096, "OUT_DIM": 256})

    @classmethod
    def from_config(cls, cfg, shapes):
        hidden, out = cfg.MODEL.CELL_BYOL.HIDDEN_DIM, cfg.MODEL.CELL_BYOL.OUT_DIM
        norm, channels = cfg.MODEL.SSL.HEAD_NORM, shapes["res5"].channels
        return {
            "projector": MLPHead(channels, hidden, out, norm),
            "predictor": MLPHead(out, hidden, out, norm),
        }

    def forward(self, views, passes):
        maps = {i: passes.online(i)["res5"] for i in self.online_views}
        online = passes.through(partial(on_cells, self.projector), maps)  # (N, D, h, w)
        predictions = passes.through(partial(on_cells, self.predictor), online)
        with torch.no_grad():
            maps = {i: passes.target(i)["res5"] for i in self.target_views}
            targets = passes.through(partial(on_cells, self.target_projector), maps)
        loss = 0
        for o, t in DIRECTIONS:
            prediction, target = rows_of_cells(predictions[o]), targets[t].float()
            shapes = online[o].shape[2:], target.shape[2:]
            points, valid = corresponding_points(views[o], views[t], *shapes)
            seen = read_cells(target, points)  # (N, h * w, D)
            term = cosine_distance(prediction.flatten(0, 1), seen.flatten(0, 1), valid.flatten())
            loss = loss + weigh_by_count(term, valid.sum().to(term)) / len(DIRECTIONS)
        log_feature_std(f"{self.label}/feature_std", online[0].mean(dim=(2, 3)))
        return {"loss_cell_byol": loss}


@META_ARCH_REGISTRY.register()
class CellBYOL(Pretrainer):
    """The sum over both directions, as in BYOL."""

    objective_names = ("CellBYOLObjective",)
    objective_scales = (2.0,)
