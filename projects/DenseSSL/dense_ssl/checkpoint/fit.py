"""How much of a backbone a file has filled, and errors where it does not fit."""

import logging

from .handover import backbone_names, new_parts, shape_keys, summarise
from .loading import TOOL

# All that is said of a loading comes from one logger.
logger = logging.getLogger(f"{__package__}.checkpointer")


def report_fit(state, names, absent, path, *, settings, check, needed, ignored=()):
    """Log how much of the backbone was loaded; raise if it does not fit.

    Args:
        state: {name: tensor} of the model.
        names: of the tensors in the file.
        absent: names of the model's tensors that were not filled.
        path: of the file.
        settings: result of :func:`~.handover.backbone_settings`.
        check: MODEL.CHECK_WEIGHTS.
        needed: "backbone" or "model" must be filled completely; "": nothing.
        ignored: ends of names that are not needed.

    Returns:
        (tensors of the backbone that were filled, tensors of the backbone).

    Raises:
        ValueError: with the key to set.
    """
    targets, absent, names = backbone_names(state), set(absent), set(names)
    missing = [x for x in targets if x in absent]
    found = len(targets) - len(missing)
    logger.info("loaded %d of %d backbone tensors from %s", found, len(targets), path)
    by_design = new_parts(state, absent)
    lost = [x for x in missing if x not in by_design]
    if lost and (found or not check):
        logger.warning("not in the file, so still randomly initialised: %s", summarise(lost))
    if check:
        _check_shapes(missing, names, path, settings)
        _check_any(targets, found, path)
    if needed == "model":
        missing = [x for x in state if x in absent and not x.endswith(tuple(ignored))]
    if needed and missing:
        raise ValueError(
            f"{path} fills {found} of {len(targets)} backbone tensors, but the complete "
            f"{needed} is needed. {summarise(missing)} is missing or has another shape: is the "
            "file from another model?"
        )
    return found, len(targets)


def _check_shapes(missing, names, path, settings):
    # the names exist in the file, so only the shape can differ
    reshaped = [x for x in missing if _suffixes(x) & names]
    if reshaped:
        raise ValueError(
            f"{len(reshaped)} backbone tensors of {path} have another shape than the model "
            f"({summarise(reshaped)}): {shape_keys(settings)} or MODEL.FPN.OUT_CHANNELS differ "
            "from pre-training. Set them to the same values, or use other MODEL.WEIGHTS."
        )


def _check_any(targets, found, path):
    if targets and not found:
        raise ValueError(
            f"loaded 0 of {len(targets)} backbone tensors from {path}: none of its names fits the "
            "backbone of this config. Set MODEL.WEIGHTS to the backbone.pkl or the checkpoint of a "
            "pre-training run, or MODEL.BACKBONE.NAME to the architecture of the weights. "
            f"`{TOOL} FILE` says what another project's file is."
        )


def _suffixes(name):
    """'a.b.c' -> {'a.b.c', 'b.c', 'c'}."""
    parts = name.split(".")
    return {".".join(parts[i:]) for i in range(len(parts))}
