"""The loader of pre-training."""

import functools
import logging
from collections import Counter

import cv2
import torch
from detectron2.data import DatasetCatalog
from torch.utils.data import DataLoader

from ...utils.printable import printable
from ..sampler import build_batch_sampler
from ..sources.entries import register_datasets
from ..sources.image_lists import list_images
from .batch import stack_samples
from .mapper import MultiViewMapper
from .region_sources import ANNOTATED
from .settings import view_settings
from .view_dataset import ViewDataset

logger = logging.getLogger(__name__)

# The share of broken images is checked once this many have been read.
MIN_READS = 200


def pretrain_dataset_dicts(cfg):
    """Return the images of DATASETS.TRAIN, in its order: dicts with ``file_name`` and ``source``.

    Only with INPUT.REGIONS.SOURCE "boxes" or "masks" the dicts also have ``annotations``.
    """
    labels = cfg.INPUT.REGIONS.SOURCE in ANNOTATED
    register_datasets(cfg, labels)
    fields = ["file_name", *(["annotations"] if labels else [])]
    names = tuple(cfg.DATASETS.TRAIN)
    # a notebook may register a name again
    readers = tuple(DatasetCatalog.data.get(x) for x in names)
    return list(_load_dicts(names, readers, tuple(fields)))


@functools.lru_cache(maxsize=1)
def _load_dicts(names, readers, fields):
    if not names:
        raise ValueError(
            "DATASETS.TRAIN is empty: name the images to pre-train on, for example "
            "DATASETS.TRAIN \"('folder:/path/to/images',)\"."
        )
    dicts = [
        {"source": name, **{key: x[key] for key in fields if key in x}}
        for name in names
        for x in (DatasetCatalog.get(name) if "annotations" in fields else list_images(name))
    ]
    if "annotations" in fields and not any(x.get("annotations") for x in dicts):
        raise ValueError(
            "INPUT.REGIONS.SOURCE takes its regions from annotations, but no image of "
            "DATASETS.TRAIN has any: name labelled data sets, or set it to 'grid'."
        )
    counts = Counter(x["source"] for x in dicts)
    for name in names:
        if not counts[name]:
            raise ValueError(f"The data set {name!r} of DATASETS.TRAIN has no images.")
    logger.info(
        "Pre-training on %d images: %s",
        len(dicts),
        ", ".join(f"{printable(name)} {counts[name]}" for name in names),
    )
    return dicts


def build_pretrain_loader(cfg, seed, num_views=None):
    """Build the loader of pre-training, an endless iterable of stacked batches.

    Args:
        cfg: config.
        seed: of the image order and the views.
        num_views: make only the first so many views of INPUT.VIEWS; None for all.

    Returns:
        torch DataLoader; its ``batch_sampler`` is an
        :class:`~dense_ssl.data.sampler.InfiniteBatchSampler`, its ``dataset`` a
        :class:`~dense_ssl.data.views.view_dataset.ViewDataset`.
    """
    views = view_settings(cfg.INPUT.VIEWS)
    if num_views is not None and num_views < len(views):
        logger.info(
            "INPUT.VIEWS.NUM is %d, but the objectives use %d views: the others are not made.",
            len(views),
            num_views,
        )
    mapper = MultiViewMapper(cfg, views=views[:num_views])
    dataset = ViewDataset(pretrain_dataset_dicts(cfg), mapper, seed)
    workers = cfg.DATALOADER.NUM_WORKERS
    return DataLoader(
        dataset,
        batch_sampler=build_batch_sampler(cfg, len(dataset), seed),
        num_workers=workers,
        collate_fn=stack_samples,
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        # its own, so that starting an iteration does not change the random numbers of the step
        generator=torch.Generator(),
    )


def _start_worker(worker_id):
    cv2.setNumThreads(0)  # the workers are parallel already


class BrokenImages:
    """Counts unreadable images, logs each once, and raises if there are too many.

    ``max_share`` is DATALOADER.MAX_BROKEN_SHARE.
    """

    def __init__(self, max_share):
        self.max_share = max_share
        self.names = set()
        self.reads = 0
        self.failures = 0

    def report(self, batch):
        """Count the reports of a batch of :func:`~dense_ssl.data.views.batch.stack_samples`."""
        reports = [x for sample in batch.get("broken", ()) for x in sample]
        self.reads += len(batch.get("broken", ())) + len(reports)
        self.failures += len(reports)
        for name, reason in reports:
            if name not in self.names:
                self.names.add(name)
                logger.warning("Cannot read an image, using another one instead: %s", reason)
        if self.reads >= MIN_READS and self.failures > self.max_share * self.reads:
            raise RuntimeError(
                f"{self.failures} of {self.reads} images read could not be decoded "
                f"({len(self.names)} files, each named in log.txt): more than the share "
                f"DATALOADER.MAX_BROKEN_SHARE {self.max_share}. Fix or remove the files of "
                "DATASETS.TRAIN, or raise the key."
            )
