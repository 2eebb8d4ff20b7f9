"""Colours without meaning: every object draws its palette the same way, whatever its class."""

import numpy as np

# Share of each channel in the brightness of a colour.
LUMA = (0.3, 0.6, 0.1)


def colour(stream, brightness, vividness):
    """A random colour, float32 (3, 1, 1).

    Args:
        stream: :class:`.stream.Stream`.
        brightness: about how bright, in [0, 255].
        vividness: how far the channels may lie from grey, in [0, 255].
    """
    offsets = [stream.uniform(-1.0, 1.0) for _ in LUMA]
    mean = sum(share * offset for share, offset in zip(LUMA, offsets))
    channels = [brightness + vividness * (offset - mean) for offset in offsets]
    channels = [min(max(channel, 0.0), 255.0) for channel in channels]
    return np.array(channels, dtype=np.float32).reshape(3, 1, 1)


def palette(stream, count, low=25.0, high=235.0):
    """``count`` random colours in random order, of evenly spread brightness.

    Any two of them differ in brightness, so parts and textures stay visible in grey images too.
    """
    step = (high - low) / count
    vividness = stream.uniform(25.0, 130.0)
    levels = [low + step * (place + stream.uniform(0.2, 0.8)) for place in range(count)]
    return [colour(stream, level, vividness) for level in stream.shuffled(levels)]
