"""The loader of pre-training."""

import functools
import logging
from collections import Counter

import cv2
import torch
from detectron2.data import DatasetCatalog
from torch.utils.data import DataLoader

from ...utils.loader_workers import shielded
from ...utils.printable import printable
from ..image_names import SourcedImages
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

    With INPUT.REGIONS.SOURCE "boxes" or "masks" a list of dicts that also have ``annotations``;
    else :class:`~dense_ssl.data.image_names.SourcedImages`.
    """
    labels = cfg.INPUT.REGIONS.SOURCE in ANNOTATED
    register_datasets(cfg, labels)
    names = tuple(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError(
            "DATASETS.TRAIN is empty: name the images to pre-train on, for example "
            "DATASETS.TRAIN \"('folder:/path/to/images',)\"."
        )
    # a notebook may register a name again
    readers = tuple(DatasetCatalog.data.get(x) for x in names)
    return list(_load_dicts(names, readers)) if labels else _load_images(names, readers)


@functools.lru_cache(maxsize=1)
def _load_images(names, readers):
    images = SourcedImages([(name, list_images(name)) for name in names])
    _report([(name, len(x)) for name, x in images.parts])
    return images


@functools.lru_cache(maxsize=1)
def _load_dicts(names, readers):
    dicts = [
        {"source": name, **{key: x[key] for key in ("file_name", "annotations") if key in x}}
        for name in names
        for x in DatasetCatalog.get(name)
    ]
    if not any(x.get("annotations") for x in dicts):
        raise ValueError(
            "INPUT.REGIONS.SOURCE takes its regions from annotations, but no image of "
            "DATASETS.TRAIN has any: name labelled data sets, or set it to 'grid'."
        )
    counts = Counter(x["source"] for x in dicts)
    _report([(name, counts[name]) for name in names])
    return dicts


def _report(counts):
    """Log [(data set, number of images)]; raise if one has none."""
    for name, count in counts:
        if not count:
            raise ValueError(f"The data set {name!r} of DATASETS.TRAIN has no images.")
    listed = ", ".join(f"{printable(name)} {count}" for name, count in counts)
    logger.info("Pre-training on %d images: %s", sum(x for _, x in counts), listed)


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
    loader = DataLoader(
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
    return shielded(loader)


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
