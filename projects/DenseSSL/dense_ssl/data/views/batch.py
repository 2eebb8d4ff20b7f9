"""Stacking samples into a batch, in the worker process."""

import torch


def stack_samples(samples):
    """Stack the samples of the multi-view mapper.

    Args:
        samples: list of N dicts, ``"views": [{"image": uint8 (3, H, W), "affine": (4,)}, ...]``.

    Returns:
        dict with ``"views": [{"image": uint8 (N, 3, H, W), "affine": float64 (N, 4)}, ...]``, the
        images in channels-last memory format, and ``"regions"`` (N, R, R) and ``"photometry"``
        (N, 13) if the views have them; ``"seed"``: (N,) int64, if the samples have seeds; every
        other key as the list of the samples' values.
    """
    batch = {key: [x[key] for x in samples] for key in samples[0] if key not in ("views", "seed")}
    batch["views"] = [_stack_view(views) for views in zip(*(x["views"] for x in samples))]
    if "seed" in samples[0]:
        batch["seed"] = torch.tensor([x["seed"] for x in samples], dtype=torch.int64)
    return batch


def _stack_view(views):
    # The mapper returns (3, H, W) views of (H, W, 3) arrays. Copied in their memory layout, the
    # batch is channels-last without a transposition.
    images = torch.stack([x["image"].permute(1, 2, 0) for x in views])  # (N, H, W, 3)
    stacked = {
        "image": images.permute(0, 3, 1, 2),  # (N, 3, H, W)
        "affine": torch.stack([torch.as_tensor(x["affine"], dtype=torch.float64) for x in views]),
    }
    for key in ("regions", "photometry"):
        if key in views[0]:
            stacked[key] = torch.stack([x[key] for x in views])
    return stacked
