"""Batch norm statistics: the same for any number of processes, and estimated again."""

from itertools import islice

import torch
import torch.distributed as dist
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fvcore.nn.distributed import differentiable_all_reduce
from fvcore.nn.precise_bn import get_bn_modules

from ..losses.precision import at_least_float32
from ..utils.progress import progress


class ExactSyncBatchNorm(NaiveSyncBatchNorm):
    """detectron2's batch norm over all processes, with the numbers of one process.

    detectron2 computes the variance as E[x^2] - E[x]^2. Of few values that lie close together this
    is rounding alone, possibly negative, and the output is NaN. It also weights all processes
    alike, and tracks the mean square deviation, where torch (in batch norms of one process and in
    its SyncBatchNorm) tracks that times n / (n - 1) for n values of a channel.
    """

    def forward(self, input):
        if comm.get_world_size() == 1 or not self.training:
            return super().forward(input)
        x = at_least_float32(input)  # (N, C, ...)
        axes = [i for i in range(x.dim()) if i != 1]
        shape = [-1 if i == 1 else 1 for i in range(x.dim())]
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums = differentiable_all_reduce(torch.cat([x.sum(axes), count]))
        found = sums[-1].detach()
        count = found.clamp(min=1)  # no process may have a region
        mean = sums[:-1] / count
        deviation = x - mean.view(shape)
        variance = differentiable_all_reduce(deviation.square().sum(axes)) / count
        scale = self.weight * torch.rsqrt(variance + self.eps)
        unbiased = variance.detach() * count / (count - 1).clamp(min=1)
        self._track(mean.detach(), unbiased, self.momentum * (found > 0).to(found.dtype))
        return (deviation * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean, variance, momentum):
        self.running_mean += momentum * (mean - self.running_mean)
        self.running_var += momentum * (variance - self.running_var)
        self.num_batches_tracked += 1


def make_sync_batch_norms_exact(model):
    """Turn every "naiveSyncBN" of a model into :class:`ExactSyncBatchNorm`, in place.

    Those that weight the processes by their images ("naiveSyncBN_N") stay: theirs may be empty.
    """
    for module in model.modules():
        if type(module) is NaiveSyncBatchNorm and module._stats_mode == "":
            module.__class__ = ExactSyncBatchNorm  # parameters, names and hooks stay
    return model


@torch.no_grad()
def estimate_statistics(model, batches, num_iter, norms=None):
    """Set the running statistics of batch norms to the mean and variance of what they get.

    The population is every value that a layer gets in ``num_iter`` batches of every process. It is
    the same for "BN", "SyncBN" and "naiveSyncBN", and the same in all processes. fvcore's
    ``update_bn_stats`` computes it from the running statistics of one process, which are its own
    for "BN".

    Args:
        model: in training mode.
        batches: iterable of the model's inputs, at least ``num_iter``.
        num_iter: number of batches of each process.
        norms: the layers to set; default: every batch norm of the model in training mode.
    """
    norms = get_bn_modules(model) if norms is None else norms
    moments = [_Moments(norm) for norm in norms]
    handles = [x.register_forward_pre_hook(y.add) for x, y in zip(norms, moments)]
    try:
        with EventStorage():  # what the model logs meanwhile is not training
            batches = islice(batches, num_iter)
            for batch in progress(batches, "Estimating batch norm statistics", num_iter):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    for norm, moment in zip(norms, moments):
        moment.write(norm)


class _Moments:
    """Count, sum and sum of squares of the values of each channel, in float64."""

    def __init__(self, norm):
        shape = (3, *norm.running_mean.shape)
        self.sums = torch.zeros(shape, dtype=torch.float64, device=norm.running_mean.device)

    def add(self, _, inputs):
        """A forward pre-hook: add the input (N, C, ...)."""
        (x,) = inputs
        if x.numel():  # not without any region
            axes = [axis for axis in range(x.dim()) if axis != 1]
            variance, mean = torch.var_mean(at_least_float32(x), axes, correction=0)
            mean, variance = mean.double(), variance.double()
            count = x.numel() // x.shape[1]
            rows = torch.ones_like(mean), mean, variance + mean**2
            self.sums += count * torch.stack(rows)

    def write(self, norm):
        """Set the running statistics, unless no process used the layer."""
        if comm.get_world_size() > 1:
            dist.all_reduce(self.sums)
        count, total, squares = self.sums
        if count.min() > 0:
            mean = total / count
            norm.running_mean.copy_(mean)
            norm.running_var.copy_((squares / count - mean**2).clamp(min=0))
