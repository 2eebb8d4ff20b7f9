"""Text files as people's tools write them."""

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
