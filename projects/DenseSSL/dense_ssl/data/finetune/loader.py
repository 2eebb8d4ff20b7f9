"""The loader of fine-tuning: detectron2's, in an order that a resumed run continues."""

import functools
import random
from collections import Counter

import numpy as np
import torch
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.common import DatasetFromList
from torch.utils.data import DataLoader, Dataset

from ...utils.loader_workers import shielded
from ..sampler import GroupedBatchSampler, build_batch_sampler, part_of_batch
from .detection_mapper import DetectionMapper
from .image_mapper import ImageMapper, classifies_images
from .region_mapper import RegionMapper, classifies_regions
from .semantic_mapper import SemanticMapper, is_semantic, semantic_dataset_dicts

_TEST_BATCH = 32


def build_finetune_loader(cfg, seed):
    """Build the loader of a detector or segmentor; a batch is a list of detectron2's dicts.

    Images are read as in pre-training. Augmentation and grouping are detectron2's
    (:class:`~.detection_mapper.DetectionMapper`, portrait and landscape images in separate
    batches), except for semantic segmentation
    (:class:`~dense_ssl.data.finetune.semantic_mapper.SemanticMapper`; grouped if the sizes are
    known) and the classification of boxes (:class:`~.region_mapper.RegionMapper`) and of whole
    images (:class:`~.image_mapper.ImageMapper`). The order and the random numbers of the
    augmentation depend on the seed and the position alone. With DATALOADER.SAMPLER_TRAIN other than
    "TrainingSampler" it is detectron2's own loader, whose order a resumed run does not continue.
    """
    dicts, mapper = _training_data(cfg)
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        loader = build_detection_train_loader(
            cfg, dataset=dicts, mapper=mapper, total_batch_size=part_of_batch(cfg)
        )
        # grouping by aspect ratio is around the DataLoader
        shielded(loader if isinstance(loader, DataLoader) else loader.dataset)
        return loader
    sampler = build_batch_sampler(cfg, len(dicts), seed)
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING and all("width" in x for x in dicts):
        sampler = GroupedBatchSampler(sampler, [x["width"] > x["height"] for x in dicts])
    loader = DataLoader(
        SeededDataset(DatasetFromList(dicts, copy=False), mapper, seed),
        batch_sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        # its own, so that starting an iteration does not change the random numbers of the step
        generator=torch.Generator(),
    )
    return shielded(loader)


def build_evaluation_loader(cfg, dataset_name):
    """Build the loader of a data set in its order, each image once."""
    mapper = _mapper_class(cfg)
    # images of one size are computed in batches
    batch = {"batch_size": _TEST_BATCH} if mapper is ImageMapper else {}
    return shielded(
        build_detection_test_loader(cfg, dataset_name, mapper=mapper(cfg, False), **batch)
    )


def count_training_images(cfg):
    """Return how many images of DATASETS.TRAIN are trained on: an epoch."""
    return len(_training_dicts(cfg))


def count_training_objects(cfg):
    """Return {class: number of labelled objects} of DATASETS.TRAIN, {} for label maps."""
    counts = Counter(
        y["category_id"] for x in _training_dicts(cfg) for y in x.get("annotations", ())
    )
    classes = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", ()) if counts else ()
    return {name: counts[k] for k, name in enumerate(classes)}


def _training_data(cfg):
    """Return (dicts of DATASETS.TRAIN, mapper)."""
    dicts, mapper = _training_dicts(cfg), _mapper_class(cfg)(cfg, True)
    if isinstance(mapper, RegionMapper):
        mapper.keep_squares(len(dicts))
    return dicts, mapper


def _mapper_class(cfg):
    """Return the mapper of the config's META_ARCHITECTURE."""
    if is_semantic(cfg):
        return SemanticMapper
    if classifies_images(cfg):
        return ImageMapper
    return RegionMapper if classifies_regions(cfg) else DetectionMapper


def _training_dicts(cfg):
    has_keypoints = cfg.MODEL.KEYPOINT_ON
    return _load_dicts(
        tuple(cfg.DATASETS.TRAIN),
        is_semantic(cfg),
        cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if has_keypoints else 0,
        tuple(cfg.DATASETS.PROPOSAL_FILES_TRAIN) if cfg.MODEL.LOAD_PROPOSALS else None,
        cfg.MODEL.MASK_ON,
    )


@functools.lru_cache(maxsize=1)  # read once for the schedule, the training and its statistics
def _load_dicts(names, semantic, filter_empty, min_keypoints, proposal_files, masks):
    if semantic:
        return semantic_dataset_dicts(names)
    try:
        dicts = get_detection_dataset_dicts(
            names,
            filter_empty=filter_empty,
            min_keypoints=min_keypoints,
            proposal_files=proposal_files,
        )
    except AssertionError as error:  # detectron2's, where nothing is left
        raise ValueError(
            f"DATASETS.TRAIN: no image of {', '.join(map(repr, names))} has an object to learn "
            f"({str(error).rstrip('.')}). Crowds do not count, nor objects without keypoints for "
            "a model of keypoints. Label some, or name other data."
        ) from error
    return _without_maskless(dicts, filter_empty) if masks else dicts


def _without_maskless(dicts, filter_empty):
    """Leave out objects without a mask: detectron2 fails on them where others have one."""
    complete = [
        {**x, "annotations": [y for y in x["annotations"] if y.get("segmentation") is not None]}
        if any(y.get("segmentation") is None for y in x.get("annotations", ()))
        else x
        for x in dicts
    ]
    return filter_images_with_only_crowd_annotations(complete) if filter_empty else complete


def forget_training_images():
    """Free the memory of the dicts; the loaders hold them in a smaller form."""
    _load_dicts.cache_clear()


class SeededDataset(Dataset):
    """Maps (position, index) with the random numbers of the position.

    detectron2's augmentations draw from the global generators of numpy and Python; these are seeded
    for one image and restored.
    """

    def __init__(self, dataset_dicts, mapper, seed):
        self.seed = seed
        self._dicts = dataset_dicts
        self._mapper = mapper

    @property
    def dicts(self):
        """The images, in their order."""
        return self._dicts

    def __len__(self):
        return len(self._dicts)

    def __getitem__(self, item):
        position, index = item
        states = random.getstate(), np.random.get_state()
        key = np.random.SeedSequence([self.seed, position]).generate_state(1)[0]
        random.seed(int(key))
        np.random.seed(key)
        try:
            return self._mapper(self._dicts[index])
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
