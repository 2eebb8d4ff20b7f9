"""The whole step of SCRL and of its boxes with negatives, with loops for everything drawn as well.

The loops get the crops and flips that were rendered, the maps of the encoders and the uniform
random numbers; they end at the losses and the gradients of the maps.
"""

from functools import partial

import literal_methods as literal
import pytest
import torch
from literal_boxes import draw_boxes, grid_box
from test_whole_step import check
from torch.nn import functional as F
from whole_step import COUNT, record_step, shared_part

from dense_ssl.modeling import passes as passes_module
from dense_ssl.modeling.geometry import boxes as box_ops

PIXELS, K = 16, 4  # of the tiny config
RES4 = ("MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"], "MODEL.SCRL.IN_FEATURE", "res4")
NUMBERS = ((box_ops, "uniform"),)
JOINED = ("MODEL.SSL.CONCATENATE_VIEWS", True)
SAME = ("INPUT.VIEWS.CROP", ("random", "same"))

# keys of MODEL.SCRL, arguments of the boxes, arguments of the loss, other yacs pairs
VARIANTS = {
    "uniform": ({}, {}, {}, ()),
    "grid": ({"BOX_SAMPLING": "grid"}, {"draw": grid_box}, {}, ()),
    "no rejection": ({"IOU_THRESHOLD": 1.0}, {"threshold": 1.0}, {}, ()),
    "little overlap": ({"IOU_THRESHOLD": 0.1, "MAX_TRIES": 5}, {"threshold": 0.1}, {}, ()),
    "jitter": ({"BOX_JITTER": 0.2}, {"jitter": 0.2}, {}, ()),
    "jitter of view 1": (
        {"BOX_JITTER": 0.2, "BOX_JITTER_VIEWS": (0,)}, {"jitter": 0.2, "jitter_views": (0,)}, {},
        ()),
    "jitter of view 2": (
        {"BOX_JITTER": 0.1, "BOX_JITTER_VIEWS": (1,)}, {"jitter": 0.1, "jitter_views": (1,)}, {},
        JOINED),
    "unrelated": ({"BOX_JITTER": -1.0}, {"jitter": -1.0}, {}, ()),
    "unaligned": ({"ALIGNED": False}, {}, {"aligned": False}, ()),
    "the authors' code": (
        {"ALIGNED": False, "BOX_SAMPLING": "grid"}, {"draw": grid_box}, {"aligned": False},
        JOINED),
    "same crop": ({}, {}, {}, SAME),
    "same crop, unaligned": ({"ALIGNED": False}, {}, {"aligned": False}, SAME),
}  # fmt: skip


@pytest.fixture
def files(image_folder):
    return sorted(image_folder.glob("*.jpg"))[:COUNT]


def record(monkeypatch, files, method, keys, *options):
    pairs = [x for key, value in keys.items() for x in (f"MODEL.SCRL.{key}", value)]
    return record_step(monkeypatch, files, method, *RES4, *pairs, *options, draws=NUMBERS)


def with_boxes(loop, arguments):
    """A loop that draws its boxes from the recorded numbers."""

    def run(made, shown, online, target, numbers):
        boxes = draw_boxes(shown, numbers, PIXELS, **arguments)
        return loop(made, shown, online, target, boxes)

    return run


def require_variety(step, same=False):
    """Flips of all kinds, and pairs of views without overlap or, of the same crop, with all."""
    pairs = list(zip(*step.shown[:2]))
    assert {(a.flip, b.flip) for a, b in pairs} >= {(False, False), (False, True), (True, True)}
    parts = [shared_part(*pair) for pair in pairs]
    assert any(x2 <= x1 or y2 <= y1 for x1, y1, x2, y2 in parts) != same
    assert all(a.crop == b.crop for a, b in pairs) == same


@pytest.mark.parametrize("name", VARIANTS)
def test_scrl(name, files, monkeypatch):
    keys, of_boxes, of_loss, options = VARIANTS[name]
    step = record(monkeypatch, files, "SCRL", keys, *options)
    require_variety(step, same=options == SAME)
    loop = partial(literal.scrl, **of_loss, joined=options == JOINED)
    check(step, {"SCRLObjective": with_boxes(loop, of_boxes)})


def mlp(head, rows):
    """Linear, batch norm over all rows, ReLU, linear: by hand."""
    x = rows @ head.hidden.weight.T + head.hidden.bias
    x = (x - x.mean(dim=0)) / (x.var(dim=0, unbiased=False) + head.norm.eps).sqrt()
    x = (x * head.norm.weight + head.norm.bias).clamp(min=0)
    return x @ head.output.weight.T


def authors_scrl(made, shown, online, target, boxes, heads_per_view=False):
    """The authors' form: views joined to 2N images, their boxes with indices n and n + N."""
    count, name = len(shown[0]), made.in_feature
    indices = [n for n in range(2 * count) for _ in range(K)]
    every_view = [*shown[0], *shown[1]]
    every_box = [
        every_view[n].box(*box) for n, box in zip(indices, torch.cat(boxes).flatten(0, 1).tolist())
    ]
    outputs = []
    for maps, heads in (
        (online, (made.projector, made.predictor)),
        (target, (made.target_projector,)),
    ):
        joined = torch.cat([maps[0][name], maps[1][name]])  # (2N, C, h, w)
        side = shown[0][0].side
        rows = torch.stack(
            [literal.align(joined[n], box, side) for n, box in zip(indices, every_box)]
        )
        groups = rows.chunk(2) if heads_per_view else [rows]
        for head in heads:
            groups = [mlp(head, x) for x in groups]
        outputs.append(torch.cat(groups).chunk(2))
    (p1, p2), (z1, z2) = outputs
    used = torch.tensor(literal.usable_images(shown, PIXELS)).repeat_interleave(K)
    first, second = (2 - 2 * F.cosine_similarity(p, z, dim=1) for p, z in ((p1, z2), (p2, z1)))
    return {"loss_scrl": (first[used] + second[used]).mean() / 2}


def test_joined_views_equal_the_authors_form(files, monkeypatch):
    step = record(monkeypatch, files, "SCRL", {}, *JOINED)
    (made,) = step.model.objectives.values()
    boxes = draw_boxes(step.shown, step.drawn, PIXELS)
    args = (made, step.shown, step.online, step.target, boxes)
    loss = step.losses["loss_scrl"].item()  # the sum of both directions
    assert loss == pytest.approx(2 * authors_scrl(*args)["loss_scrl"].item(), abs=1e-12)
    assert abs(loss - 2 * authors_scrl(*args, heads_per_view=True)["loss_scrl"].item()) > 1e-3
    check(step, {"SCRLObjective": with_boxes(authors_scrl, {})})


def test_the_backbones_alone_joined_is_another_loss(files, monkeypatch):
    def apart(self, head, inputs):
        return {view: head(x) for view, x in inputs.items()}

    monkeypatch.setattr(passes_module.Passes, "through", apart)
    step = record(monkeypatch, files, "SCRL", {}, *JOINED)
    check(step, {"SCRLObjective": with_boxes(partial(authors_scrl, heads_per_view=True), {})})
    with pytest.raises(AssertionError):
        check(step, {"SCRLObjective": with_boxes(authors_scrl, {})})


def box_contrast(made, shown, online, target, boxes, joined=False):
    """MoCo's InfoNCE on the boxes of the images that count, as the mean of both directions."""
    queries = literal.heads_on(
        [made.projector], literal.box_vectors(made, shown, online, boxes, True), joined
    )
    keys = literal.heads_on(
        [made.target_projector], literal.box_vectors(made, shown, target, boxes, True), joined
    )
    used = [x for x in literal.usable_images(shown, PIXELS) for _ in range(K)]
    queue = made.contrast.bank.keys.double()
    rows = [x for o, t in literal.BOTH for x in zip(queries[o], keys[t], used)]
    return {"loss_box_contrast": literal.mean(
        literal.nce(q, k, queue, 0.2) for q, k, use in rows if use)}  # fmt: skip


def box_batch_contrast(made, shown, online, target, boxes, joined=False, other_images=True):
    """SimCLR's Eq. 1 on the boxes of both views; ``rows``: (view, image, box, vector)."""
    found = literal.heads_on(
        [made.projector], literal.box_vectors(made, shown, online, boxes, True), joined
    )
    used = literal.usable_images(shown, PIXELS)
    rows = [(v, n // K, n % K, x) for v in (0, 1) for n, x in enumerate(found[v]) if used[n // K]]
    terms = []
    for v, i, k, x in rows:
        (positive,) = [y for w, j, m, y in rows if w != v and (j, m) == (i, k)]
        negatives = [y for _, j, m, y in rows if j != i or (m != k and not other_images)]
        terms.append(literal.nce(x, positive, negatives, 0.1))
    return {"loss_box_batch_contrast": literal.mean(terms)}


CONTRASTS = {
    "queue": ("BoxContrastObjective", box_contrast, {}, ()),
    "queue, joined": ("BoxContrastObjective", partial(box_contrast, joined=True), {}, JOINED),
    "batch": ("BoxBatchContrastObjective", box_batch_contrast, {}, ()),
    "batch, joined": (
        "BoxBatchContrastObjective", partial(box_batch_contrast, joined=True), {}, JOINED),
    "batch, all": (
        "BoxBatchContrastObjective", partial(box_batch_contrast, other_images=False),
        {"NEGATIVES": "all"}, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRASTS)
def test_boxes_with_negatives(name, files, monkeypatch):
    kind, loop, keys, options = CONTRASTS[name]
    options = ("MODEL.SSL.OBJECTIVES", (kind,), *options)
    step = record(monkeypatch, files, "MultiObjective", keys, *options)
    require_variety(step)
    assert bool(step.target) == (name.startswith("queue"))  # SimCLR has no target
    check(step, {kind: with_boxes(loop, {})})
