"""What a report shows, as plain data. Texts are as they were read; the template escapes them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Curve:
    """A metric of a run over iterations.

    Attributes:
        run: its place among the runs of its group, which gives its colour.
        metric: name. label: what the legend says.
        x: iterations. y: values; None where a value was not finite.
    """

    run: int
    metric: str
    label: str
    x: list
    y: list


@dataclass
class Panel:
    """A chart of curves. ``note`` says how to read it."""

    title: str
    note: str
    curves: list


@dataclass
class Group:
    """Runs of one kind, which share charts.

    Attributes:
        title: kind. runs: names.
        panels: list of :class:`Panel`. more: those that are closed at first.
        note: text.
    """

    title: str
    runs: list
    panels: list
    more: list
    note: str = ""


@dataclass
class Cell:
    """A cell of a table: its text, and what it is sorted by (a number, a text or None)."""

    text: str
    sort: Any = None
    strong: bool = False


@dataclass
class Table:
    """A sortable table.

    Attributes:
        title, note: texts.
        columns: names. rows: lists of :class:`Cell`, the first of them names the row.
    """

    title: str
    columns: list
    rows: list
    note: str = ""


@dataclass
class Picture:
    """A picture as a data URI, with a caption and its size in pixels (0: not known)."""

    caption: str
    source: str
    width: int = 0
    height: int = 0


@dataclass
class Gallery:
    """Pictures that belong together, the tables beside them, and those that are closed at first."""

    title: str
    pictures: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    more: list = field(default_factory=list)
    note: str = ""


@dataclass
class Interval:
    """A row of a comparison chart: mean, its interval (None without one), values by seed."""

    name: str
    mean: float
    low: Any
    high: Any
    values: list


@dataclass
class IntervalChart:
    """Backbones by one score; ``base`` is the mean of the reference, None without."""

    title: str
    reference: str
    base: Any
    rows: list


@dataclass
class BarChart:
    """``rows`` are {"name", "values": {metric: value}}."""

    title: str
    rows: list


@dataclass
class Comparison:
    """A comparison of backbones: charts, tables and notes."""

    title: str
    charts: list
    tables: list
    legend: str
    notes: list


@dataclass
class Run:
    """A run.

    Attributes:
        name: unique within the report. folder: path.
        is_pretraining: kind.
        config: {key: value}, flat. record: see :mod:`~dense_ssl.reports.run_record`.
        metrics: {name: (iterations, values)}.
        iteration: iterations that are done. length: SOLVER.MAX_ITER.
        state: "done", "running" or "stopped".
        scores: {name: value} of its last evaluation.
    """

    name: str
    folder: Any
    is_pretraining: bool
    config: dict
    record: dict
    metrics: dict
    iteration: int
    length: int
    state: str
    scores: dict


@dataclass
class Details:
    """How a run was made: (label, text) pairs, commands, and warnings of its log."""

    run: str
    data: list
    environment: list
    commands: list
    warnings: list
    objects: Any = None


@dataclass
class DataSets:
    """Checks of data: tables, and (data set, what is odd, whether it is an error)."""

    tables: list
    odd: list


@dataclass
class Report:
    """The whole page.

    Attributes:
        title, written: texts.
        facts: (label, value, unit) of a single run.
        overview: table of all runs.
        results: tables of detectors. result_chart: :class:`BarChart`, None without.
        groups: see :class:`Group`. settings: tables of config keys.
        data: :class:`DataSets`, None without checks.
    """

    title: str
    written: str
    facts: list
    overview: Table
    results: list
    result_chart: Any
    comparisons: list
    groups: list
    galleries: list
    analyses: list
    settings: list
    details: list
    notes: list
    data: Any = None
