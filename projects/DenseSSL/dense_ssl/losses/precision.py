"""Losses are computed in float32 or better, whatever autocast makes of the features."""

import torch


def at_least_float32(*tensors):
    """Cast half and bfloat16 tensors to float32; float32 and float64 stay as they are."""
    low = (torch.float16, torch.bfloat16)
    cast = tuple(x.float() if x.dtype in low else x for x in tensors)
    return cast if len(cast) > 1 else cast[0]
