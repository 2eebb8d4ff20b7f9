"""The images of pre-training; one that cannot be read is replaced by another."""

import numpy as np
from detectron2.data.common import DatasetFromList
from torch.utils.data import Dataset

from ..image_io import BrokenImageError
from ..image_names import SourcedImages

# This many unreadable images in a row are an error.
MAX_ATTEMPTS = 20


class ViewDataset(Dataset):
    """Maps (position in the order, index of the image) to the views of the image.

    An unreadable image is replaced by another one of the same source, drawn from the position, and
    reported in the sample under ``broken``: a list of (file name, reason).
    """

    def __init__(self, dataset_dicts, mapper, seed):
        """
        Args:
            dataset_dicts: :class:`~dense_ssl.data.image_names.SourcedImages`; or a list of dicts
                with ``file_name``, ``source`` (name of the data set) and more, grouped by source.
            mapper: :class:`~dense_ssl.data.views.mapper.MultiViewMapper`.
            seed: with the position, the seed of the views.
        """
        self.seed = seed
        self._mapper = mapper
        if isinstance(dataset_dicts, SourcedImages):
            self._dicts, self._ranges = dataset_dicts, dataset_dicts.ranges
            return
        names = [x["source"] for x in dataset_dicts]
        _, starts, counts = np.unique(names, return_index=True, return_counts=True)
        self._ranges = sorted(zip(starts.tolist(), counts.tolist()))
        # one serialised array, shared by all workers, instead of a million objects
        self._dicts = DatasetFromList(dataset_dicts, copy=False)

    @property
    def dicts(self):
        """The images, in their order."""
        return self._dicts

    def __len__(self):
        return len(self._dicts)

    def __getitem__(self, item):
        position, index = item
        broken = []
        for attempt in range(MAX_ATTEMPTS):
            dataset_dict = self._dicts[index]
            try:
                sample = self._mapper(dataset_dict, seed=[self.seed, position])
            except BrokenImageError as error:
                broken.append((dataset_dict["file_name"], str(error)))
                index = self._substitute(index, position, attempt)
            else:
                sample["broken"] = broken
                return sample
        raise RuntimeError(
            f"{MAX_ATTEMPTS} images in a row could not be read, the last one: {broken[-1][1]}. "
            "Check the data sets of DATASETS.TRAIN."
        )

    def _substitute(self, index, position, attempt):
        start, count = max(x for x in self._ranges if x[0] <= index)
        return start + int(np.random.default_rng([self.seed, position, attempt]).integers(count))
