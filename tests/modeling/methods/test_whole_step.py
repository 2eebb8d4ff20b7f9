"""A whole step of every method, from image files to the gradients of the maps, against loops.

The views come from the real mapper; the loops know what it rendered, and nothing else of the
geometry. Pairs without overlap and pairs of which one is flipped are among them.
"""

import copy
import os
from functools import partial
from glob import glob

import literal_methods as literal
import pytest
import torch
from whole_step import COUNT, record_step, shared_part

from dense_ssl.data.views import mapper
from dense_ssl.data.views.crops import crop_affine
from dense_ssl.modeling import passes
from dense_ssl.modeling.geometry import boxes as box_ops
from dense_ssl.modeling.geometry import correspondence
from dense_ssl.modeling.methods import scrl

RES4 = ("MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"])
LEVELS = ("MODEL.DUPR.IN_FEATURES", ("res4", "res5"), "MODEL.DUPR.ALPHA", (0.5, 1.0),
          "MODEL.DUPR.BETA", (0.25, 2.0), "MODEL.DUPR.ROI_SIZE", (5, 2))  # fmt: skip
JOINED = ("MODEL.SSL.CONCATENATE_VIEWS", True)
BOXES = ((box_ops, "sample_boxes"),)


def on_res4(node):
    return (*RES4, f"MODEL.{node}.IN_FEATURE", "res4")


# without the symmetric form
LITERAL_LC = (*on_res4("LC_LOSS"), "MODEL.LC_LOSS.SYMMETRIC", False)

# name: (META_ARCHITECTURE, yacs pairs, {objective: loops}, what draws)
VARIANTS = {
    "byol": ("BYOL", (), {"BYOLObjective": literal.byol}, ()),
    "byol joined": ("BYOL", JOINED, {"BYOLObjective": partial(literal.byol, joined=True)}, ()),
    "moco": ("MoCoV2", (), {"MoCoObjective": literal.moco}, ()),
    "moco symmetric": (
        "MoCoV2", ("MODEL.MOCO.SYMMETRIC", True),
        {"MoCoObjective": partial(literal.moco, directions=literal.BOTH)}, ()),
    "moco pooled after the head": (
        "MoCoV2", ("MODEL.MOCO.POOL_AFTER_HEAD", True),
        {"MoCoObjective": partial(literal.moco, after_head=True)}, ()),
    "dense_cl": (
        "DenseCL", on_res4("MOCO"),
        {"MoCoObjective": literal.moco, "DenseCLObjective": literal.dense_cl}, ()),
    "dense_cl symmetric": (
        "DenseCL", (*on_res4("MOCO"), "MODEL.MOCO.SYMMETRIC", True),
        {"MoCoObjective": partial(literal.moco, directions=literal.BOTH),
         "DenseCLObjective": partial(literal.dense_cl, directions=literal.BOTH)}, ()),
    "pixpro of close pairs": (
        "PixPro", (*on_res4("PIXPRO"), "MODEL.PIXPRO.THRESHOLD", 0.4, "MODEL.PIXPRO.POWER", 3.0),
        {"PixProObjective": partial(literal.pixpro, threshold=0.4, power=3)}, ()),
    "pixpro": ("PixPro", on_res4("PIXPRO"), {"PixProObjective": literal.pixpro}, ()),
    "pixpro joined": (
        "PixPro", (*on_res4("PIXPRO"), *JOINED, "MODEL.PIXPRO.TRANSFORM_LAYERS", 2),
        {"PixProObjective": partial(literal.pixpro, joined=True)}, ()),
    "dupr": ("DUPR", LEVELS, {"DUPRObjective": literal.dupr}, ()),
    "dupr of one level": (
        "DUPR", (*LEVELS, "MODEL.DUPR.ALPHA", (0.0, 1.0), "MODEL.DUPR.BETA", (1.0, 0.0)),
        {"DUPRObjective": literal.dupr}, ()),
    "scrl": ("SCRL", on_res4("SCRL"), {"SCRLObjective": literal.scrl}, BOXES),
    "scrl joined": (
        "SCRL", (*on_res4("SCRL"), *JOINED),
        {"SCRLObjective": partial(literal.scrl, joined=True)}, BOXES),
    "scrl unaligned": (
        "SCRL", (*on_res4("SCRL"), "MODEL.SCRL.ALIGNED", False, "MODEL.SCRL.BOX_SAMPLING", "grid"),
        {"SCRLObjective": partial(literal.scrl, aligned=False)}, BOXES),
    "lc_loss": (
        "LCLoss", LITERAL_LC,
        {"BYOLObjective": literal.byol, "LCObjective": literal.lc_loss}, ()),
    "lc_loss symmetric": (
        "LCLoss", (*LITERAL_LC, "MODEL.LC_LOSS.SYMMETRIC", True),
        {"BYOLObjective": literal.byol,
         "LCObjective": partial(literal.lc_loss, pairs=((2, 0), (2, 1), (0, 2), (1, 2)))}, ()),
    "lc_loss mse": (
        "LCLoss", (*LITERAL_LC, "MODEL.LC_LOSS.LOSS", "mse"),
        {"BYOLObjective": literal.byol, "LCObjective": partial(literal.lc_loss, mse=True)}, ()),
    "lc_loss joined": (
        "LCLoss", (*LITERAL_LC, *JOINED),
        {"BYOLObjective": partial(literal.byol, joined=True),
         "LCObjective": partial(literal.lc_loss, joined=True)}, ()),
    "lc_loss of one crop": (
        "LCLoss", (*LITERAL_LC, "MODEL.LC_LOSS.CROP_VIEWS", (1,)),
        {"BYOLObjective": literal.byol,
         "LCObjective": partial(literal.lc_loss, pairs=((2, 1),))}, ()),
    "scrl unrelated boxes": (
        "SCRL", (*on_res4("SCRL"), "MODEL.SCRL.BOX_JITTER", -1.0),
        {"SCRLObjective": literal.scrl}, BOXES),
}  # fmt: skip


def copies(maps):
    """Leaves with the same values."""
    return {v: {k: x.detach().clone().requires_grad_(x.requires_grad) for k, x in found.items()}
            for v, found in maps.items()}  # fmt: skip


def check(step, loops):
    """The losses and the gradients of all maps are those of the loops."""
    online, target = copies(step.online), copies(step.target)
    expected = {}
    for name, loop in loops.items():
        made = copy.deepcopy(step.model.objectives[name])
        for key, loss in loop(made, step.shown, online, target, step.drawn).items():
            expected[key] = loss * step.model.weights[name]
    assert expected.keys() == step.losses.keys()
    for key, loss in expected.items():
        assert step.losses[key].item() == pytest.approx(loss.item(), abs=1e-9), key
    sum(expected.values()).backward()
    for view, maps in step.online.items():
        for name, x in maps.items():
            goal = online[view][name].grad
            assert (x.grad is None) == (goal is None), name
            assert x.grad is None or torch.allclose(x.grad, goal, rtol=1e-7, atol=1e-12), name
    assert not any(x.requires_grad for maps in step.target.values() for x in maps.values())


@pytest.fixture
def files(image_folder):
    return sorted(image_folder.glob("*.jpg"))[:COUNT]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_whole_step_agrees_with_its_equations(variant, files, monkeypatch):
    method, options, loops, draws = VARIANTS[variant]
    step = record_step(monkeypatch, files, method, *options, draws=draws)
    pairs = list(zip(*step.shown[:2]))
    parts = [shared_part(*pair) for pair in pairs]
    assert any(x2 <= x1 or y2 <= y1 for x1, y1, x2, y2 in parts)
    used = literal.usable_images(step.shown, 32)
    flips = {(a.flip, b.flip) for (a, b), use in zip(pairs, used) if use}
    assert flips >= {(False, False), (False, True), (True, True)}
    check(step, loops)


@pytest.mark.parametrize("variant, name, keys, views", [
    ("moco", "MoCoObjective", literal.moco_keys, (1,)),
    ("moco symmetric", "MoCoObjective", literal.moco_keys, (1, 0)),
    ("dense_cl", "DenseCLObjective", literal.dense_cl_keys, (1,)),
    ("dense_cl symmetric", "DenseCLObjective", literal.dense_cl_keys, (1, 0)),
])  # fmt: skip
def test_the_keys_that_enter_a_queue(variant, name, keys, views, files, monkeypatch):
    method, options, _, _ = VARIANTS[variant]
    step = record_step(monkeypatch, files, method, *options)
    made = copy.deepcopy(step.model.objectives[name])
    expected = torch.stack([literal.unit(x) for v in views for x in keys(made, step.target)[v]])
    step.model.after_step(1.0)
    entered = step.model.objectives[name].contrast.bank.keys[: len(expected)]
    assert torch.allclose(entered.double(), expected, atol=1e-6)


def test_the_patches_that_enter_a_queue(files, monkeypatch):
    """Some of the patches of each usable image, none twice, none of the other images."""
    step = record_step(monkeypatch, files, "DUPR", *LEVELS)
    made = copy.deepcopy(step.model.objectives["DUPRObjective"])
    step.model.after_step(1.0)
    for name in ("res4", "res5"):
        bank = step.model.objectives["DUPRObjective"].contrast[f"patch_{name}"].bank
        patches = literal.dupr_keys(made, step.shown, step.target, name)
        entered = bank.keys[: made.keys_per_image * len(patches)].double()
        assert bank.enqueued == len(entered)
        for own, all_of_image in zip(entered.split(made.keys_per_image), patches):
            units = torch.stack([literal.unit(x) for x in all_of_image])
            found = (torch.cdist(own, units) < 1e-5).nonzero()
            assert len(found) == made.keys_per_image == len(set(found[:, 1].tolist()))


@pytest.mark.parametrize("variant", ["scrl", "dupr", "pixpro", "lc_loss symmetric"])
def test_a_whole_step_on_real_photos(variant, monkeypatch):
    root = os.environ.get("DETECTRON2_DATASETS", "datasets")
    found = sorted(glob(os.path.join(root, "VOC2012", "JPEGImages", "*.jpg")))[:COUNT]
    if len(found) < COUNT:
        pytest.skip("needs VOC2012/JPEGImages in DETECTRON2_DATASETS")
    method, options, loops, draws = VARIANTS[variant]
    check(record_step(monkeypatch, found, method, *options, draws=draws), loops)


def forget_flips(monkeypatch):
    monkeypatch.setattr(mapper, "crop_affine", lambda *x: crop_affine(*x[:2], False))


def move_flipped_crops(monkeypatch):
    def moved(crop, size, flip):
        return crop_affine((crop[0] + int(flip), *crop[1:]), size, flip)

    monkeypatch.setattr(mapper, "crop_affine", moved)


def swap_targets(monkeypatch):
    original = passes.ObjectivePasses.target
    monkeypatch.setattr(
        passes.ObjectivePasses, "target", lambda self, view: original(self, 1 - view)
    )


def shift_half_a_cell(monkeypatch):
    original = correspondence.cell_centres_in_image

    def shifted(view, cells):
        step = view.footprint()[:, None, 2:] - view.footprint()[:, None, :2]
        return original(view, cells) + step / torch.tensor(cells[::-1]) / 2

    monkeypatch.setattr(correspondence, "cell_centres_in_image", shifted)
    monkeypatch.setattr(scrl, "ROIAlign", partial(_unaligned, scrl.ROIAlign))


def _unaligned(kind, size, scale, ratio, aligned):
    return kind(size, scale, ratio, False)


@pytest.mark.parametrize("fault, variants", [
    (forget_flips, ["scrl", "pixpro", "dupr", "lc_loss"]),
    (move_flipped_crops, ["scrl", "pixpro", "dupr", "lc_loss"]),
    (swap_targets, ["byol", "scrl", "pixpro"]),
    (shift_half_a_cell, ["scrl", "pixpro", "lc_loss"]),
])  # fmt: skip
def test_the_loops_catch_a_planted_fault(fault, variants, files, monkeypatch):
    for name in variants:
        method, options, loops, draws = VARIANTS[name]
        with monkeypatch.context() as planted:
            fault(planted)
            step = record_step(planted, files, method, *options, draws=draws)
        with pytest.raises(AssertionError):
            check(step, loops)
