"""The accuracies of classifiers on fixed features, by level and by backbone."""

import numpy as np
from matplotlib.figure import Figure


def draw_scores(results, panels):
    """Draw a panel for each number: bars for one level, lines over several.

    Args:
        results: {backbone: {level: {number: value}}}; "interval" is half of the one of "accuracy".
        panels: {number: title}.

    Returns:
        matplotlib Figure.
    """
    levels = list(dict.fromkeys(x for found in results.values() for x in found))
    figure = Figure(figsize=(4.8 * len(panels), 3.6), layout="constrained")
    for axis, (key, title) in zip(
        figure.subplots(1, len(panels), squeeze=False).flat, panels.items()
    ):
        axis.set_title(title, fontsize=10)
        if len(levels) == 1:
            _draw_bars(axis, {name: x[levels[0]] for name, x in results.items()}, key)
            axis.set_xlabel(levels[0])
        else:
            for name, found in results.items():
                style = {"color": "0.5", "ls": "--"} if name == "random" else {}
                values = [x[key] for x in found.values()]
                axis.plot(list(found), values, marker="o", label=name, **style)
            axis.legend(fontsize="small")
        axis.grid(alpha=0.3, axis="y")
    return figure


def _draw_bars(axis, found, key):
    values = [x[key] for x in found.values()]
    halves = [x.get("interval", 0) for x in found.values()]
    colours = ["0.6" if name == "random" else "C0" for name in found]
    places = np.arange(len(found))
    axis.bar(places, values, color=colours, yerr=halves if any(halves) else None, capsize=3)
    for x, y, half in zip(places, values, halves):
        axis.annotate(f"{y:.1f}", (x, y + half), (0, 2), textcoords="offset points", ha="center",
                      fontsize=8)  # fmt: skip
    axis.set_xticks(places, list(found))
    axis.margins(y=0.12)
