"""Maps of what is similar to a point, as PLRC's Fig. 3 to 5."""

from matplotlib.figure import Figure


def draw_point_affinity(examples):
    """Draw images with a point, and for each backbone the cosine with it: bright is similar.

    Args:
        examples: {name: list of (image, point as shares of width and height, map (h, w), Jaccard
            index of the object or None)}, of the same points for all.

    Returns:
        matplotlib Figure: a row for each point.
    """
    first = next(iter(examples.values()))
    columns = 1 + len(examples)
    figure = Figure(figsize=(2.2 * columns, 1.9 * len(first)), layout="constrained")
    axes = figure.subplots(len(first), columns, squeeze=False)
    for row, (image, point, *_) in enumerate(first):
        _show(axes[row, 0], image, point, image.shape[:2])
        for axis, others in zip(axes[row, 1:], examples.values()):
            _, _, values, score = others[row]
            _show(axis, values, point, image.shape[:2], cmap="viridis")
            if score is not None:
                axis.set_xlabel(f"Jaccard {100 * score:.0f}", fontsize=8)
    for axis, title in zip(axes[0], ["point", *examples]):
        axis.set_title(title, fontsize=9)
    return figure


def _show(axis, pixels, point, size, **style):
    height, width = size
    axis.imshow(pixels, extent=(0, width, height, 0), **style)
    axis.plot(point[0] * width, point[1] * height, "o", ms=7, mfc="none", mec="red", mew=1.5)
    axis.set_xticks([])
    axis.set_yticks([])
