"""The order of training images: endless, and the same from any position on."""

import numpy as np
from detectron2.utils import comm
from torch.utils.data import Sampler


def build_batch_sampler(cfg, num_images, seed):
    """Build the sampler of this process; with SOLVER.ACCUMULATE a batch is one part of a step.

    Args:
        cfg: config. num_images: size of the data. seed: of the order.
    """
    process = comm.get_rank(), comm.get_world_size()
    return InfiniteBatchSampler(num_images, part_of_batch(cfg), seed, *process)


def part_of_batch(cfg):
    """Return the images of one part of a step, over all processes."""
    batch, parts = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE
    if batch % parts:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH {batch} must be a multiple of SOLVER.ACCUMULATE {parts}."
        )
    return batch // parts


class InfiniteBatchSampler(Sampler):
    """Batches of an endless shuffled sequence of images, one process's share of each.

    The sequence is one permutation of the data after another. The image at a position depends on
    the seed and the position alone: a run of many processes sees the same global batches as a run
    of one, and a resumed run continues where the other stopped. Each item is (position, index).

    Attributes:
        seed: may be set until iteration starts (a resumed run takes over the seed of the first).
        start: number of batches to leave out, likewise.
    """

    def __init__(self, num_images, batch_size, seed, rank=0, world_size=1):
        """
        Args:
            num_images: size of the data.
            batch_size: images of one batch over all processes.
            seed: of the order.
            rank, world_size: this process, and how many there are.
        """
        if batch_size % world_size:
            raise ValueError(
                f"A batch of {batch_size} images cannot be shared by {world_size} processes: "
                "SOLVER.IMS_PER_BATCH / SOLVER.ACCUMULATE must be a multiple of their number."
            )
        self.num_images = num_images
        self.batch_size = batch_size
        self.share = batch_size // world_size
        self.rank = rank
        self.seed = seed
        self.start = 0

    def __iter__(self):
        batch, epoch, order = self.start, -1, None
        while True:
            first = batch * self.batch_size + self.rank * self.share
            items = []
            for position in range(first, first + self.share):
                if position // self.num_images != epoch:
                    epoch = position // self.num_images
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.num_images)
                items.append((position, int(order[position % self.num_images])))
            yield items
            batch += 1


class GroupedBatchSampler(Sampler):
    """Regroups the items of a sampler into batches of one kind (portrait or landscape).

    Attributes:
        sampler: :class:`InfiniteBatchSampler`. kinds: one value per image.
        seed: of the sampler. start: number of batches to leave out.
    """

    def __init__(self, sampler, kinds):
        self.sampler = sampler
        self.kinds = kinds
        self.start = 0

    @property
    def seed(self):
        return self.sampler.seed

    @seed.setter
    def seed(self, value):
        self.sampler.seed = value

    def __iter__(self):
        waiting, made = {}, 0
        for items in self.sampler:
            for item in items:
                group = waiting.setdefault(self.kinds[item[1]], [])
                group.append(item)
                if len(group) == self.sampler.share:
                    if made >= self.start:  # no image is read for those left out
                        yield list(group)
                    made += 1
                    group.clear()
