"""Text from outside, such as file names, in a form that a log can show."""

import logging
import re

# The colours that detectron2 prints, and what a message may have between its lines.
_ALLOWED = re.compile(r"(\x1b\[(?:[0145]|[39][0-7])m|[\n\t])")
_LINES = re.compile(r"([\n\t])")


def printable(text):
    r"""Return ``text`` with every character escaped that a terminal does not show as one.

    Control characters, line ends, marks that change the direction of writing, invisible characters,
    and bytes of a name that are no UTF-8 ("\udce9", a lone surrogate, which no file in UTF-8 can
    hold). Names with them could forge a line of a log, or end a run that writes one.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)


def shortened(value, most=60):
    """Return the repr of a value, cut off after so many characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def printable_lines(text, kept=_LINES):
    """Return :func:`printable` of a text, except what ``kept`` matches: line ends and tabs."""
    parts = kept.split(text)
    return "".join(x if i % 2 else printable(x) for i, x in enumerate(parts))


class PrintableMessages(logging.Filter):
    """Escapes the messages of a handler, whatever wrote them, except line ends and colours."""

    def filter(self, record):
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # the handler reports arguments that do not fit
            return True
        clean = printable_lines(text, _ALLOWED)
        if clean != text:
            record.msg, record.args = clean, None
        return True
