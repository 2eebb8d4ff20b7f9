"""Comparing what an exported file gives with what the model gives."""

import math

import torch

from .errors import ExportError

# The largest differences that are accepted, by output, with their units. float32 in another order
# of additions differs by far less; a detection on the edge of a threshold may come or go.
LIMITS = {
    "boxes": (0.1, "pixels"),
    "scores": (1e-3, ""),
    "masks": (0.01, "of the masks' pixels"),
    "keypoints": (0.5, "pixels"),
    "unmatched": (0.01, "of the detections"),
}
# All others, feature maps and logits: relative to the largest value.
RELATIVE = (1e-4, "of the largest value")


def differences(expected, found):
    """Return {output: difference} of one input.

    Args:
        expected, found: {output: tensor}. Detections may be in another order.
    """
    if "boxes" in expected:
        return _detections(expected, found)
    return {name: _relative(x, found[name]) for name, x in expected.items()}


def limit_of(name):
    """Return (largest accepted difference, its unit) of an output."""
    return LIMITS.get(name, RELATIVE)


def check(worst, where=""):
    """Raise ExportError if a difference is too large, or is not a number.

    Args:
        worst: {output: difference}. where: end of the sentence.
    """
    for name, value in worst.items():
        limit, unit = limit_of(name)
        if not value <= limit:
            raise ExportError(
                f"The exported file and the model differ in {name} by {value:.3g} {unit} "
                f"(accepted: {limit:g}){where}, so the file was deleted."
            )


def _relative(expected, found):
    if expected.shape != found.shape:
        return math.inf
    scale = expected.abs().max().clamp(min=1e-12)
    return float((expected - found).abs().max() / scale)


def _detections(expected, found):
    first, second = _match(expected, found)
    total = max(len(expected["boxes"]), len(found["boxes"]))
    result = {"unmatched": 1 - len(first) / total if total else 0.0}
    for name, x in expected.items():
        if name == "classes":
            continue
        a, b = x[first], found[name][second]
        if a.shape != b.shape:
            result[name] = math.inf
        elif name == "masks":
            result[name] = float((a != b).sum() / a.sum().clamp(min=1))
        else:
            result[name] = float((a - b).abs().max()) if a.numel() else 0.0
    return result


def _match(expected, found):
    """Pair each detection with the nearest of its class that is free.

    Returns:
        (places in ``expected``, places in ``found``), equally many; pairs that are farther apart
        than the limits of boxes and scores are left out.
    """
    pairs = []
    free = torch.ones(len(found["boxes"]), dtype=torch.bool)
    for i, box in enumerate(expected["boxes"]):
        apart = (found["boxes"] - box).abs().amax(dim=1) / LIMITS["boxes"][0]
        apart = apart + (found["scores"] - expected["scores"][i]).abs() / LIMITS["scores"][0]
        apart[~free | (found["classes"] != expected["classes"][i])] = math.inf
        if len(apart) and apart.min() < 1:
            j = int(apart.argmin())
            free[j] = False
            pairs.append((i, j))
    first, second = zip(*pairs) if pairs else ((), ())
    return list(first), list(second)
