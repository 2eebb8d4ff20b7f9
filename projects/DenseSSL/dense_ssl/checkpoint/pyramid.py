"""Levels of a pre-trained pyramid, brought to one scale for the heads that a detector shares.

A pre-training may use some levels alone, and let them grow: a loss without batch norm in its heads
(MoCo's family) made p3 two to three times as large as p4 and p5. RPN and RoI heads are the same for
all levels, so such a detector learned worse than one from random weights (docs/results.md).
"""

import logging
import re

import torch

logger = logging.getLogger(__name__)

KEY = "MODEL.FPN.MAX_GAIN_RATIO"
_NORM = re.compile(r"(?:.*\.)?fpn_output(\d+)\.norm\.weight")


def level_gains(state):
    """Return {name of a norm behind an output of an FPN: mean size of its weights}.

    Args:
        state: {name: tensor}.
    """
    return {k: float(x.abs().mean()) for k, x in state.items() if _NORM.fullmatch(k)}


@torch.no_grad()
def equalise_levels(state, max_ratio):
    """Divide each level by its gain, in place, if the gains differ by more than ``max_ratio``.

    Then they are 1 on average, as in a randomly initialised pyramid. A level is scaled as a whole,
    so the angles between its features stay.

    Args:
        state: {name: tensor} of a detector.
        max_ratio: MODEL.FPN.MAX_GAIN_RATIO; 0: never.

    Returns:
        {level: its gain before} of what was divided.
    """
    gains = level_gains(state)
    smallest = min(gains.values(), default=0.0)
    if not max_ratio or smallest <= 0 or max(gains.values()) <= max_ratio * smallest:
        return {}
    for name, gain in gains.items():
        state[name].div_(gain)
        state[f"{name.removesuffix('weight')}bias"].div_(gain)
    found = {f"p{_NORM.fullmatch(name)[1]}": gain for name, gain in gains.items()}
    logger.info(
        "The levels of the pyramid had gains of %s, and are divided by them: all levels share the "
        "heads of a detector (%s %g; 0: keep them)",
        ", ".join(f"{x:.2f} ({level})" for level, x in found.items()), KEY, max_ratio,
    )  # fmt: skip
    return found
