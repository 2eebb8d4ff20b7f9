"""Colours of classes that can be told apart, on photos too."""

import colorsys

# The first ones differ in hue and in brightness, also for most people who are colour blind.
_FIRST = ((230, 57, 70), (38, 132, 255), (255, 190, 11), (46, 196, 112),
          (155, 81, 224), (255, 127, 39), (0, 206, 209), (255, 105, 180),
          (139, 195, 22), (121, 85, 72))  # fmt: skip
_GOLDEN = 0.618034  # turns of the hue that never come close to an earlier one soon


def class_colours(count, known=None):
    """Return a colour for each class; that of a class never depends on how many there are.

    Args:
        count: number of classes.
        known: the data set's own colours, taken if there are enough.

    Returns:
        list of (red, green, blue) in 0..255.
    """
    if known and len(known) >= count:
        return [tuple(int(x) for x in colour) for colour in known[:count]]
    return [_colour(i) for i in range(count)]


def _colour(number):
    if number < len(_FIRST):
        return _FIRST[number]
    k = number - len(_FIRST)
    saturation, value = ((0.75, 0.95), (0.9, 0.7), (0.5, 1.0))[k % 3]
    return tuple(round(255 * x) for x in colorsys.hsv_to_rgb(k * _GOLDEN % 1, saturation, value))


def ink_on(colour):
    """Return black or white, whichever is readable on a colour."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
