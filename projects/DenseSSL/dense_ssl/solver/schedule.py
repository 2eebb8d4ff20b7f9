"""Schedules in epochs and in shares of the training, converted to iterations."""

import logging

from ..config.lengths import EPOCH_KEYS
from ..utils.checks import value_of

logger = logging.getLogger(__name__)

# Of a run in epochs: what becomes of a warm-up in iterations that is as long as the run.
_WARMUP_SHARE = 0.1


def resolve_epochs(cfg, num_images):
    """Convert the keys in epochs that are set, and SOLVER.STEP_SHARES, to iterations, in place.

    Args:
        cfg: config, not frozen.
        num_images: images of one epoch.

    Raises:
        ValueError: a negative number of epochs, a warm-up as long as the run, or shares of the
            training that do not rise between 0 and 1.
    """
    before = cfg.SOLVER.MAX_ITER
    per_epoch = num_images / cfg.SOLVER.IMS_PER_BATCH
    for epoch_key, iteration_key in EPOCH_KEYS:
        epochs = value_of(cfg, epoch_key)
        if epochs < 0:
            raise ValueError(f"{epoch_key} is {epochs}; it must not be negative.")
        if epochs > 0:
            _set(cfg, iteration_key, max(round(epochs * per_epoch), 1))
    _resolve_steps(cfg.SOLVER, before)
    _resolve_warmup(cfg.SOLVER)
    logger.info(
        "%d iterations of %d images: %.2f epochs of %d images (warm-up %d iterations, checkpoint "
        "every %d)",
        cfg.SOLVER.MAX_ITER,
        cfg.SOLVER.IMS_PER_BATCH,
        cfg.SOLVER.MAX_ITER / per_epoch,
        num_images,
        cfg.SOLVER.WARMUP_ITERS,
        cfg.SOLVER.CHECKPOINT_PERIOD,
    )


def _resolve_steps(solver, before):
    """Set STEPS to STEP_SHARES of the run, or keep their share of it; ``before``: MAX_ITER."""
    shares = list(solver.STEP_SHARES)
    if any(not 0 < x < 1 for x in shares) or shares != sorted(set(shares)):
        raise ValueError(
            f"SOLVER.STEP_SHARES is {solver.STEP_SHARES}; it must hold shares of the training "
            'that rise from above 0 to below 1, such as "(0.67, 0.89)".'
        )
    if not shares and solver.EPOCHS > 0:
        shares = [x / before for x in solver.STEPS]
    if shares:  # of a handful of iterations two shares may be the same one, or the last
        steps = {round(x * solver.MAX_ITER) for x in shares}
        solver.STEPS = tuple(sorted(x for x in steps if 0 < x < solver.MAX_ITER))


def _resolve_warmup(solver):
    if solver.WARMUP_ITERS < solver.MAX_ITER:
        return
    if solver.EPOCHS > 0 and solver.WARMUP_EPOCHS == 0:
        solver.WARMUP_ITERS = int(_WARMUP_SHARE * solver.MAX_ITER)
    # detectron2's schedules may end in the middle of their warm-up
    elif solver.WARMUP_EPOCHS > 0 or solver.LR_SCHEDULER_NAME == "LinearWarmupCosine":
        raise ValueError(
            f"The warm-up takes {solver.WARMUP_ITERS} of {solver.MAX_ITER} iterations: "
            "lower SOLVER.WARMUP_EPOCHS or SOLVER.WARMUP_ITERS."
        )


def _set(cfg, key, value):
    node, _, name = key.partition(".")
    cfg[node][name] = value
