"""The best of a small grid: one value of a key for each backbone, chosen on the first seed."""

import math
from dataclasses import replace

from .comparison import METRICS


class Grid:
    """Runs of protocols and of their variants by one key.

    The value is chosen for each protocol and backbone by the first seed. The other seeds are only
    trained with that value, beside the protocol's own.
    """

    def __init__(self, runs):
        """
        Args:
            runs: list of ``Run``; without variants there is nothing to choose.
        """
        self.runs = runs
        self.variants = {}  # (protocol, key): runs of the variants
        for run in runs:
            if run.variant:
                base, key, _ = run.variant
                self.variants.setdefault((base, key), []).append(run)
        # only the first seed has every value
        counts = {x.seed: 0 for x in runs}
        for run in runs:
            counts[run.seed] += bool(run.variant)
        self.first_seed = max(counts, key=counts.get, default=None)

    def is_needed(self, run):
        """Return False if the value of a variant was not chosen, after the first seed."""
        if not run.variant or run.seed == self.first_seed:
            return True
        base, key, value = run.variant
        chosen = self.choose(base, key, run.backbone)
        return chosen is not None and chosen.variant == (base, key, value)

    def choose(self, base, key, backbone):
        """Return the run of the first seed with the highest score, None before the grid is done."""
        candidates = [x for x in self._cells(base, key) if x.backbone == backbone]
        candidates = [x for x in candidates if x.seed == self.first_seed]
        scores = [_score(x) for x in candidates]
        if not scores or None in scores:
            return None
        return max(zip(candidates, scores), key=lambda x: x[1])[0]

    def best(self):
        """Return (runs of protocols "NAME, best KEY", notes that say which value is whose)."""
        runs, notes = [], []
        for base, key in self.variants:
            cells, values = self._cells(base, key), []
            if not self._is_complete(cells):
                continue
            for backbone in dict.fromkeys(x.backbone for x in cells):
                chosen = self.choose(base, key, backbone)
                if chosen is None:
                    continue
                values.append(f"{backbone} {_value(chosen, key)}{self._edge(chosen, key, cells)}")
                runs += [
                    replace(x, protocol=f"{base}, best {key}")
                    for x in cells
                    if x.backbone == backbone and x.protocol == chosen.protocol
                ]
            if values:
                notes.append(
                    f"{base}, best {key}: {', '.join(values)}; chosen for each backbone on seed "
                    f"{self.first_seed}, which is one of the seeds of the table"
                )
        return runs, notes

    def _cells(self, base, key):
        return [x for x in self.runs if x.protocol == base] + self.variants[base, key]

    def _is_complete(self, cells):
        """Return True if all backbones have the same values on the first seed."""
        found = {}
        for run in cells:
            found.setdefault(run.backbone, set())
            if run.seed == self.first_seed:
                found[run.backbone].add(run.protocol)
        return len(set(map(frozenset, found.values()))) == 1

    def _edge(self, chosen, key, cells):
        """Say that a value is the smallest or the largest, so that a better one may lie beyond."""
        values = [_value(x, key) for x in cells if x.backbone == chosen.backbone]
        if not all(isinstance(x, (int, float)) for x in values):
            return ""
        return " (end of the grid)" if _value(chosen, key) in (min(values), max(values)) else ""


def _value(run, key):
    return run.settings[key]


def _score(run):
    """Return the first of METRICS that a run has, or its first one; None if it is not done.

    NaN counts as the lowest score.
    """
    results = run.results()
    if results is None:
        return None
    metrics, _ = results
    names = [x for metric in METRICS for x in metrics if x == metric or x.endswith(f"/{metric}")]
    score = metrics[(names or list(metrics))[0]]
    return -math.inf if math.isnan(score) else score
