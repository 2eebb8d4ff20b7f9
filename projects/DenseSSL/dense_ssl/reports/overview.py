"""One figure of the whole way: a photo, two views with matched boxes, what detectors find."""

import matplotlib
import torch
from matplotlib import colormaps
from matplotlib.patches import Rectangle

from ..data.image_io import read_image
from ..data.views.mapper import MultiViewMapper
from ..modeling.geometry.boxes import pairwise_iou, sample_boxes, shared_region
from ..structures import Views
from ..visualization.objects import draw_instances

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

NUM_BOXES, MAX_IOU = 3, 0.02
DRAWN = 300
TRIES = 100


def draw_overview(cfg, filename, found, labels, path):
    """Draw a row: the photo with its crops, the views with three boxes, then each detector.

    Args:
        cfg: of a pre-training, whose crops, flips and colours are taken.
        filename: of the photo.
        found: {title: detectron2 Instances on the photo}.
        labels: fields of detectron2's metadata, of :func:`.objects.draw_instances`.
        path: PNG file to write.
    """
    image = read_image(filename)
    views, boxes = choose_views(cfg, filename)
    count = 3 + len(found)
    figure, axes = plt.subplots(1, count, figsize=(3.1 * count, 3.5), layout="constrained")
    for axis in axes:
        axis.set_axis_off()
    axes[0].set_title("a photo without labels")
    axes[0].imshow(image)
    for name, view, line in zip("AB", views, ("-", "--")):
        _outline(axes[0], view.footprint()[0].tolist(), "white", name, line)
    for axis, name, view in zip(axes[1:], "AB", views):
        axis.set_title(f"view {name}")
        axis.imshow(view.images[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
        for k, box in enumerate(view.boxes_to_view(boxes[None])[0].tolist()):
            _outline(axis, box, colormaps["tab10"].colors[k], str(k + 1))
    for axis, (title, instances) in zip(axes[3:], found.items()):
        axis.set_title(title)
        axis.imshow(draw_instances(image, instances, labels))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def choose_views(cfg, filename):
    """Return two views of a photo and (K, 4) boxes of image pixels that lie in both.

    Of many draws, one with boxes that hardly overlap, two coloured views and one of them flipped.
    """
    mapper = MultiViewMapper(cfg, color_on_device=False)
    best, chosen = -1.0, None
    for seed in range(TRIES):
        sample = mapper({"file_name": str(filename)}, seed)
        first, second = (_as_views(x, sample["seed"], mapper) for x in sample["views"][:2])
        region, smallest, usable = shared_region(first, second, min(first.size) / 5)
        boxes = _apart(sample_boxes(region, smallest, first.seeds, DRAWN, "uniform", 1.0, 1)[0])
        flipped = (first.scale * second.scale)[0, 0] < 0
        coloured = min(float(x.images.std(dim=1).mean()) for x in (first, second)) > 10
        value = len(boxes) + 0.5 * flipped + 0.5 * coloured + _share(boxes[-1], region[0])
        value = float(value) if usable[0] else 0.0
        if value > best:
            best, chosen = value, ((first, second), boxes)
    return chosen


def _apart(boxes):
    """Return the largest boxes, at most NUM_BOXES, that hardly overlap."""
    order = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).argsort(descending=True)
    taken = boxes[order[3 * len(order) // 4 :][:1]]  # a small one, to leave room for others
    for box in boxes[order]:
        if len(taken) < NUM_BOXES and pairwise_iou(box[None, None], taken[None]).max() <= MAX_IOU:
            taken = torch.cat([taken, box[None]])
    return taken


def _share(box, region):
    return float((box[2:] - box[:2]).prod() / (region[2:] - region[:2]).prod().clamp(min=1e-6))


def _as_views(view, seed, mapper):
    pixels = view["image"].flip(0) if mapper.image_format == "BGR" else view["image"]
    affine = torch.as_tensor(view["affine"]).float()[None]
    return Views(pixels[None].float(), affine, torch.tensor([seed]))


def _outline(axis, box, colour, text, line="-"):
    x1, y1, x2, y2 = box
    # matplotlib's pixel k is centred on k, ours covers [k, k + 1]
    corner = (x1 - 0.5, y1 - 0.5)
    axis.add_patch(
        Rectangle(corner, x2 - x1, y2 - y1, fill=False, edgecolor=colour, lw=2.2, ls=line)
    )
    ink = "black" if colour == "white" else "white"
    axis.annotate(text, corner, (3, -3), textcoords="offset points", color=ink, va="top",
                  weight="bold", bbox={"fc": colour, "ec": "none", "pad": 2})  # fmt: skip
