"""What lies in folders named analyses: for each NAME.json its numbers, and NAME*.png or .svg."""

from pathlib import Path

from ...config.flat import flatten
from ...utils.json_file import read_object
from .model import Gallery, Table
from .pictures import SUFFIXES, read_picture
from .tables import number_cell, text_cell

FOLDER = "analyses"
_MOST_ROWS = 60
_MOST_COLUMNS = 12


def find_analyses(folders):
    """Return a gallery for each analysis in the folders' ``analyses/``.

    Args:
        folders: {folder: name for the report}.
    """
    galleries = []
    for folder, name in folders.items():
        place = Path(folder) / FOLDER
        if place.is_dir():
            galleries += [x for x in _of_folder(place, name) if x.pictures or x.tables]
    return galleries


def _of_folder(place, run):
    files = sorted(x for x in place.rglob("*") if x.is_file())
    names = [x.with_suffix("") for x in files if x.suffix == ".json"]
    pictures = [x for x in files if x.suffix.lower() in SUFFIXES]
    # a picture belongs to the longest name that its own begins with, else it stands alone
    names += [x.with_suffix("") for x in pictures if not _owner(x, names)]
    for name in dict.fromkeys(names):
        mine = [read_picture(x) for x in pictures if _owner(x, names) == name]
        content = read_object(name.with_suffix(".json"))
        results = content.get("results", content)
        made_with = content if "results" in content else {}
        made_with = {k: v for k, v in made_with.items() if k not in ("results", "analysis")}
        shown = str(name.relative_to(place))
        yield Gallery(
            f"{shown} · {run}" if run else shown,
            [x for x in mine if x],
            _tables(results if isinstance(results, dict) else {}),
            _pairs(dict(flatten(made_with, separator=" "))),
            str(content.get("source", "")),
        )


def _owner(picture, names):
    stem = str(picture.with_suffix(""))
    found = [x for x in names if stem.startswith(str(x))]
    return max(found, key=lambda x: len(str(x)), default=None)


def _tables(results):
    """Return the numbers of an analysis: a row for each of the weights, or names and values.

    Lists are what figures are drawn from: they stay in the file.
    """
    nested = {k: dict(flatten(v, separator=" ")) for k, v in results.items() if isinstance(v, dict)}
    tables = _pairs({k: v for k, v in results.items() if k not in nested})
    columns = [x for row in nested.values() for x, y in row.items() if _is_plain(y)]
    columns = list(dict.fromkeys(columns))[:_MOST_COLUMNS]
    rows = [
        [text_cell(name), *(_cell(row.get(x)) for x in columns)]
        for name, row in list(nested.items())[:_MOST_ROWS]
    ]
    return tables + ([Table("", ["weights", *columns], rows)] if columns else [])


def _pairs(values):
    """Return a table of names and values, in a list; [] without any."""
    plain = [(k, v) for k, v in values.items() if _is_plain(v) and v not in (None, "")]
    rows = [[text_cell(k), _cell(v)] for k, v in plain[:_MOST_ROWS]]
    return [Table("", ["name", "value"], rows)] if rows else []


def _is_plain(value):
    return value is None or isinstance(value, (bool, int, float, str))


def _cell(value):
    if value is None or isinstance(value, bool):
        return text_cell({True: "yes", False: "no", None: "–"}[value])
    return number_cell(value) if isinstance(value, (int, float)) else text_cell(value)
