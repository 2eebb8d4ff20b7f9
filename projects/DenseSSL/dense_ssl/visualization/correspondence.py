"""Which places of two views a backbone takes for the same: DUPR's Fig. 10, LC-loss's Fig. 4 and 5.

A match is a :class:`~dense_ssl.analysis.matching.Match`.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .canvas import image_grid

_POINTS = 100  # of a view; more of them hide it
_GAP = 12  # pixels between two views in one picture


def draw_places(matches):
    """Draw the cells of a view as coloured points, and where they are found in the other view.

    A row per image; first the two views with the right places, then for each backbone the second
    view with those found: a dot where it is at most one cell off, else a cross.

    Args:
        matches: {name: list of matches}, of the same views for all.

    Returns:
        matplotlib Figure.
    """
    first = next(iter(matches.values()))
    figure, axes = image_grid(len(first), ["view 1", "view 2, right places", *matches])
    for row, match in enumerate(first):
        shown = _spread(match)
        here = _centres(shown, match.cells[0])
        colours = _colours(here, match.cells[0])
        _show(axes[row, 0], match.pair[0], here, colours, match.cells[0])
        _show(axes[row, 1], match.pair[1], match.points[shown].numpy(), colours, match.cells[1])
        for axis, others in zip(axes[row, 2:], matches.values()):
            other = others[row]
            off = other.distances()[shown].numpy() > 1
            found = _centres(other.found[shown].numpy(), other.cells[1])
            _show(axis, other.pair[1], found, colours, other.cells[1], off)
            share = 100 * np.mean(other.distances()[other.valid].numpy() <= 1)
            axis.set_xlabel(f"{share:.0f} % within 1 cell", fontsize=8)
    return figure


def draw_lines(matches):
    """Draw two views side by side with a line between each cell and what it is matched with.

    A column per image; the first row has the right matches, then a row for each backbone: green
    where the cell is the right one, red where it is not.

    Args:
        matches: {name: list of matches}, of the same views for all.

    Returns:
        matplotlib Figure.
    """
    first = next(iter(matches.values()))
    figure = Figure(figsize=(4.2 * len(first), 2.2 * (1 + len(matches))), layout="constrained")
    axes = figure.subplots(1 + len(matches), len(first), squeeze=False)
    for column, match in enumerate(first):
        shown = _spread(match)
        _lines(axes[0, column], match, shown, match.points[shown].numpy(), "white")
        for axis, (name, others) in zip(axes[1:, column], matches.items()):
            other = others[column]
            right = (other.distances()[shown] == 0).numpy()
            order = shown[np.argsort(right, kind="stable")]  # the right ones on top
            colours = np.where(np.sort(right), "tab:green", "tab:red")
            found = _centres(other.found[order].numpy(), other.cells[1])
            _lines(axis, other, order, found, colours)
            share = 100 * (other.distances()[other.valid] == 0).float().mean()
            axis.set_title(f"{name}: {share:.0f} %", fontsize=9)
        axes[0, column].set_title("right places", fontsize=9)
    return figure


def _spread(match):
    """Return numbers of cells on an even grid, of those that the second view shows."""
    height, width = match.cells[0]
    step = max(int(np.ceil(np.sqrt(height * width / _POINTS))), 1)
    rows, columns = (np.arange(x)[(x - 1) % step // 2 :: step] for x in (height, width))
    numbers = (rows[:, None] * width + columns).ravel()
    return numbers[match.valid.numpy()[numbers]]


def _centres(numbers, cells):
    """(P,) numbers of cells -> (P, 2) grid indices (x, y)."""
    return np.stack([numbers % cells[1], numbers // cells[1]], axis=1)


def _pixels(points, cells, side):
    """(P, 2) grid indices -> pixels as matplotlib counts them: pixel k is centred on k."""
    return (points + 0.5) * side / np.array(cells[::-1]) - 0.5


def _colours(points, cells):
    """A colour for each place: the hue goes around the centre, the border is the most vivid."""
    x, y = (2 * (points + 0.5) / np.array(cells[::-1]) - 1).T
    hue = colormaps["hsv"](np.arctan2(y, x) / (2 * np.pi) % 1)[:, :3]
    share = np.clip(np.hypot(x, y), 0.15, 1)[:, None]
    return share * hue + (1 - share)


def _show(axis, view, points, colours, cells, off=None):
    pixels = view.plain()
    axis.imshow(0.75 * pixels / 255)  # so that bright points show
    places = _pixels(points, cells, len(pixels))
    off = np.zeros(len(places), bool) if off is None else off
    axis.scatter(*places[~off].T, s=16, c=colours[~off], edgecolors="black", linewidths=0.4)
    axis.scatter(*places[off].T, s=14, c=colours[off], marker="x", linewidths=1)


def _lines(axis, match, shown, points, colours):
    left, right = (x.pixels for x in match.pair)
    gap = np.full((len(left), _GAP, 3), 255, np.uint8)
    axis.imshow(np.concatenate([left, gap, right], axis=1))
    axis.set_axis_off()
    start = _pixels(_centres(shown, match.cells[0]), match.cells[0], len(left))
    end = _pixels(points, match.cells[1], len(right)) + [left.shape[1] + _GAP, 0]
    segments = np.stack([start, end], axis=1)
    axis.add_collection(LineCollection(segments, colors=colours, linewidths=0.8, alpha=0.9))
