"""The optimal transport between two views (Liu et al. 2021, Fig. 5), for any weights."""

from dataclasses import dataclass

import numpy as np
import torch

from ..checkpoint import Checkpointer, backbone_settings
from ..checkpoint.formats import read_checkpoint
from ..modeling.building import build_model
from ..modeling.geometry.correspondence import corresponding_points, share_transported
from ..modeling.map_transport import MapTransport
from ..modeling.meta_architecture import is_pretraining
from ..modeling.methods.self_emd import SelfEMDObjective
from ..prediction.models import FeatureMaps
from ..visualization.transport import draw_flows
from .registry import (
    ANALYSES,
    ANY_COUNT,
    POSITIVE,
    SHARE,
    BackboneAnalysis,
    Outcome,
    choose_level,
    option,
)
from .views import COLOURS, random_pair


@dataclass
class Flow:
    """The transport of one pair of views.

    Attributes:
        pair: the two :class:`~.views.View`.
        plan: (h * w, h' * w') mass between cells; it sums to 1.
        cells: (h, w), (h', w').
        points: (h * w, 2) grid indices (x, y) of the right places in the second view.
        valid: (h * w,) bool, does the second view show them?
    """

    pair: tuple
    plan: torch.Tensor
    cells: tuple
    points: torch.Tensor
    valid: torch.Tensor


@ANALYSES.register()
class Transport(BackboneAnalysis):
    """Where optimal transport brings the cells of one view in another.

    A checkpoint of Self-EMD with its heads (model_*.pth) is used with them, as in training: the
    online branch on the first view, the target on the second. Other weights are compared by their
    feature maps.
    """

    name, source = "transport", "Self-EMD Fig. 5"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(100, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 32, conv5_x")
        side: int = option(224, "side of the views in pixels")
        crop_scale: float = option(
            0.2, "smallest share of the image's area in a view", limits=SHARE
        )
        flip_prob: float = option(0.5, "chance that a view is mirrored")
        colours: str = option("byol", "changes of colour; the figure is without them", COLOURS)
        heads: bool = option(True, "use the heads of Self-EMD where the file has them")
        marginals: str = option("mean", "mass of the cells without heads: by the mean of the other "
                                "view's (Eq. 14), or 'uniform'", ("mean", "uniform"))  # fmt: skip
        regularization: float = option(
            0.05, "of the transport without heads, gamma", limits=POSITIVE
        )
        iterations: int = option(50, "of Sinkhorn without heads")
        pictures: int = option(3, "images in the figure", limits=ANY_COUNT)

    def measure(self, maps, samples):
        options = self.options
        plan_of, with_heads = self._plan(maps)
        flows, shares = [], []
        for sample in samples:
            pair = random_pair(sample, options)
            plan, cells = plan_of(pair)
            points, valid = corresponding_points(pair[0].views, pair[1].views, *cells)
            if valid.any():
                shares.append([float(x) for x in share_transported(plan, points, valid, cells[1])])
                if len(flows) < options.pictures:
                    flows.append(Flow(pair, plan[0], cells, points[0], valid[0]))
        if not shares:
            raise ValueError("no two views of an image overlap: raise --crop-scale.")
        arrived, chance = 100 * np.mean(shares, axis=0)
        numbers = {"arrived": float(arrived), "chance": float(chance), "heads": with_heads,
                   "images": len(shares)}  # fmt: skip
        return Outcome(numbers, flows)

    def _plan(self, maps):
        """Return (function of two views: the plan (1, P, Q) and the cells of both maps; heads?)."""
        options = self.options
        found = load_heads(maps) if options.heads else None
        if found:
            objective, target = found
            level = objective.in_feature

            def plan_of(pair):
                features = maps(pair[0].pixels, self.size), target(pair[1].pixels, self.size)
                return objective.plan(*features).cpu(), _cells(*(x[level] for x in features))

            return plan_of, True
        level = choose_level(maps, options.level, stride=32)
        transport = MapTransport(
            marginals=options.marginals, normalize_nodes=False, pyramid="none",
            regularization=options.regularization, iterations=options.iterations,
            differentiate_plan=False,
        )  # fmt: skip

        def plan_of(pair):
            features = maps([x.pixels for x in pair], self.size)[level]
            plan = transport.plan({"map": features[:1]}, {"map": features[1:]})
            return plan.cpu(), _cells(features, features)

        return plan_of, False

    def draw(self, outcomes):
        return {"": draw_flows({name: x.drawn for name, x in outcomes.items()})}


def load_heads(maps):
    """Return (objective of Self-EMD, maps of the target) of the file that a backbone is from.

    Args:
        maps: of :meth:`~.job.Job.backbones`.

    Returns:
        None if the config is not of Self-EMD, or the file has a backbone only.
    """
    if not maps.file.endswith(".pth") or not is_pretraining(maps.cfg):
        return None
    weights = read_checkpoint(maps.file, maps.cfg.MODEL.TRUST_WEIGHTS, "MODEL.TRUST_WEIGHTS True")
    if not any(x.startswith("objectives.") for x in weights.get("model", ())):
        return None
    model = build_model(maps.cfg)
    found = [x for x in model.objectives.values() if isinstance(x, SelfEMDObjective)]
    if not found:
        return None
    Checkpointer(
        model, settings=backbone_settings(maps.cfg), check=maps.cfg.MODEL.CHECK_WEIGHTS,
        trust=maps.cfg.MODEL.TRUST_WEIGHTS, needed="model",
    ).load(maps.file)  # fmt: skip
    objective = found[0]
    return objective.eval(), FeatureMaps(model.target_backbone, maps.cfg)


def _cells(*features):
    return tuple(tuple(x.shape[2:]) for x in features)
