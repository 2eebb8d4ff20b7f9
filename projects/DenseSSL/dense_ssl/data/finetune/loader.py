"""The loader of fine-tuning: detectron2's, in an order that a resumed run can join."""

import random

import numpy as np
import torch
from detectron2.data import (
    DatasetMapper,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.common import DatasetFromList
from torch.utils.data import DataLoader, Dataset, Sampler

from ..sampler import build_stream
from .semantic_mapper import SemanticMapper, is_semantic, semantic_dataset_dicts


def build_finetune_loader(cfg, seed):
    """Training batches of a detector or segmentor: lists of detectron2's dicts.

    Images, augmentation and grouping are detectron2's (``DatasetMapper``, portrait and landscape
    images in separate batches), but for semantic segmentation
    (:class:`~dense_ssl.data.finetune.semantic_mapper.SemanticMapper`; grouped where the sizes are
    known).
    The order and the random numbers of the augmentation follow from the seed and the position in
    the stream. Samplers other than "TrainingSampler" get detectron2's own loader, whose order a
    resumed run does not continue.
    """
    dicts, mapper = _training_data(cfg)
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        return build_detection_train_loader(cfg, dataset=dicts, mapper=mapper)
    batches = build_stream(cfg, len(dicts), seed)
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING and all("width" in x for x in dicts):
        batches = GroupedBatches(batches, [x["width"] > x["height"] for x in dicts])
    return DataLoader(
        SeededDataset(DatasetFromList(dicts, copy=False), mapper, seed),
        batch_sampler=batches,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        # its own, so that starting to iterate leaves the random numbers of the step alone
        generator=torch.Generator(),
    )


def build_evaluation_loader(cfg, dataset_name):
    """The images of a data set in their order, each once."""
    mapper = SemanticMapper(cfg, False) if is_semantic(cfg) else None
    return build_detection_test_loader(cfg, dataset_name, mapper=mapper)


def _training_data(cfg):
    """(dicts of DATASETS.TRAIN, mapper)."""
    if is_semantic(cfg):
        return semantic_dataset_dicts(cfg.DATASETS.TRAIN), SemanticMapper(cfg, True)
    has_keypoints = cfg.MODEL.KEYPOINT_ON
    dicts = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if has_keypoints else 0,
        proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
    )
    return dicts, DatasetMapper(cfg, True)


class GroupedBatches(Sampler):
    """Regroups the items of a stream into batches of one kind (portrait or landscape).

    Attributes:
        seed: of the stream. start: number of batches to leave out.
    """

    def __init__(self, stream, kinds):
        """
        Args:
            stream: :class:`~dense_ssl.data.sampler.StreamBatches`. kinds: one value per image.
        """
        self.stream = stream
        self.kinds = kinds
        self.start = 0

    @property
    def seed(self):
        return self.stream.seed

    @seed.setter
    def seed(self, value):
        self.stream.seed = value

    def __iter__(self):
        waiting, made = {}, 0
        for items in self.stream:
            for item in items:
                group = waiting.setdefault(self.kinds[item[1]], [])
                group.append(item)
                if len(group) == self.stream.share:
                    if made >= self.start:  # those left out cost no image
                        yield list(group)
                    made += 1
                    group.clear()


class SeededDataset(Dataset):
    """Maps (position, index) with the random numbers of the position.

    detectron2's augmentations draw from the global generators of numpy and Python; they are set
    for the time of one image and put back.
    """

    def __init__(self, dataset_dicts, mapper, seed):
        """
        Args:
            dataset_dicts: indexable. mapper: detectron2's. seed: int.
        """
        self.seed = seed
        self._dicts = dataset_dicts
        self._mapper = mapper

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
