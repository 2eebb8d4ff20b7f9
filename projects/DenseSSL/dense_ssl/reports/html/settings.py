"""The settings of runs that are not the defaults."""

import json

from ..run_settings import flat_defaults
from .model import Cell, Table
from .tables import text_cell, without_common_folder

_MOST_COLUMNS = 8
_LEFT_OUT = ("OUTPUT_DIR", "VERSION")
_ABSENT = object()


def settings_table(title, runs):
    """Return a table of the keys that differ from their defaults in at least one run.

    A value is strong where the runs differ. A key of an objective that is not registered in this
    process has no default.

    Args:
        title: of the table. runs: list of :class:`~.model.Run` of one kind.
    """
    shown = [x for x in runs if x.config][:_MOST_COLUMNS]
    defaults = flat_defaults()
    keys = sorted({key for run in shown for key in run.config} - set(_LEFT_OUT))
    rows = []
    for key in keys:
        default = defaults.get(key, _ABSENT)
        values = [run.config.get(key, default) for run in shown]
        if all(_same(x, default) for x in values):
            continue
        differ = not all(_same(x, values[0]) for x in values)
        cells = [Cell(_text(x), _text(x), strong=differ) for x in values]
        rows.append([text_cell(key), text_cell(_text(default)), *cells])
    names = without_common_folder([x.name for x in shown])
    note = f"The first {len(shown)} of {len(runs)} runs." * (len(shown) < len(runs))
    return Table(title, ["key", "default", *names], rows, note)


def _same(first, second):
    if first is _ABSENT or second is _ABSENT:
        return first is second
    return first == second or _text(first) == _text(second)


def _text(value):
    return "–" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
