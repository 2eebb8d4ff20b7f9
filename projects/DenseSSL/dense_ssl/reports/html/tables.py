"""Cells of tables, and how numbers are written."""

import math
import os

from .model import Cell


def text_cell(text):
    """Return a cell that is sorted by its text."""
    return Cell(str(text), str(text))


def number_cell(value, decimals=None, strong=False):
    """Return a cell of a number; a dash where there is none.

    Args:
        value: number, NaN or None. decimals: digits after the point; None: four digits in all.
        strong: to be emphasised.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Cell("–")
    return Cell(number(value, decimals), value, strong)


def finite(value):
    """Return a number, None for NaN and infinity, which json does not have."""
    return value if math.isfinite(value) else None


def number(value, decimals=None):
    """Return a number as text."""
    if isinstance(value, int):
        return f"{value:,}"
    if decimals is None:
        return f"{value:.4g}"
    return f"{value:.{decimals}f}"


def entry_name(entry):
    """Return an entry of DATASETS without its folders: "coco:val.json:val" for long paths."""
    return ":".join(x.rstrip("/").rpartition("/")[2] or x for x in entry.split(":"))


def without_common_folder(paths):
    """Return relative paths without the folders that all of them begin with."""
    if len(paths) < 2:
        return paths
    common = os.path.commonpath([os.path.dirname(x) for x in paths])
    return [os.path.relpath(x, common or ".") for x in paths]


def duration(seconds):
    """Return a time as text, such as "2 h 05 min"."""
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes:.0f} min"
    hours, minutes = divmod(round(minutes), 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours / 24:.1f} days"
