"""LC-loss (Islam et al. 2022): the cells of an uncropped view find their places in a crop."""

from functools import partial

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from ...data.views.settings import entry_of_view, require_even_cells
from ...losses import cosine_distance, local_contrast, read_cells
from ...losses.precision import full_precision
from ...utils.checks import require_one_of, require_positive
from ...utils.distributed import weigh_by_count
from ...utils.events import is_logged, log_feature_std, put_scalar
from ...utils.maps import rows_of_cells
from ..backbones import require_feature
from ..geometry.cells import cell_centres, squares_around
from ..geometry.correspondence import corresponding_points, share_found
from ..heads import MLPHead, on_cells
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer

LOSSES = ("contrast", "mse")


@OBJECTIVE_REGISTRY.register()
class LCObjective(Objective):
    """The local loss of Eq. 4 between the whole image and each of some crops of it.

    The whole image goes through the target network and the crops through the online network; then
    the two are swapped. The loss is the mean over the crops and both directions. The global loss of
    Eq. 5 is another objective, BYOL's in the paper.
    """

    node, label = "LC_LOSS", "lc_loss"

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        projector,
        predictor,
        whole_view,
        crop_views,
        temperature,
        symmetric=True,
        loss="contrast",
    ):
        """
        Args:
            in_feature: name of the feature map.
            projector, predictor: the local branch, (N, C) -> (N, D) and (N, D) -> (N, D).
            whole_view: index of the view that shows the whole image.
            crop_views: indices of the crops.
            temperature: of Eq. 3.
            symmetric: let the cells of each crop find their places in the whole image as well.
            loss: "contrast", or "mse": the distance of corresponding cells (Table 6).
        """
        super().__init__()
        self.in_feature = in_feature
        self.whole_view = whole_view
        # (view whose cells are searched for, through the target; view that is searched, online)
        self.pairs = [(whole_view, x) for x in crop_views]
        if symmetric:
            self.pairs += [(x, whole_view) for x in crop_views]
        self.target_views, self.online_views = (tuple(dict.fromkeys(x)) for x in zip(*self.pairs))
        self.temperature = temperature
        self.loss = loss
        self.single_cell = loss != "contrast"  # a softmax over one cell is 1
        self.projector = projector
        self.predictor = predictor
        self.add_target("projector")

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.LC_LOSS = CN()
        # Feature map, widths of the local branch (hidden 0: that of the map).
        node.IN_FEATURE = "res5"
        node.HIDDEN_DIM = 0
        node.OUT_DIM = 256
        # The view of the whole image, and the crops in which its cells are searched for.
        node.WHOLE_VIEW = 2
        node.CROP_VIEWS = (0, 1)
        node.TEMPERATURE = 0.1
        # Weight of the local loss against the global one in META_ARCHITECTURE "LCLoss" (alpha).
        node.ALPHA = 0.1
        # Search for the cells of the crops in the whole image as well, with the networks swapped.
        # The paper writes one direction, as it does for BYOL's loss (Eq. 1), which BYOL swaps; and
        # its times are those of both: 1.5 times BYOL's per epoch (Table 5), which is what three
        # views through both networks cost. One direction would cost 1.125 times as much.
        node.SYMMETRIC = True
        # "contrast", or "mse": the distance of corresponding cells (Table 6).
        node.LOSS = "contrast"
        # A predictor behind the online local branch. The paper has none (section 4.1) except, by
        # "the same loss as the global loss in BYOL", in the row of Table 6 with LOSS "mse".
        node.PREDICTOR = False

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.LC_LOSS, cfg.MODEL.SSL.HEAD_NORM
        shape = require_feature(shapes, node.IN_FEATURE, "MODEL.LC_LOSS.IN_FEATURE")
        _check(cfg, shape.stride)
        hidden = node.HIDDEN_DIM or shape.channels
        predictor = nn.Identity()
        if node.PREDICTOR:
            predictor = MLPHead(node.OUT_DIM, hidden, node.OUT_DIM, norm, output_bias=True)
        return {
            "in_feature": node.IN_FEATURE,
            "projector": MLPHead(shape.channels, hidden, node.OUT_DIM, norm, output_bias=True),
            "predictor": predictor,
            "whole_view": node.WHOLE_VIEW,
            "crop_views": tuple(node.CROP_VIEWS),
            "temperature": node.TEMPERATURE,
            "symmetric": node.SYMMETRIC,
            "loss": node.LOSS,
        }

    def forward(self, views, passes):
        with torch.no_grad():
            maps = {i: passes.target(i)[self.in_feature] for i in self.target_views}
            target = passes.through(partial(on_cells, self.target_projector), maps)
        maps = {i: passes.online(i)[self.in_feature] for i in self.online_views}
        online = passes.through(partial(on_cells, self.projector), maps)
        online = passes.through(partial(on_cells, self.predictor), online)
        loss = 0
        for number, (sought, where) in enumerate(self.pairs):
            anchors, candidates = target[sought], online[where]
            points, valid = corresponding_points(
                views[sought], views[where], anchors.shape[2:], candidates.shape[2:]
            )
            term = self._compare(anchors, candidates, points, valid)
            loss = loss + weigh_by_count(term, valid.sum().to(term)) / len(self.pairs)
            if number == 0 and is_logged():
                self._log(anchors, candidates, points, valid)
        return {"loss_local": loss}

    def _compare(self, anchors, candidates, points, valid):
        if self.loss == "contrast":
            return local_contrast(anchors, candidates, points, valid, self.temperature)
        read = full_precision(read_cells)(candidates, points)  # (N, h * w, D)
        sought = rows_of_cells(anchors)
        return cosine_distance(read.flatten(0, 1), sought.flatten(0, 1), valid.flatten())

    @torch.no_grad()
    def _log(self, anchors, candidates, points, valid):
        put_scalar(f"{self.label}/valid_cells", valid.float().mean())
        log_feature_std(f"{self.label}/feature_std", candidates.flatten(2).mean(dim=2))
        if valid.any():
            put_scalar(f"{self.label}/top1", share_found(anchors, candidates, points, valid))
            put_scalar(f"{self.label}/chance", 1 / candidates[0, 0].numel())

    def matches(self, views):
        """Squares around the cells of a 7 x 7 map of the whole image and their places in crops."""
        whole = views[self.whole_view]
        centres = cell_centres(whole, (7, 7))
        squares, found = {}, 0
        for crop in [where for sought, where in self.pairs if sought == self.whole_view]:
            places = views[crop].to_view(whole.to_image(centres))
            shown = views[crop].shows(places)
            squares[crop] = squares_around(places, shown, views[crop].size)
            found = shown | found
        squares[self.whole_view] = squares_around(centres, found, whole.size)
        return squares


def _check(cfg, stride):
    """Raise where keys of MODEL.LC_LOSS are unknown or do not fit the views."""
    node = cfg.MODEL.LC_LOSS
    require_one_of("MODEL.LC_LOSS.LOSS", node.LOSS, LOSSES)
    require_positive(cfg, "MODEL.LC_LOSS.TEMPERATURE")
    if not node.CROP_VIEWS or node.WHOLE_VIEW in node.CROP_VIEWS:
        raise ValueError(
            f"MODEL.LC_LOSS.CROP_VIEWS is {tuple(node.CROP_VIEWS)}: name at least one view, "
            f"other than MODEL.LC_LOSS.WHOLE_VIEW {node.WHOLE_VIEW}."
        )
    _check_whole(cfg, node.WHOLE_VIEW)
    for view in (node.WHOLE_VIEW, *node.CROP_VIEWS):
        require_even_cells(cfg, view, stride, "MODEL.LC_LOSS.IN_FEATURE", least=2)


def _check_whole(cfg, view):
    """Raise where the view that must show the whole image is a crop."""
    crop, flip = (entry_of_view(cfg.INPUT.VIEWS[x], view) for x in ("CROP", "FLIP_PROB"))
    if view < cfg.INPUT.VIEWS.NUM and crop != "whole":
        raise ValueError(
            f"MODEL.LC_LOSS.WHOLE_VIEW is {view}, but INPUT.VIEWS.CROP is "
            f"{tuple(cfg.INPUT.VIEWS.CROP)}: make entry {view} 'whole' (and its FLIP_PROB 0, now "
            f"{flip})."
        )


@META_ARCH_REGISTRY.register()
class LCLoss(Pretrainer):
    """Eq. 5: 1 - alpha times BYOL's loss (Eq. 1) plus alpha times the local loss."""

    objective_names = ("BYOLObjective", "LCObjective")

    @classmethod
    def own_weights(cls, cfg):
        alpha = cfg.MODEL.LC_LOSS.ALPHA
        if not 0 <= alpha <= 1:
            raise ValueError(f"MODEL.LC_LOSS.ALPHA is {alpha}; it must lie between 0 and 1.")
        return 1 - alpha, alpha
