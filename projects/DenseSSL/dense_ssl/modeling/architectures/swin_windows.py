"""Shifted windows of timm's Swin Transformers on maps that the window size does not divide."""

from functools import cache

from torch.nn import functional as F


def pad_before_shift(network):
    """Pad the maps of Swin blocks to whole windows before the shift, in place.

    The detectors of Swin's authors do this too. timm shifts first and pads then, so its attention
    mask is off by the padding, and opposite borders of the image attend to each other. Images of
    224 pixels need no padding; images of detectors do.

    Args:
        network: of timm; nothing changes if it is not a Swin Transformer.
    """
    from timm.models.swin_transformer import SwinTransformerBlock
    from timm.models.swin_transformer_v2 import SwinTransformerV2Block

    for block in network.modules():
        if isinstance(block, (SwinTransformerBlock, SwinTransformerV2Block)):
            block.__class__ = _padded(type(block))


@cache
def _padded(kind):
    def _attn(self, x):  # (N, h, w, C)
        h, w = x.shape[1:3]
        window_h, window_w = self.window_size
        x = F.pad(x, (0, 0, 0, -w % window_w, 0, -h % window_h))
        return kind._attn(self, x)[:, :h, :w]

    return type(f"Padded{kind.__name__}", (kind,), {"_attn": _attn})
