"""The health of features: spectra of every level, and their numbers over the levels."""

from matplotlib.figure import Figure

_COLUMNS = 4
_NUMBERS = (
    ("rank", "effective rank of images"),
    ("cell_rank", "effective rank of cells"),
    ("spread", "spread (0: collapse)"),
    ("alignment", "alignment (0: views are equal)"),
    ("uniformity", "uniformity (lower: more even)"),
)


def draw_health(backbones):
    """Draw the spectrum of each level, then the numbers over the levels.

    Args:
        backbones: {name: {level: result of
            :func:`~dense_ssl.analysis.feature_health.level_health`}}.

    Returns:
        matplotlib Figure.
    """
    levels = list(dict.fromkeys(x for found in backbones.values() for x in found))
    count = len(levels) + len(_NUMBERS)
    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 2.9 * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axis, level in zip(axes, levels):
        for name, found in backbones.items():
            if level in found:
                values = found[level]["spectrum"][: found[level]["most"]]
                axis.plot(range(1, len(values) + 1), values, label=name, **_style(name))
        axis.set(yscale="log", ylim=(1e-4, 1.3), xlabel="singular value, over the largest")
        axis.set_title(f"{level}: spectrum of images", fontsize=10)
    for axis, (key, title) in zip(axes[len(levels) :], _NUMBERS):
        for name, found in backbones.items():
            values = [x[key] for x in found.values()]
            axis.plot(list(found), values, marker="o", ms=4, label=name, **_style(name))
        axis.set_title(title, fontsize=10)
        axis.margins(x=0.1)
    for axis in axes[count:]:
        axis.remove()
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    return figure


def _style(name):
    return {"color": "0.5", "ls": "--"} if name == "random" else {"ls": "-"}
