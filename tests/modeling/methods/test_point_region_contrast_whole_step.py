"""The whole step of point-level region contrast against loops over its equations.

Photos go through the mapper; the loops start at the recorded crops and flips, the label maps and
the maps of the backbones, and end at the losses and the gradients of the maps.
"""

import cv2
import numpy as np
import pytest
import torch
from oracles import read
from torch.nn import functional as F
from whole_step import COUNT, record_step

from dense_ssl.modeling.geometry import region_sampling

CELLS, GRID, STRIDE, ALPHA, BETA, NONE = 16, 3, 16, 0.4, 0.7, 255
OPTIONS = (
    "MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.PLRC.IN_FEATURE", "res4",
    "MODEL.MOCO.IN_FEATURE", "res4", "MODEL.PLRC.RESOLUTION", CELLS, "MODEL.PLRC.GRID", GRID,
    "INPUT.REGIONS.RESOLUTION", CELLS, "MODEL.PLRC.ALPHA", ALPHA, "MODEL.PLRC.BETA", BETA,
    "INPUT.VIEWS.CROP_SCALE", ((0.1, 0.6),),
)  # fmt: skip

VARIANTS = [
    {},
    {"PAIRED_POINTS": True},
    {"SOURCE": "files"},
    {"SOURCE": "files", "PAIRED_POINTS": True, "STRATEGY": 3},
    {"NEGATIVES": "image"},
    {"NEGATIVES": "image", "EXCLUDE_SELF": True, "STRATEGY": 2},
    {"STRATEGY": 2},
    {"STRATEGY": 3},
    {"STRATEGY": 3, "PAIRED_POINTS": True},
    {"EXCLUDE_SELF": True},
    {"SHARED_HEAD": True},
    {"SHARED_HEAD": True, "STRATEGY": 3, "SOURCE": "files"},
    {"LEVEL": "region"},
    {"LEVEL": "region", "PAIRED_POINTS": True},
    {"LEVEL": "region", "SOURCE": "files", "STRATEGY": 3, "NEGATIVES": "image"},
    {"ALPHA": 1.0},
    {"ALPHA": 0.0},
]


@pytest.fixture
def photos(image_folder):
    return sorted(image_folder.glob("*.jpg"))[:COUNT]


@pytest.fixture
def label_maps(photos, tmp_path):
    """A label map of each photo: coarse blobs of three labels, and of none."""
    rng, maps = np.random.default_rng(1), []
    for path in photos:
        height, width = cv2.imread(str(path)).shape[:2]
        coarse = rng.choice(np.array([0, 2, 5, NONE], np.uint8), (3, 4))
        maps.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST))
        cv2.imwrite(str(tmp_path / f"{path.stem}.png"), maps[-1])
    return maps


class Image:
    """One image in two views: its regions, as the recorded crops and flips show them."""

    def __init__(self, views, size, labels):
        self.views, self.size, self.labels = views, size, labels
        shown = [{}, {}]  # region -> centres of its cells, row by row, in view pixels
        shared = [{}, {}]  # the same, where the other view shows them too
        for v, view in enumerate(views):
            other, step = views[1 - v], view.side / CELLS
            for row in range(CELLS):
                for column in range(CELLS):
                    place = (column + 0.5) * step, (row + 0.5) * step
                    region = self.region(*view.to_image(*place))
                    if region is not None:
                        shown[v].setdefault(region, []).append(place)
                        if other.shows(*view.to_image(*place)):
                            shared[v].setdefault(region, []).append(place)
        self.shown, self.shared = shown, shared

    def region(self, x, y):
        """The region at a place of the image."""
        if self.labels is not None:
            label = int(self.labels[int(y), int(x)])
            return None if label == NONE else label
        width, height = self.size
        return GRID * int(y * GRID / height) + int(x * GRID / width)


class Drawn:
    """The regions and points of the images, from the numbers that were drawn for them.

    ``regions[image]``: a list; ``points`` and ``pairs``: for each image a list of (region, place in
    the first view, place in the second).
    """

    def __init__(self, images, numbers, paired):
        self.regions, self.points, self.pairs = [], [], []
        self.cells = "shared" if paired else "shown"  # of Image
        for i, image in enumerate(images):
            cells = getattr(image, self.cells)
            both = sorted(set(cells[0]) & set(cells[1]))
            drawn = [choose(both, x) for x in numbers[0][i]] if both else []
            self.regions.append(drawn)
            if paired:
                self.points.append(self._pairs(image, drawn, numbers[1][i]))
                self.pairs.append(self.points[-1])
                continue
            first, second = numbers[1][i], numbers[2][i]
            self.points.append(
                [
                    (region, choose(cells[0][region], a), choose(cells[1][region], b))
                    for k, region in enumerate(drawn)
                    for a, b in zip(first[k], second[k])
                ]
            )
            self.pairs.append(self._pairs(image, drawn, numbers[3][i]) if len(numbers) > 3 else [])

    @staticmethod
    def _pairs(image, drawn, numbers):
        pairs = []
        for k, region in enumerate(drawn):
            if region not in image.shared[0] or region not in image.shared[1]:
                continue
            for number in numbers[k]:
                here = choose(image.shared[0][region], number)
                there = image.views[1].to_view(*image.views[0].to_image(*here))
                pairs.append((region, here, there))
        return pairs


def choose(options, number):
    return options[int(float(number) * len(options))]


def project(head, feature_map):
    """The head on each cell: (C, h, w) -> (D, h, w)."""
    rows = [
        torch.stack([head(feature_map[None, :, y, x])[0] for x in range(feature_map.shape[2])], 1)
        for y in range(feature_map.shape[1])
    ]
    return torch.stack(rows, 1)


def vector_at(dense, place):
    x, y = (z / STRIDE - 0.5 for z in place)
    return F.normalize(read(dense, y, x), dim=0)


def vectors(level, images, drawn, points, dense, view):
    """For each image a list of (region, vector) of one view."""
    if level == "point":
        return [
            [(p[0], vector_at(dense[i], p[1 + view])) for p in points[i]]
            for i in range(len(images))
        ]
    result = []
    for i, image in enumerate(images):
        where = getattr(image, drawn.cells)[view]
        result.append([])
        for region in drawn.regions[i]:
            values = [read(dense[i], y / STRIDE - 0.5, x / STRIDE - 0.5) for x, y in where[region]]
            result[-1].append((region, F.normalize(sum(values) / len(values), dim=0)))
    return result


def similarities(vector, others, temperature):
    return torch.stack([(vector @ x).exp() for x in [y / temperature for y in others]])


def literal_contrast(query, key, negatives):
    """Eq. 2."""
    losses = []
    for image, rows in enumerate(query):
        images = [image] if negatives == "image" else range(len(key))
        candidates = [(i, region, x) for i in images for region, x in key[i]]
        for region, anchor in rows:
            affinity = similarities(anchor, [x for _, _, x in candidates], 0.2)
            same = [j for j, x in enumerate(candidates) if x[:2] == (image, region)]
            losses.append(sum(-(affinity[j] / affinity.sum()).log() for j in same) / len(same))
    return sum(losses) / len(losses)


def literal_affinity(query, key, teacher, strategy, negatives, exclude_self):
    """Eq. 4 by the strategies of section 4.5.2."""
    sides = {  # teacher: point i, points k; student: points k
        1: (key, key, key), 2: (query, key, query), 3: (teacher, teacher, query),
    }[strategy]  # fmt: skip
    losses = []
    for image, rows in enumerate(query):
        images = [image] if negatives == "image" else range(len(query))
        others = [(i, k) for i in images for k in range(len(query[i]))]
        for p, (_, anchor) in enumerate(rows):
            keep = [x for x in others if not exclude_self or x != (image, p)]
            if not keep:
                losses.append(torch.zeros(()))
                continue
            taught = similarities(sides[0][image][p][1], [sides[1][i][k][1] for i, k in keep], 0.07)
            found = similarities(anchor, [sides[2][i][k][1] for i, k in keep], 0.1)
            losses.append(-((taught / taught.sum()).detach() * (found / found.sum()).log()).sum())
    return sum(losses) / len(losses)


def literal_image_loss(moco, query, key, pool_after_head):
    """Eq. 1."""
    losses = []
    for q, k in zip(query, key):
        heads = (moco.projector, moco.target_projector)
        if pool_after_head:
            a, b = (project(head, x).mean(dim=(1, 2)) for head, x in zip(heads, (q, k)))
        else:
            a, b = (head(x.mean(dim=(1, 2))[None])[0] for head, x in zip(heads, (q, k)))
        a, b = F.normalize(a, dim=0), F.normalize(b.detach(), dim=0)
        queue = [F.normalize(x.double(), dim=0) for x in moco.contrast.bank.keys]
        affinity = similarities(a, [b, *queue], 0.2)
        losses.append(-(affinity[0] / affinity.sum()).log())
    return sum(losses) / len(losses)


def literal_step(step, variant, images, drawn, query_maps):
    """The losses of Eq. 6 as a dict."""
    get = {"LEVEL": "point", "NEGATIVES": "batch", "STRATEGY": 1, "ALPHA": ALPHA,
           "EXCLUDE_SELF": False, "SHARED_HEAD": False, **variant}.get  # fmt: skip
    points, moco = (step.model.objectives[f"{x}Objective"] for x in ("PointRegion", "MoCo"))
    with torch.no_grad():
        keys = [project(points.target_projector, x) for x in step.target[1]["res4"]]
        if get("STRATEGY") == 3:
            extra = [project(points.target_projector, x) for x in step.target[0]["res4"]]
    queries = [project(points.projector, x) for x in query_maps]
    losses, alpha, level = {}, get("ALPHA"), get("LEVEL")
    if alpha > 0:
        a, b = (vectors(level, images, drawn, drawn.points, x, v)
                for v, x in enumerate((queries, keys)))  # fmt: skip
        losses["loss_point_contrast"] = BETA * alpha * literal_contrast(a, b, get("NEGATIVES"))
    if alpha < 1:
        a, b = (vectors(level, images, drawn, drawn.pairs, x, v)
                for v, x in enumerate((queries, keys)))  # fmt: skip
        teacher = None
        if get("STRATEGY") == 3:
            teacher = vectors(level, images, drawn, drawn.pairs, extra, 0)
        affinity = literal_affinity(
            a, b, teacher, get("STRATEGY"), get("NEGATIVES"), get("EXCLUDE_SELF")
        )
        losses["loss_point_affinity"] = BETA * (1 - alpha) * affinity
    image_loss = literal_image_loss(moco, query_maps, step.target[1]["res4"], get("SHARED_HEAD"))
    return {**losses, "loss_moco": (1 - BETA) * image_loss}


def options_of(variant, folder):
    pairs = list(OPTIONS)
    for key, value in variant.items():
        if key == "SOURCE":
            pairs += ["INPUT.REGIONS.SOURCE", value, "INPUT.REGIONS.FOLDER", str(folder)]
        else:
            pairs += [f"MODEL.PLRC.{key}", value]
    if variant.get("SHARED_HEAD"):
        pairs += ["MODEL.MOCO.POOL_AFTER_HEAD", True]
    return pairs


def step_of(variant, monkeypatch, photos, label_maps, tmp_path):
    """The recorded step, its images and what was drawn."""
    step = record_step(
        monkeypatch, photos, "PointRegionContrast", *options_of(variant, tmp_path),
        draws=((region_sampling, "uniform"),), seed=20 if "SOURCE" in variant else 21,
    )  # fmt: skip
    labels = label_maps if "SOURCE" in variant else [None] * COUNT
    images = [
        Image([shown[i] for shown in step.shown[:2]], cv2.imread(str(x)).shape[1::-1], labels[i])
        for i, x in enumerate(photos)
    ]
    return step, images, Drawn(images, step.drawn, variant.get("PAIRED_POINTS", False))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_step_agrees_with_the_equations(variant, monkeypatch, photos, label_maps, tmp_path):
    step, images, drawn = step_of(variant, monkeypatch, photos, label_maps, tmp_path)
    query_maps = step.online[0]["res4"].detach().requires_grad_()
    expected = literal_step(step, variant, images, drawn, query_maps)
    assert step.losses.keys() == expected.keys()
    for name, loss in expected.items():
        assert step.losses[name].item() == pytest.approx(loss.item(), abs=1e-10), name
    sum(expected.values()).backward()
    assert torch.allclose(step.online[0]["res4"].grad, query_maps.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("source", ["grid", "files"])
def test_the_steps_hold_the_hard_cases(source, monkeypatch, photos, label_maps, tmp_path):
    variant = {} if source == "grid" else {"SOURCE": source}
    step, images, drawn = step_of(variant, monkeypatch, photos, label_maps, tmp_path)
    flips = {tuple(view.flip for view in image.views) for image in images}
    assert {(True, False), (False, True), (False, False)} <= flips
    counts = [(len(a), len(b)) for a, b in zip(drawn.points, drawn.pairs)]
    assert (12, 12) in counts and (12, 0) in counts  # the latter: disjoint views of one region
    assert any(0 < b < a for a, b in counts)  # no common place in some of the regions
    assert source != "grid" or (0, 0) in counts  # no region in both views
    numbers = step.drawn
    assert len(numbers) == 4  # regions, points of each view, pairs
    assert all((numbers[i] != numbers[j]).all() for i in range(1, 4) for j in range(1, i))
