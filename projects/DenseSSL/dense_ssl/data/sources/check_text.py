"""The check of a data set in words."""

_MOST_CLASSES = 12


def summary(check):
    """Return one line on a :class:`~.check.DataCheck`, without what is odd."""
    return "; ".join(x for x in (_images(check), _labels(check.labels)) if x)


def report(check):
    """Return the lines of a short report, the first one the entry."""
    rows = [
        ("images", _images(check)),
        ("left out", skipped_text(check.skipped)),
        ("labels", _labels(check.labels)),
        ("classes", _classes(check.labels)),
        *(("odd", x) for x in check.notes),
        *(("ERROR", x) for x in check.errors),
    ]
    rows = [(label, text) for label, text in rows if text]
    return [check.entry, *(f"  {label:<9} {text}" for label, text in rows)]


def skipped_text(skipped):
    """Return "3 x .heic, 2 x without"."""
    named = {f".{x}" if x else "without": count for x, count in skipped.items()}
    return _counts(named, "{1} x {0}", _MOST_CLASSES)


def _images(check):
    images = check.images
    if not images:
        return ""
    text = f"{images.total:,} image{'s' * (images.total != 1)}"
    if images.checked < images.total:
        text += f", {images.checked:,} looked at"
    if images.smallest:
        size, largest = ("{} x {}".format(*x) for x in (images.smallest, images.largest))
        text += f": {_counts(images.formats, '{1} {0}')}, {size}"
        text += f" to {largest} pixels" if largest != size else " pixels"
    return text + (", all decoded" if images.decoded else ", headers read")


def _labels(labels):
    if labels is None:
        return ""
    counts = labels.counts
    parts = []
    for key, text in (
        ("objects", "objects: {:,}"),
        ("label maps", "label maps read: {:,}"),
        ("crowds", "{:,} of them crowds"),
        ("difficult", "{:,} of them difficult"),
        ("with keypoints", "{:,} with keypoints"),
        ("polygons", "{:,} masks of polygons"),
        ("RLEs", "{:,} masks as RLE"),
    ):
        if counts.get(key):
            parts.append(text.format(counts[key]))
    if labels.classes:
        parts.append(f"{len(labels.classes):,} class{'es' * (len(labels.classes) != 1)}")
    return ", ".join(parts)


def _classes(labels):
    return _counts(labels.classes if labels else {}, "{0} {1}", _MOST_CLASSES)


def _counts(counts, form, most=None):
    parts = [form.format(key, f"{count:,}") for key, count in counts.items()]
    more = f" and {len(parts) - most} more" if most and len(parts) > most else ""
    return ", ".join(parts[:most]) + more
