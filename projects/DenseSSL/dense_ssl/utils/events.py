"""Writing to detectron2's event storage, where there is one."""

from detectron2.utils.events import get_event_storage

# The writers of the trainer run at every LOG_PERIOD-th iteration.
LOG_PERIOD = 20


def storage_or_none():
    """The current event storage, or None outside of training."""
    try:
        return get_event_storage()
    except AssertionError:
        return None


def is_logged():
    """Will the writers print this iteration? Metrics that cost something are computed only then."""
    storage = storage_or_none()
    return storage is not None and (storage.iter + 1) % LOG_PERIOD == 0


def is_drawn(vis_period):
    """Is a picture due at this iteration?"""
    storage = storage_or_none()
    return storage is not None and vis_period > 0 and storage.iter % vis_period == 0


def put_scalar(name, value):
    """Store a scalar under ``name``, without smoothing."""
    get_event_storage().put_scalar(name, float(value), smoothing_hint=False)
