"""The check of the data at the start of a run."""

import logging

from detectron2.utils import comm

from ..data.image_names import images_by_source
from ..data.sources.check import check_registered
from ..data.sources.check_text import summary
from ..data.sources.source import IMAGES_AT_START, LABEL_MAPS_AT_START
from ..data.views.loader import pretrain_dataset_dicts

logger = logging.getLogger(__name__)


def check_data(cfg, is_pretraining, eval_only=False):
    """Check the data sets of a config, of many images some; a result of before is used again.

    Args:
        cfg: config, its data sets registered.
        is_pretraining: only images are checked, those of DATASETS.TRAIN.
        eval_only: the data sets of DATASETS.TEST alone.

    Returns:
        list of :class:`~dense_ssl.data.sources.check.DataCheck`; [] except in the main process.
    """
    if not comm.is_main_process():
        return []
    if is_pretraining:
        checks = [check_registered(x, False, IMAGES_AT_START, dicts=y)
                  for x, y in images_by_source(pretrain_dataset_dicts(cfg)).items()]  # fmt: skip
    else:
        names = dict.fromkeys([*(() if eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST])
        checks = [check_registered(x, True, IMAGES_AT_START, LABEL_MAPS_AT_START) for x in names]
    for check in checks:
        check.max_broken_share = cfg.DATALOADER.MAX_BROKEN_SHARE
    return checks


def announce_data(checks, is_pretraining=True, tests=(), trains=()):
    """Log one line on each data set, and warn of its images; faults of labels were said before.

    Args:
        checks: result of :func:`check_data`.
        is_pretraining: broken images are replaced; else they would end the run when their turn
            comes.
        tests, trains: DATASETS.TEST and DATASETS.TRAIN.

    Raises:
        ValueError: a detector cannot learn from these data, or be evaluated on them.
    """
    for check in checks:
        logger.info("Data: %s: %s", check.entry, summary(check) or check.error)
        key = _keys_of(check.entry, tests, trains)
        for text in check.images.errors if check.images else ():
            if not is_pretraining:
                raise ValueError(
                    f"{key}: {check.entry!r}: {text}. Repair or replace these files, or take them "
                    "out of the data set; tools/check_data.py names all of them."
                )
            logger.warning("Data: %s: %s. tools/check_data.py looks at all.", check.entry, text)
        if not is_pretraining and check.labels and check.labels.classes:
            _require_labels(check, key, check.entry in tests)


def _require_labels(check, key, is_test):
    """Raise if there is nothing to learn or, of a test, nothing to find."""
    labels, counts = check.labels, check.labels.counts
    if counts.get("label maps"):
        what, count = "labelled pixel", sum(labels.classes.values())
    else:
        crowds = counts.get("crowds", 0)  # models do not learn them
        count = sum(labels.classes.values()) - crowds
        what = "labelled object" + (" that is no crowd" if crowds else "")
        if is_test and counts.get("difficult"):  # detectron2 learns them; scores leave them out
            count -= counts["difficult"]
            what = "labelled object that is not marked difficult"
    if count <= 0:
        raise ValueError(f"{key}: {check.entry!r} has no {what}: label some, or name other data.")


def _keys_of(entry, tests, trains):
    """Return the key that has an entry, or both: "DATASETS.TRAIN and DATASETS.TEST"."""
    if entry not in tests:
        return "DATASETS.TRAIN"
    return "DATASETS.TRAIN and DATASETS.TEST" if entry in trains else "DATASETS.TEST"
