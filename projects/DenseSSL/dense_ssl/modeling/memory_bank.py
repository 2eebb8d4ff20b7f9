"""The queue of keys that contrastive methods take their negatives from."""

import logging

import torch
from detectron2.utils import comm
from detectron2.utils.logger import log_first_n
from torch import nn
from torch.nn import functional as F

from ..utils.checks import require_one_of, value_of
from ..utils.distributed import gather_rows
from .backbone_keys import norm_key

logger = logging.getLogger(__name__)

# What an `auto` size (0) means where the data are large enough: the size of MoCo.
DEFAULT_SIZE = 65536
DTYPES = ("float32", "bfloat16", "float16")


class MemoryBank(nn.Module):
    """A first-in, first-out queue of L2-normalised keys (He et al. 2020, section 3.2).

    It is filled from all processes in the order of the global batch, so every process holds the
    same keys, and one process the same as many. Batches of any size wrap around its end. The keys
    are buffers, and so part of the checkpoint. It starts with random directions.

    The loss of a step reads ``keys``, and its backward pass reads them again, so they must not
    change in between: :meth:`push` sets the keys of a step aside, and :meth:`advance`, which
    :meth:`~dense_ssl.modeling.Pretrainer.after_step` calls, puts them in. No copy is needed.

    Attributes:
        keys: (K, D).
        enqueued: number of keys that were ever put in.
    """

    def __init__(self, size, dim, dtype="float32"):
        """
        Args:
            size: K; 0 for :data:`DEFAULT_SIZE`.
            dim: D.
            dtype: type that the keys are stored in, one of :data:`DTYPES`.
        """
        super().__init__()
        require_one_of("QUEUE_DTYPE", dtype, DTYPES)
        # of its own, so that all processes start from the same keys
        generator = torch.Generator().manual_seed(0)
        keys = F.normalize(torch.randn(size or DEFAULT_SIZE, dim, generator=generator), dim=1)
        self.register_buffer("keys", keys.to(getattr(torch, dtype)))
        self.register_buffer("enqueued", torch.zeros((), dtype=torch.int64))
        self._pushed = []

    def __len__(self):
        return len(self.keys)

    @property
    def fill(self):
        """Share of the queue that holds keys of images, as a scalar tensor."""
        return (self.enqueued / len(self)).clamp(max=1)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        keys = state_dict.get(f"{prefix}keys")
        if f"{prefix}enqueued" in state_dict and (keys is None or keys.shape != self.keys.shape):
            logger.warning(
                "%skeys has another size in the checkpoint: the queue starts empty.", prefix
            )
            state_dict[f"{prefix}keys"] = self.keys.clone()
            state_dict[f"{prefix}enqueued"] = torch.zeros_like(self.enqueued)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def push(self, keys, valid=None):
        """Set keys (N, D) aside for the queue; ``valid``: (N,) bool, which of them; None: all."""
        self._pushed.append((keys.detach(), valid))

    def advance(self):
        """Put the keys that were pushed during the step into the queue."""
        for keys, valid in self._pushed:
            self.enqueue(keys, valid)
        self._pushed.clear()

    @torch.no_grad()
    def enqueue(self, keys, valid=None):
        """Replace the oldest keys.

        Args:
            keys: (N, D) of this process, normalised inside; N is the same in all processes.
            valid: (N,) bool, which of them are put in; None: all.
        """
        if valid is None:
            valid = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
        keys = gather_rows(F.normalize(keys.float(), dim=1).to(self.keys.dtype))
        valid = gather_rows(valid)
        keys, count = keys[(~valid).to(torch.uint8).argsort(stable=True)], valid.sum()
        # of more keys than there are places the last ones stay
        index = torch.arange(min(len(keys), len(self)), device=keys.device)
        index = index + (count - len(self)).clamp(min=0)
        place = (self.enqueued + index) % len(self)
        # To cut to the valid ones a GPU would wait for the host: the others change nothing.
        is_valid = (index < count)[:, None]
        self.keys[place] = torch.where(is_valid, keys[index], self.keys[place])
        self.enqueued += count


def resolve_queue_size(cfg, name, num_images, keys_per_image=1):
    """Turn an `auto` queue size into a number and refuse one that the data cannot fill.

    A queue longer than an epoch holds older keys of the images of the batch as negatives. The
    automatic size is half an epoch at most: a query then meets an older key of its own image in
    one of eight steps.

    Two warnings are given. If the momentum encoder changes faster than the queue turns over, old
    keys are recognised by their age, and the loss falls without learning. If several processes
    use plain batch norm, the statistics tell which keys belong to which queries.

    Args:
        cfg: config, changed in place.
        name: full name of the key that holds the size; 0 is `auto`.
        num_images: images of an epoch.
        keys_per_image: number of keys that an image puts in.

    Raises:
        ValueError: the queue is longer than an epoch.
    """
    path, _, key = name.rpartition(".")
    node = value_of(cfg, path)
    epoch = num_images * keys_per_image
    if node[key] == 0:
        node[key] = max(min(DEFAULT_SIZE, epoch // 2), 1)
    if not 0 < node[key] <= epoch:
        raise ValueError(
            f"{name} is {node[key]}, but the {num_images} images of DATASETS.TRAIN give {epoch} "
            f"keys an epoch: a longer queue would hold older keys of the same images as negatives. "
            f"Set {name} to at most {epoch}, or to 0 for a size that suits the data."
        )
    _warn_of_drift(cfg, name, node[key] / (cfg.SOLVER.IMS_PER_BATCH * keys_per_image))
    _warn_of_leaking_norms(cfg)


def _warn_of_drift(cfg, name, turnover):
    """Warn if keys can be recognised by their age; ``turnover``: steps until all keys are new."""
    momentum = cfg.MODEL.SSL.MOMENTUM.BASE
    if turnover > 1 / max(1 - momentum, 1e-12):
        logger.warning(
            "%s turns over in %d steps, but at MODEL.SSL.MOMENTUM.BASE %g the encoder of its keys "
            "is renewed in %d: old keys can be told by their age. Raise the momentum to %.4g, or "
            "shorten the queue.",
            name,
            turnover,
            momentum,
            1 / (1 - momentum),
            1 - 1 / (4 * turnover),
        )


def _warn_of_leaking_norms(cfg):
    key, several = norm_key(cfg), comm.get_world_size() > 1
    norm = key and value_of(cfg, key)
    if several and norm == "BN" and not cfg.MODEL.SSL.SHUFFLE_TARGET:
        # once, however many queues a run has
        log_first_n(
            logging.WARNING,
            f"{key} is 'BN': each process normalises by its own images, which gives away which "
            "keys belong to which queries. Set MODEL.SSL.SHUFFLE_TARGET to True, or the norm to "
            "'SyncBN'.",
            key="message",
        )
