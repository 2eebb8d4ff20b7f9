"""Writing to detectron2's event storage, where there is one."""

import torch
from detectron2.utils.events import get_event_storage
from torch.nn import functional as F

# The writers of the trainer run at every LOG_PERIOD-th iteration.
LOG_PERIOD = 20


def storage_or_none():
    """The current event storage, or None outside of training."""
    try:
        return get_event_storage()
    except AssertionError:
        return None


def iteration_or_none():
    """The current iteration, or None outside of training."""
    storage = storage_or_none()
    return None if storage is None else storage.iter


def is_logged():
    """Return True if the writers print this iteration; costly metrics are computed only then."""
    storage = storage_or_none()
    return storage is not None and (storage.iter + 1) % LOG_PERIOD == 0


def is_drawn(vis_period):
    """Return True if a picture is due at this iteration."""
    storage = storage_or_none()
    return storage is not None and vis_period > 0 and storage.iter % vis_period == 0


def put_scalar(name, value):
    """Log a scalar under ``name``, without smoothing, where this iteration is logged."""
    if is_logged():
        get_event_storage().put_scalar(name, float(value), smoothing_hint=False)


def report_now():
    """Let the writers report at the end of this iteration, whatever LOG_PERIOD says."""
    vars(get_event_storage())["dense_ssl_due"] = get_event_storage().iter


def take_report_request():
    """Return True if :func:`report_now` was called in this iteration; once for each call."""
    storage = storage_or_none()
    return storage is not None and vars(storage).pop("dense_ssl_due", None) == storage.iter


@torch.no_grad()
def log_feature_std(name, vectors):
    """Log the spread of vectors (N, D): 0 when all are equal (collapse), 1 when isotropic.

    The standard deviation over the batch of the L2-normalised vectors, averaged over dimensions
    and multiplied by sqrt(D). What is logged by this function feeds the watch for collapse
    (MODEL.SSL.ON_COLLAPSE), whatever its name.
    """
    if is_logged() and len(vectors) > 1:
        unit = F.normalize(vectors.detach().float(), dim=1)
        put_scalar(name, unit.std(dim=0).mean() * vectors.shape[1] ** 0.5)
        watched_names(get_event_storage()).add(name)


def watched_names(storage):
    """Return the set of names in ``storage`` that :func:`log_feature_std` has logged."""
    return vars(storage).setdefault("dense_ssl_watched", set())
