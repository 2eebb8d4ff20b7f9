"""Contrast against a queue: the loss of MoCo and of each branch of DUPR, with its log."""

import torch
from torch import nn

from ..losses import contrast_statistics, info_nce
from ..utils.distributed import weigh_by_count
from ..utils.events import is_logged, log_feature_std, put_scalar

# Statistics are computed on at most this many queries.
_LOGGED_QUERIES = 256


class QueueContrast(nn.Module):
    """InfoNCE of queries and their keys against the keys of earlier steps."""

    def __init__(self, bank, temperature):
        """
        Args:
            bank: :class:`~dense_ssl.modeling.memory_bank.MemoryBank`.
            temperature: of InfoNCE.
        """
        super().__init__()
        self.bank = bank
        self.temperature = temperature

    def forward(self, query, key, label, weights=None):
        """Mean loss of the queries of all processes.

        Args:
            query: (N, D), with gradient. key: (N, D), their positives.
            label: prefix of the names in the log.
            weights: (N,); None: all 1.
        """
        keys = self.bank.keys
        # rounding to a shorter type changes lengths
        is_unit = keys.dtype == torch.float32
        loss = info_nce(query, key, keys, self.temperature, weights, unit_negatives=is_unit)
        self._log(query, key, label, weights)
        return loss if weights is None else weigh_by_count(loss, weights.sum())

    @torch.no_grad()
    def _log(self, query, key, label, weights):
        if not is_logged():
            return
        if weights is not None:
            query, key = query[weights > 0], key[weights > 0]
        log_feature_std(f"{label}/feature_std", query)
        put_scalar(f"{label}/queue_fill", self.bank.fill)
        if not len(query):
            return
        # spread over the batch: neighbours are points of one image
        rows = slice(None, None, -(-len(query) // _LOGGED_QUERIES))
        for key_name, value in contrast_statistics(query[rows], key[rows], self.bank.keys).items():
            put_scalar(f"{label}/{key_name}", value)
