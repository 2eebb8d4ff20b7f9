"""Distillation against loops: known answers, geometry, what is saved, what is refused."""

import os
import re

import numpy as np
import pytest
import timm
import torch
from detectron2.modeling import build_model
from helpers import photo, random_batch, tiny_config, train
from oracles import GivenPasses
from PIL import Image
from torch import nn
from torch.nn import functional as F

from dense_ssl.data.views.loader import build_pretrain_loader
from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.modeling.methods import DistillationObjective
from dense_ssl.modeling.methods.distillation import cell_distance
from dense_ssl.modeling.teacher import Colours, Description, Teacher
from dense_ssl.structures import Views

KEY = "MODEL.DISTILLATION"
N, D = 3, 6


def make_views(count=2, side=64):
    affine = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(N, 4)
    return [Views(torch.randn(N, 3, side, side, dtype=torch.float64), affine) for _ in range(count)]


class GivenTeacher(nn.Module):
    """What it says of each view is given; the views are told apart by their pixels."""

    def __init__(self, views, descriptions):
        super().__init__()
        self.known = list(zip([x.images for x in views], descriptions))

    def forward(self, images):
        return next(y for x, y in self.known if x is images)


class GivenMaps(GivenPasses):
    """The feature maps of the backbone are given, ``maps[view]``."""

    def __init__(self, maps, **options):
        super().__init__(**options)
        self.maps = maps

    def online(self, view):
        return self.maps[view]


def maps_of(sizes, seed, channels=D):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            name: torch.randn(N, channels, x, x, generator=generator, dtype=torch.float64)
            .requires_grad_()
            for name, x in sizes.items()
        }
        for _ in range(2)
    ]  # fmt: skip


def descriptions_of(cells, seed=9):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return [Description(make(N, D, cells, cells), make(N, D)) for _ in range(2)]


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    views, said = make_views(), descriptions_of(4)
    maps = [{"res5": (2.5 * x.cells).clone().requires_grad_()} for x in said]
    made = DistillationObjective(
        teacher=GivenTeacher(views, said), heads={"res5": nn.Identity()}, views=(0, 1)
    )
    losses = made(views, GivenMaps(maps))
    losses["loss_distillation"].backward()
    assert losses.keys() == {"loss_distillation"}
    assert losses["loss_distillation"].abs() < 1e-14
    assert all(x["res5"].grad.abs().max() < 1e-14 for x in maps)
    # and an opposite one has the largest
    opposite = GivenMaps([{"res5": -x["res5"]} for x in maps])
    assert made(views, opposite)["loss_distillation"].item() == pytest.approx(4, abs=1e-12)


def literal_resize(cells, count):
    """Resize a map (D, m, m) to (D, count, count): along each axis a mean weighted by a triangle.

    Its half width is a cell of the coarser of the two maps.
    """
    m = cells.shape[1]
    scale = m / count
    width = max(scale, 1.0)
    rows = []
    for k in range(count):
        centre = (k + 0.5) * scale
        weights = [max(0.0, 1 - abs(j + 0.5 - centre) / width) for j in range(m)]
        rows.append([w / sum(weights) for w in weights])
    result = torch.zeros(len(cells), count, count, dtype=torch.float64)
    for r in range(count):
        for c in range(count):
            for y in range(m):
                for x in range(m):
                    result[:, r, c] += rows[r][y] * rows[c][x] * cells[:, y, x]
    return result


def distance(a, b):
    return 2 - 2 * (a @ b) / (a.norm() * b.norm())


@pytest.mark.parametrize("cells", [2, 5, 7])
@pytest.mark.parametrize("joined", [True, False])
def test_the_loss_is_the_loop_over_views_levels_and_cells(cells, joined):
    torch.manual_seed(0)
    sizes = {"res4": 5, "res5": 3}
    views, said, maps = make_views(), descriptions_of(cells), maps_of(sizes, 1, channels=4)
    heads = {name: nn.Linear(4, D).double() for name in sizes}
    made = DistillationObjective(
        teacher=GivenTeacher(views, said), heads=heads, image_head=nn.Linear(4, D).double(),
        image_weight=0.25, views=(0, 1),
    )  # fmt: skip
    losses = made(views, GivenMaps(maps, concatenate=joined, views=views))
    terms, of_image = [], []
    for v in range(2):
        for n in range(N):
            for name, size in sizes.items():
                goal = literal_resize(said[v].cells[n], size)
                for r in range(size):
                    for c in range(size):
                        own = heads[name](maps[v][name][n, :, r, c])
                        terms.append(distance(own, goal[:, r, c]) / size**2)
            pooled = maps[v]["res5"][n].flatten(1).mean(dim=1)
            of_image.append(distance(made.image_head(pooled), said[v].image[n]))
    expected = sum(terms) / (2 * N * len(sizes))
    assert losses["loss_distillation"].item() == pytest.approx(expected.item(), abs=1e-10)
    image = 0.25 * sum(of_image) / (2 * N)
    assert losses["loss_distillation_image"].item() == pytest.approx(image.item(), abs=1e-10)
    inputs = [x for m in maps for x in m.values()]
    found = torch.autograd.grad(sum(losses.values()), inputs, retain_graph=True)
    for a, b in zip(found, torch.autograd.grad(expected + image, inputs)):
        assert torch.allclose(a, b, atol=1e-12)


class MeanColours(nn.Module):
    """A network whose cells are the mean colours of patches of 14 pixels."""

    def forward_intermediates(self, x, indices, norm):
        return x, [F.avg_pool2d(x, 14)]

    def forward_head(self, x, pre_logits):
        return x.mean(dim=(2, 3))


def test_cells_describe_the_same_place_under_crop_and_flip(tmp_path):
    """The colours of the image are its coordinates: a cell says where it lies."""
    width, height = 240, 200
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    path = str(tmp_path / "ramp.png")
    Image.fromarray(np.stack([x, y, 0 * x + 200], axis=2).astype(np.uint8)).save(path)
    cfg = tiny_config("Distillation", "unused", "unused", "INPUT.VIEWS.CROP_SCALE", ((0.2, 0.6),),
                      *(z for k in ("JITTER", "GRAY", "BLUR", "SOLARIZE")
                        for z in (f"INPUT.VIEWS.{k}_PROB", (0.0,))))  # fmt: skip
    mapper, shown = MultiViewMapper(cfg), []
    render = mapper.render

    def recorded(image, crop, side, interpolation, flip, photometry):
        shown.append((crop, flip))
        return render(image, crop, side, interpolation, flip, photometry)

    mapper.render = recorded
    samples = [mapper({"file_name": path}, seed=[5, i])["views"][0] for i in range(12)]
    shown = shown[:: cfg.INPUT.VIEWS.NUM]
    assert {flip for _, flip in shown} == {True, False}
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    images = torch.stack([(x["image"] - mean) / std for x in samples])
    colours = Colours(cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, "RGB", (0, 0, 0), (1 / 255,) * 3)
    said = Teacher(MeanColours(), name="colours", stride=14, colours=colours)(images).cells
    assert said.shape[2:] == (5, 5)  # 64 pixels are 70 for the teacher

    def student(flipped, shift=0.0):
        """The places of the cells of stride 16, from the crops that were rendered."""
        maps = torch.empty(len(shown), 3, 4, 4)
        for n, ((left, top, w, h), flip) in enumerate(shown):
            for r in range(4):
                for c in range(4):
                    u, v = (c + 0.5 + shift) / 4, (r + 0.5 + shift) / 4
                    u = 1 - u if flip and flipped else u
                    # pixel k has colour k, and covers k to k + 1
                    maps[n, :, r, c] = torch.tensor([left + u * w - 0.5, top + v * h - 0.5, 200])
        return maps[:, :, 1:3, 1:3], maps

    resized = F.interpolate(said, (4, 4), mode="bilinear", antialias=True)[:, :, 1:3, 1:3]
    assert (resized - student(True)[0]).abs().max() < 2  # pixels of the image; a cell has 25 to 45
    right = cell_distance(student(True)[1], said)
    assert right < 1e-3
    assert cell_distance(student(False)[1], said) > 20 * right
    assert cell_distance(student(True, shift=0.5)[1], said) > 5 * right


def save_teacher(path, seed=0, **options):
    torch.manual_seed(seed)
    network = timm.create_model("test_vit.r160_in1k", num_classes=0, **options)
    with torch.no_grad():
        for x in network.parameters():
            x.add_(0.2 * torch.randn_like(x))
    torch.save(network.state_dict(), path)
    return str(path)


def test_only_the_view_that_is_used_is_made(image_folder):
    cfg = tiny_config("Distillation", image_folder, "unused")
    model = build_model(cfg)
    assert cfg.INPUT.VIEWS.NUM == 2 and model.num_views == 1
    batch = next(iter(build_pretrain_loader(cfg, 0, model.num_views)))
    assert len(batch["views"]) == 1 and model(batch)


@pytest.mark.parametrize("views", [(0,), (0, 1)])
def test_it_shares_the_passes_of_another_objective(views):
    options = ("MODEL.SSL.OBJECTIVES", ("SCRLObjective", "DistillationObjective"),
               "MODEL.SSL.OBJECTIVE_WEIGHTS", (2.0, 0.5), f"{KEY}.VIEWS", views)  # fmt: skip
    torch.manual_seed(0)
    model = build_model(tiny_config("MultiObjective", "unused", "unused", *options))
    teacher, calls = model.objectives["DistillationObjective"].teacher, []
    model.backbone.register_forward_hook(lambda *_: calls.append("online"))
    model.target_backbone.register_forward_hook(lambda *_: calls.append("target"))
    teacher.register_forward_hook(lambda *_: calls.append("teacher"))
    losses = model(random_batch(4))
    assert losses.keys() == {"loss_scrl", "loss_distillation"}
    counts = {x: calls.count(x) for x in set(calls)}
    assert counts == {"online": 2, "target": 2, "teacher": len(views)}
    sum(losses.values()).backward()
    before = [x.clone() for x in teacher._networks[0].state_dict().values()]
    model.train()
    model.after_step(0.5)
    assert not teacher._networks[0].training
    assert all(map(torch.equal, before, teacher._networks[0].state_dict().values()))


def test_a_checkpoint_has_the_identity_and_refuses_another_teacher(pretrain_config, tmp_path):
    weights = f"{KEY}.TEACHER.WEIGHTS"
    first, second = (save_teacher(tmp_path / f"{x}.pth", seed=x) for x in (0, 1))
    cfg = pretrain_config("Distillation", weights, first)
    train(cfg, kill_at=4)
    saved = torch.load(os.path.join(cfg.OUTPUT_DIR, "model_0000002.pth"), weights_only=True)
    prefix = "objectives.DistillationObjective."
    assert {x for x in saved["model"] if x.startswith(prefix)} == {
        f"{prefix}{x}" for x in ("teacher.identity", "heads.res5.weight", "heads.res5.bias")
    }
    other = pretrain_config("Distillation", weights, second)
    with pytest.raises(ValueError, match=r"TEACHER.NAME and .*TEACHER.WEIGHTS give .*backbone.pkl"):
        train(other, resume=True)
    # the way out that the message names, and a move of the same weights to another file
    backbone = os.path.join(cfg.OUTPUT_DIR, "backbone.pkl")
    new = ("MODEL.WEIGHTS", backbone, "OUTPUT_DIR", str(tmp_path / "new"), "SOLVER.MAX_ITER", 1)
    train(pretrain_config("Distillation", weights, second, *new))
    os.rename(first, tmp_path / "moved.pth")
    moved = pretrain_config("Distillation", weights, str(tmp_path / "moved.pth"))
    assert train(moved, resume=True).start_iter == 3


def test_the_student_comes_to_agree_with_its_teacher(tmp_path):
    """On one batch of photo-like images, on two levels and with the image vector."""
    options = (f"{KEY}.TEACHER.WEIGHTS", save_teacher(tmp_path / "t.pth"),
               f"{KEY}.IN_FEATURES", ("res4", "res5"), f"{KEY}.IMAGE_WEIGHT", 0.5,
               f"{KEY}.HIDDEN_DIM", 16, "MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"])  # fmt: skip
    torch.manual_seed(0)
    model = build_model(tiny_config("Distillation", "unused", "unused", *options))
    rng = np.random.default_rng(0)
    batch = random_batch(6, views=1)
    for sample in batch:
        pixels = torch.from_numpy(photo(rng, 64, 64)).permute(2, 0, 1)
        sample["views"][0]["image"] = pixels.contiguous()
    optimizer = torch.optim.Adam([x for x in model.parameters() if x.requires_grad], 3e-3)
    totals = []
    for _ in range(25):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        model.after_step(0.9)
        totals.append({k: x.item() for k, x in losses.items()})
    for key in ("loss_distillation", "loss_distillation_image"):
        assert totals[-1][key] < 0.7 * totals[0][key], key


@pytest.mark.parametrize("options, message", [
    (("IN_FEATURES", ()), "IN_FEATURES is (): name at least one"),
    (("VIEWS", (0, 0)), "VIEWS is (0, 0): name at least one, and none twice"),
    (("VIEWS", (2,)), "needs 3 views, there are 2: set INPUT.VIEWS.NUM to 3"),
    (("IMAGE_WEIGHT", -1.0), "IMAGE_WEIGHT is -1.0; it must not be negative"),
    (("IN_FEATURES", ("res9",)), "IN_FEATURES is 'res9', but the backbone gives ['res5']"),
])  # fmt: skip
def test_wrong_keys_are_named(options, message):
    key, value = options
    with pytest.raises(ValueError, match=re.escape(message)):
        build_model(tiny_config("Distillation", "unused", "unused", f"{KEY}.{key}", value))


def test_views_that_cells_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="SIZE is 80 for view 0, no multiple of the stride 32.*64"):
        build_model(tiny_config("Distillation", "unused", "unused", "INPUT.VIEWS.SIZE", (80,)))
