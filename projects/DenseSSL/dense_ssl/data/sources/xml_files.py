"""Annotations in xml, in whatever encoding they were written."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# The declaration at the beginning of an xml file.
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*encoding\s*=\s*["']([\w.:-]+)["'][^>]*\?>""")


def parse_xml(path):
    """Return the root element of an xml file in any encoding that Python knows.

    Raises:
        ElementTree.ParseError: it is not xml.
        ValueError: names the file and the encoding that it states.
    """
    try:
        return ElementTree.parse(path).getroot()
    except (LookupError, ValueError):  # the parser's own are UTF-8, UTF-16, Latin-1 and ASCII
        data = Path(path).read_bytes()
    stated = _ENCODING.match(data)
    encoding = stated[1].decode() if stated else "UTF-8"
    try:
        return ElementTree.fromstring(data[stated.end() if stated else 0 :].decode(encoding))
    except (LookupError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} says that its encoding is {encoding!r}, which it cannot be read in "
            f"({error}). Save it as UTF-8."
        ) from error
