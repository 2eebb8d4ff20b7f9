"""Similarity of boxes to an object against their IoU with it, as DUPR's Fig. 5."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

_SHOWN = 4  # boxes on the example


def draw_sensitivity(curves, examples):
    """Draw an image with some boxes, and the curve of each backbone.

    Args:
        curves: {name: result of :func:`~dense_ssl.analysis.sensitivity.summarise`}.
        examples: {name: (image, box, rois, IoUs, similarities)}, of the same image for all.

    Returns:
        matplotlib Figure.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    image, box, rois, ious, _ = next(iter(examples.values()))
    left.imshow(image)
    left.set_axis_off()
    chosen = [np.abs(ious - x).argmin() for x in np.linspace(0.15, 0.9, _SHOWN)]
    for i in dict.fromkeys(chosen):
        outline(left, rois[i], "tab:blue", f"{ious[i]:.2f}")
    outline(left, box, "red")
    left.set_title("object (red) and boxes, with their IoU", fontsize=10)
    for name, curve in curves.items():
        filled = [i for i, count in enumerate(curve["count"]) if count]
        x, y, std, count = (
            np.array([curve[key][i] for i in filled])
            for key in ("iou", "similarity", "std", "count")
        )
        error = 1.96 * std / np.sqrt(count)
        style = {"color": "0.5", "ls": "--"} if name == "random" else {"ls": "-"}
        (line,) = right.plot(x, y, marker="o", ms=3.5, label=name, **style)
        right.fill_between(x, y - error, y + error, color=line.get_color(), alpha=0.15, lw=0)
    right.axvspan(0.5, 1, color="tab:green", alpha=0.05, zorder=0)
    right.axvspan(0, 0.3, color="tab:red", alpha=0.05, zorder=0)
    right.set_xlim(0, 1)
    right.set_xlabel("IoU with the object")
    right.set_ylabel("mean cosine of the cells")
    right.grid(alpha=0.3)
    right.legend(fontsize="small")
    return figure


def outline(axis, box, colour, text=""):
    """Draw a box (x1, y1, x2, y2) in pixels of the image that the axis shows."""
    x1, y1, x2, y2 = box
    # matplotlib's pixel k is centred on k, ours covers [k, k + 1]
    corner = (x1 - 0.5, y1 - 0.5)
    axis.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, edgecolor=colour, lw=1.8))
    if text:
        axis.annotate(text, corner, (2, -2), textcoords="offset points", color="white", va="top",
                      fontsize=8, bbox={"fc": colour, "ec": "none", "pad": 1})  # fmt: skip
