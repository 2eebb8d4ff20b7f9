"""How far the backbone has moved: the angle of its weights from their start, and its last step."""

import logging
from statistics import median

import torch
from detectron2.engine import HookBase

from ..utils.events import is_logged, put_scalar

logger = logging.getLogger(__name__)

# Weights of a layer that are compared; the angle of 16384 of them is that of all to a few percent.
_SAMPLES = 16384


def stages_of(backbone):
    """Return {stage: [weights]} of the convolutions and linear layers of a backbone.

    Stages are named by the first part of a parameter's name that tells them apart: "stem", "res4";
    the layers of an FPN are one stage, "fpn". Weights that are initialised to zero have no
    direction to turn from, and are left out.
    """
    names = {name.removeprefix("bottom_up."): x for name, x in backbone.named_parameters()
             if x.dim() > 1 and x.requires_grad and x.any()}  # fmt: skip
    while len({name.split(".")[0] for name in names}) == 1 and all("." in x for x in names):
        names = {name.partition(".")[2]: x for name, x in names.items()}
    stages = {}
    for name, x in names.items():
        stages.setdefault(_stage(name), []).append(x)
    return stages


def _stage(name):
    first, _, rest = name.partition(".")
    if first.startswith("fpn_"):
        return "fpn"
    if first in ("stages", "layers", "blocks"):  # of timm: a list of stages
        return f"{first}.{rest.partition('.')[0]}"
    return first


@torch.no_grad()
def sample(weights):
    """Return some of the numbers of each weight, the same ones every time, as float32 vectors."""
    return [x.detach().flatten()[:: -(-x.numel() // _SAMPLES)].float().clone() for x in weights]


def angle(first, second):
    """Return the mean angle in degrees between the vectors of two lists."""
    cosines = [torch.cosine_similarity(a, b, dim=0).clamp(-1, 1) for a, b in zip(first, second)]
    return torch.rad2deg(torch.stack(cosines).double().acos()).mean()


def growth(first, second):
    """Return the mean ratio of the norms of ``second`` to those of ``first``."""
    return torch.stack([b.norm() / a.norm() for a, b in zip(first, second)]).mean()


class WatchBackbone(HookBase):
    """Logs, for each stage, how far the backbone has turned; warns at the end of a useless run.

    ``backbone/<stage>_angle``: degrees between the weights and their start, averaged over layers.
    ``backbone/angle``: the median of the stages, the one that is printed.
    ``backbone/<stage>_norm``: the norm of the weights over that of their start.
    ``backbone/<stage>_step``: the length of the last optimizer step over that of the weights.

    Layers below batch norm do not depend on the length of their weights, only on their direction:
    a backbone that has hardly turned is the one that the run began with, whatever the loss says.
    The start is kept in checkpoints, so that a resumed run measures from the same one.
    """

    def __init__(self, backbone, min_angle, max_growth):
        """
        Args:
            backbone: the online backbone.
            min_angle: MODEL.SSL.MIN_ANGLE, in degrees.
            max_growth: MODEL.SSL.MAX_GROWTH.
        """
        self.stages = stages_of(backbone)
        self.min_angle = min_angle
        self.max_growth = max_growth
        self.start = None
        self._before = None

    def before_train(self):
        if self.start is None and self.trainer.start_iter == 0:
            self.start = {name: sample(x) for name, x in self.stages.items()}
        elif self.start is None:
            logger.info("This run began before its backbone's start was kept: no angles are logged")

    def before_step(self):
        self._before = None
        if is_logged():
            self._before = {name: sample(x) for name, x in self.stages.items()}

    def after_step(self):
        if self._before is None:
            return
        now = {name: sample(x) for name, x in self.stages.items()}
        for name, before in self._before.items():
            moved = torch.stack([(b - a).norm() / a.norm() for a, b in zip(before, now[name])])
            put_scalar(f"backbone/{name}_step", moved.mean())
        if self.start is not None:
            angles, norms = self._since_start(now)
            for name in now:
                put_scalar(f"backbone/{name}_angle", angles[name])
                put_scalar(f"backbone/{name}_norm", norms[name])
            put_scalar("backbone/angle", median(angles.values()))

    def after_train(self):
        if self.start is None or self.trainer.iter < self.trainer.max_iter:  # interrupted
            return
        angles, norms = self._since_start({k: sample(x) for k, x in self.stages.items()})
        logger.info("Angle of the backbone from its start, in degrees: %s", _listed(angles, ".1f"))
        logger.info("Length of its weights over that at the start: %s", _listed(norms, ".2f"))
        # the median: a stem, whose weights are small at the start, moves by itself
        turned, grown = median(angles.values()), median(norms.values())
        if turned < self.min_angle:
            logger.warning(
                "The backbone is still close to its start: half of its stages have turned by "
                f"{turned:.1f} degrees or less (MODEL.SSL.MIN_ANGLE is {self.min_angle:g}). Raise "
                "SOLVER.BASE_LR or train longer; SOLVER.OPTIMIZER LARS turns every layer at the "
                "same rate."
            )
        if 0 < self.max_growth < grown:
            logger.warning(
                f"The weights of half of the stages have grown by a factor of {grown:.2f} or more "
                f"(MODEL.SSL.MAX_GROWTH is {self.max_growth:g}). Longer weights below batch norm "
                "learn more slowly when a detector is trained. Lower SOLVER.BASE_LR."
            )

    def _since_start(self, now):
        """Return {stage: angle} and {stage: growth}."""
        angles = {name: angle(self.start[name], x).item() for name, x in now.items()}
        return angles, {name: growth(self.start[name], x).item() for name, x in now.items()}

    def state_dict(self):
        return {} if self.start is None else {"start": self.start}

    def load_state_dict(self, state):
        if {k: len(x) for k, x in state["start"].items()} != {
            k: len(x) for k, x in self.stages.items()
        }:
            return  # of an older version
        device = next(iter(self.stages.values()))[0].device
        self.start = {name: [x.to(device) for x in found] for name, found in state["start"].items()}


def _listed(values, form):
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())
