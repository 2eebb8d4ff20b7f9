"""The data sets of all runs, as the checks at their starts found them."""

from .model import Cell, DataSets, Table
from .tables import entry_name, number_cell, text_cell

_MOST_CLASSES = 200
_LABELS = {"objects": "objects", "crowds": "crowds", "polygons": "masks as polygons",
           "RLEs": "masks as RLE", "with keypoints": "with keypoints",
           "label maps": "label maps read"}  # fmt: skip


def read_data_sets(runs):
    """Return the :class:`~.model.DataSets` of runs; None if none has a check in its run.json."""
    checks = {}
    for run in runs:
        for check in (run.record.get("data") or {}).get("checks") or ():
            checks[check.get("entry", "")] = check
    if not checks:
        return None
    short = [entry_name(x) for x in checks]
    names = short if len(set(short)) == len(short) else list(checks)
    checks = dict(zip(names, checks.values()))
    return DataSets(
        [x for x in (_table(checks), _classes(checks)) if x],
        [(name, text, kind == "errors")
         for name, check in checks.items()
         for kind in ("errors", "notes")
         for text in check.get(kind) or ()],
    )  # fmt: skip


def _table(checks):
    rows = []
    for name, check in checks.items():
        images, labels = check.get("images") or {}, check.get("labels") or {}
        counts = labels.get("counts") or {}
        rows.append(
            [
                text_cell(name),
                number_cell(images.get("total")),
                number_cell(images.get("checked")),
                text_cell(_counts(images.get("formats") or {})),
                _sizes(images),
                text_cell(_counts({v: counts[k] for k, v in _LABELS.items() if counts.get(k)})),
                text_cell(_counts({f".{k}" if k else "without extension": v
                                   for k, v in (check.get("skipped") or {}).items()})),
            ]
        )  # fmt: skip
    columns = ["data set", "images", "looked at", "formats", "pixels", "labels", "files left out"]
    note = ("At the start of a run some images are looked at, by their headers; "
            "tools/check_data.py looks at all.")  # fmt: skip
    return Table("Data sets", columns, rows, note)


def _sizes(images):
    small, large = (images.get(x) or [] for x in ("smallest", "largest"))
    if not small:
        return Cell("–")
    texts = dict.fromkeys("{} x {}".format(*x) for x in (small, large))
    return Cell(" to ".join(texts), small[0] * small[1])


def _classes(checks):
    counts = {k: (x.get("labels") or {}).get("classes") for k, x in checks.items()}
    counts = {k: x for k, x in counts.items() if x}
    classes = list(dict.fromkeys(name for x in counts.values() for name in x))
    if not classes:
        return None
    rows = [
        [text_cell(name), *(number_cell(x.get(name)) for x in counts.values())]
        for name in classes[:_MOST_CLASSES]
    ]
    note = "Objects with each class; of label maps, the maps that show it."
    if len(classes) > _MOST_CLASSES:
        note += f" The first {_MOST_CLASSES} of {len(classes):,}; run.json has all."
    return Table("Classes", ["class", *counts], rows, note)


def _counts(counts):
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "–"
