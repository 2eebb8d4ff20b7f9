"""Pictures inside the page: as data URIs, no larger than a screen shows."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from .model import Gallery, Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".svg")
_MOST_BYTES = 200_000  # of a picture as it is; a larger one becomes a JPEG
_LONGEST_SIDE = 1800
_MOST_OF_A_KIND = 4  # pictures of the views: over the course of the run
_DRAWN_AS_CHARTS = {"curves.png", "comparison.png"}


def read_picture(path, caption=""):
    """Return a file as a :class:`~.model.Picture`, None if it is not readable."""
    path = Path(path)
    caption = caption or path.stem.replace("_", " ")
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".svg":
            # as an image its scripts do not run
            return Picture(caption, _uri("svg+xml", data))
        with Image.open(path) as image:
            if len(data) > _MOST_BYTES or max(image.size) > _LONGEST_SIDE:
                image, data, kind = _smaller(image)
            else:
                kind = image.format.lower()
            return Picture(caption, _uri(kind, data), *image.size)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _smaller(image):
    image = image.convert("RGB")
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=90)
    return image, buffer.getvalue(), "jpeg"


def _uri(kind, data):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def views_gallery(run):
    """Return the pictures of a pre-training, spread over its course; None without any."""
    by_kind = {}
    for path in sorted((run.folder / "pictures").glob("*")):
        found = re.fullmatch(r"(.+)_(\d+)", path.stem)
        if found and path.suffix.lower() in SUFFIXES:
            by_kind.setdefault(found[1], []).append((int(found[2]), path))
    pictures = []
    for kind, paths in by_kind.items():
        steps = max(len(paths) - 1, 1) / max(_MOST_OF_A_KIND - 1, 1)
        places = sorted({min(round(k * steps), len(paths) - 1) for k in range(_MOST_OF_A_KIND)})
        for place in places:
            step, path = paths[place]
            pictures.append(read_picture(path, f"{kind.replace('_', ' ')}, iteration {step:,}"))
    pictures = [x for x in pictures if x]
    note = "What the loss compares, as the network sees it."
    return Gallery(run.name, pictures, note=note) if pictures else None


def folder_gallery(folder):
    """Return the pictures that lie in a folder of runs itself; None without any."""
    paths = [x for x in sorted(Path(folder).glob("*")) if x.suffix.lower() in SUFFIXES]
    pictures = [read_picture(x) for x in paths if x.name not in _DRAWN_AS_CHARTS]
    pictures = [x for x in pictures if x]
    return Gallery(Path(folder).resolve().name, pictures) if pictures else None
