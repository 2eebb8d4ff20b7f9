"""Text files, and names of files, as people's tools write them."""

import functools
import os

# Words that say yes or no.
FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_text(path):
    """Return the text of a file, see :func:`read_encoded`."""
    return read_encoded(path)[0]


def read_encoded(path):
    """Return (text, encoding) of a file: by its byte order mark, UTF-8, or else Latin-1."""
    with open(path, "rb") as file:
        content = file.read()
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding), encoding
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def find_file(stem, extensions):
    """Return the path of the file that begins with ``stem``, "" if there is none.

    Args:
        stem: path without extension.
        extensions: in lower case, the most likely first; a file may have them in any case.
    """
    for extension in extensions:
        for name in (f"{stem}.{extension}", f"{stem}.{extension.upper()}"):
            if os.path.isfile(name):
                return name
    folder, name = os.path.split(stem)
    try:
        names = _names_of(folder or ".", os.stat(folder or ".").st_mtime_ns)
    except OSError:
        return ""
    found = next((names[x] for x in ((name, y) for y in extensions) if x in names), "")
    return found and os.path.join(folder, found)  # such as .Jpg


@functools.lru_cache(maxsize=4)
def _names_of(folder, _):
    """Return {(stem, extension in lower case): name} of the files of a folder."""
    parts = (os.path.splitext(x) for x in sorted(os.listdir(folder)))
    return {(stem, extension[1:].lower()): stem + extension for stem, extension in parts}
