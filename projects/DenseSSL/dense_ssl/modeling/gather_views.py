"""From the batch of a loader to normalised views on the device of the model."""

import torch

from ..data.views.batch import stack_samples
from ..data.views.device_colors import change_views
from ..structures import Views


def gather_views(batched_inputs, mean, std, channels_last=False, input_format="RGB"):
    """Return the views of a batch, normalised.

    Args:
        batched_inputs: see :meth:`~.pretrainer.Pretrainer.forward`.
        mean, std: (3, 1, 1) of the pixels, on the device of the model.
        channels_last: memory format of the images.
        input_format: "RGB" or "BGR".

    Returns:
        list of :class:`~dense_ssl.structures.Views`.
    """
    batch = batched_inputs if isinstance(batched_inputs, dict) else stack_samples(batched_inputs)
    seeds = batch.get("seed")
    if seeds is None:  # samples that need not repeat
        seeds = torch.randint(2**62, (len(batch["views"][0]["image"]),))
    sizes = None
    if "width" in batch:
        sizes = torch.tensor([batch["width"], batch["height"]], dtype=torch.float64).T
    device = mean.device
    shared = {"seeds": _moved(seeds, device), "image_size": _moved(sizes, device)}
    return [
        Views(
            _normalised(_coloured(view, device, input_format), mean, std, channels_last),
            _moved(view["affine"], device),
            regions=_moved(view.get("regions"), device),
            **shared,
        )
        for view in batch["views"]
    ]


def _moved(tensor, device):
    return None if tensor is None else tensor.to(device, non_blocking=True)


def _coloured(view, device, input_format):
    images, photometry = (_moved(view.get(x), device) for x in ("image", "photometry"))
    if photometry is None:  # the mapper has done it
        return images
    return change_views(images, photometry, input_format)


def _normalised(images, mean, std, channels_last):
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
        # A row of the image is then contiguous; with mean and std laid out as a row too, the
        # arithmetic is vectorised over it, and not over the three channels of a pixel.
        mean, std = (
            x.expand(1, -1, 1, images.shape[-1]).contiguous(memory_format=torch.channels_last)
            for x in (mean, std)
        )
    return (images.to(mean.dtype) - mean).div_(std)
