"""Reading the metrics.json of a run."""

import json
import logging

logger = logging.getLogger(__name__)


def read_records(path):
    """The records of a metrics.json, in their order.

    A run that was killed while it wrote leaves half a line, to which the resumed run may append;
    such a line is skipped with a warning.

    Args:
        path: file with one json per line.

    Yields:
        {name: value}, with "iteration" among the names. Values may be NaN.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                record["iteration"]
            except (ValueError, TypeError, KeyError):
                logger.warning("%s: line %d is not a whole record, skipped", path, number)
                continue
            yield record
