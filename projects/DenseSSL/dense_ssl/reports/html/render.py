"""A report as one HTML file: template, style, script and the chart library inside it."""

import base64
import dataclasses
import functools
import gzip
import json
import secrets

from ...utils.printable import printable_lines

try:
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs
except ImportError as error:
    raise ImportError(
        "The report needs jinja2 and plotly: pip install jinja2 plotly. Or set LOG.REPORT False."
    ) from error

# Of the compression of plotly.js, 4.8 MB: 9 takes three times as long for 1 % less.
_LEVEL = 6


def render(report):
    """Return a :class:`~.model.Report` as the text of an HTML file.

    Every text is escaped, and the file's own policy (Content-Security-Policy) lets no other script
    run and nothing be loaded.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    environment.filters["data"] = _data
    source = environment.loader.get_source
    return environment.get_template("report.html").render(
        report=report,
        style=Markup(source(environment, "report.css")[0]),
        script=Markup(source(environment, "report.js")[0]),
        plotly=Markup(_plotly()),
        nonce=secrets.token_hex(16),
    )


def _printable(value):
    return printable_lines(value) if type(value) is str else value


def _data(value):
    """Return a dataclass as json for a script element: nothing in it can end the element."""
    text = json.dumps(dataclasses.asdict(value), separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


@functools.cache
def _plotly():
    """Return plotly.js, gzipped, in base64: 2 MB instead of 4.8 in every report."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), _LEVEL)).decode()
