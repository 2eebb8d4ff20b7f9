"""The pixel work of a view, by backend name."""

from . import render_exact, render_fast

_RENDERERS = {"exact": render_exact.render, "fast": render_fast.render}


def get_renderer(name):
    """The function that makes a view's pixels.

    Args:
        name: "exact" (each operation as torchvision does it on PIL images) or "fast" (the linear
            colour operations of a view as one matrix).

    Returns:
        ``render(image, box, size, interpolation, flip, photometry)``: from an image uint8
        (H, W, 3), RGB, the view uint8 (size, size, 3).
    """
    try:
        return _RENDERERS[name]
    except KeyError:
        raise ValueError(
            f"INPUT.VIEWS.BACKEND must be one of {sorted(_RENDERERS)}, got {name!r}."
        ) from None
