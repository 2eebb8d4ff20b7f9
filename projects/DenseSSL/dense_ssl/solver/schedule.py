"""Schedules in epochs: SOLVER.EPOCHS and the like, converted to iterations."""

import logging

logger = logging.getLogger(__name__)

# (key in epochs, key in iterations that it replaces)
_EPOCH_KEYS = (
    ("EPOCHS", "MAX_ITER"),
    ("WARMUP_EPOCHS", "WARMUP_ITERS"),
    ("CHECKPOINT_EPOCHS", "CHECKPOINT_PERIOD"),
)


def resolve_epochs(cfg, num_images):
    """Convert the epoch keys of SOLVER that are set to iterations, in place, and log them.

    Args:
        cfg: config, not frozen.
        num_images: images of one epoch.
    """
    per_epoch = num_images / cfg.SOLVER.IMS_PER_BATCH
    for epoch_key, iteration_key in _EPOCH_KEYS:
        epochs = cfg.SOLVER[epoch_key]
        if epochs < 0:
            raise ValueError(f"SOLVER.{epoch_key} is {epochs}; it must not be negative.")
        if epochs > 0:
            cfg.SOLVER[iteration_key] = max(round(epochs * per_epoch), 1)
    if cfg.SOLVER.WARMUP_ITERS >= cfg.SOLVER.MAX_ITER:
        raise ValueError(
            f"The warm-up takes {cfg.SOLVER.WARMUP_ITERS} of {cfg.SOLVER.MAX_ITER} iterations: "
            "lower SOLVER.WARMUP_EPOCHS or SOLVER.WARMUP_ITERS."
        )
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
