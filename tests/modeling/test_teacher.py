"""The frozen teacher: its weights, its colours, its cells, its identity."""

import re

import pytest
import timm
import torch
from helpers import ROOT, base_config, random_batch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from dense_ssl.modeling.teacher import describe, identity_of, resized
from dense_ssl.modeling.teacher_network import build_teacher
from dense_ssl.utils.checks import value_of

SMALL = ("depth=2", "embed_dim=32", "num_heads=2")
# name in timm: (arguments, stride, tokens before the cells, cells of a view of 64 pixels)
KINDS = {
    "vit_small_patch14_dinov2.lvd142m": ((*SMALL, "img_size=56"), 14, 1, 5),
    "vit_small_patch14_reg4_dinov2.lvd142m": ((*SMALL, "img_size=56"), 14, 5, 5),
    "vit_small_patch16_dinov3.lvd1689m": (SMALL, 16, 5, 4),
    "test_vit.r160_in1k": ((), 16, 1, 4),
    "test_convnext.r160_in1k": ((), 32, 0, 2),
}
VIT = "test_vit.r160_in1k"


def network_of(name, seed=0):
    """A network with its classifier, as timm gives it, with random weights."""
    torch.manual_seed(seed)
    options = {k: int(v) for k, v in (x.split("=") for x in KINDS[name][0])}
    if name.startswith("vit") or name == VIT:
        options["dynamic_img_size"] = True
    network = timm.create_model(name, **options).eval()
    with torch.no_grad():  # biases and scales start at 0 and 1, the same in every network
        for x in network.parameters():
            x.add_(0.1 * torch.randn_like(x))
    return network


def config(name, weights, *options):
    return base_config(
        "MODEL.DISTILLATION.TEACHER.NAME", name,
        "MODEL.DISTILLATION.TEACHER.WEIGHTS", str(weights),
        "MODEL.DISTILLATION.TEACHER.ARGUMENTS", KINDS.get(name, ((),))[0],
        "MODEL.PIXEL_MEAN", [120.0, 110.0, 100.0], "MODEL.PIXEL_STD", [50.0, 60.0, 70.0],
        *options,
    )  # fmt: skip


def teacher_of(name, weights, *options):
    return build_teacher(config(name, weights, *options), [64])[0]


@pytest.fixture
def vit_file(tmp_path):
    torch.save(network_of(VIT).state_dict(), tmp_path / "vit.pth")
    return tmp_path / "vit.pth"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("colours", ["RGB", "BGR"])
def test_cells_are_those_of_the_network_on_its_own_pixels(tmp_path, name, colours):
    network = network_of(name)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    cfg = config(name, tmp_path / "w.safetensors", "INPUT.FORMAT", colours)
    teacher, channels = build_teacher(cfg, [64])
    _, stride, prefix, count = KINDS[name]
    rgb = torch.stack([x["views"][0]["image"] for x in random_batch(2)])
    seen = rgb.flip(1) if colours == "BGR" else rgb
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    found = teacher((seen - mean) / std)
    # the same by hand: the pixels of the file, resized to a multiple of the stride
    own = network.pretrained_cfg
    side = stride * count
    pixels = F.interpolate(rgb / 255, (side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(own[x]).view(3, 1, 1) for x in ("mean", "std"))
    with torch.no_grad():
        last = network.forward_features((pixels - mean) / std)
        image = network.forward_head(last, pre_logits=True)
    if last.dim() == 3:
        assert last.shape[1] == prefix + count * count
        last = last[:, prefix:].transpose(1, 2).unflatten(2, (count, count))
    assert found.cells.shape == (2, channels[0], count, count)
    assert found.image.shape == (2, channels[1])
    assert torch.allclose(found.cells, last, atol=1e-4)
    assert torch.allclose(found.image, image, atol=1e-4)
    assert not torch.allclose(teacher((seen.flip(1) - 110) / 60).cells, last, atol=1e-2)


def test_views_may_have_any_size_and_be_enlarged(vit_file):
    images = torch.randn(1, 3, 96, 48)
    assert teacher_of(VIT, vit_file)(images).cells.shape[2:] == (6, 3)
    scale = ("MODEL.DISTILLATION.TEACHER.SCALE", 2.0)
    assert teacher_of(VIT, vit_file, *scale)(images).cells.shape[2:] == (12, 6)


def test_the_teacher_is_frozen_and_never_trains(vit_file):
    options = ("MODEL.DISTILLATION.TEACHER.ARGUMENTS", ("proj_drop_rate=0.5", "drop_path_rate=0.5"))
    teacher = teacher_of(VIT, vit_file, *options).train()
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    first, second = teacher(images), teacher(images)
    assert torch.equal(first.cells, second.cells) and torch.equal(first.image, second.image)
    assert not first.cells.requires_grad and not list(teacher.parameters())
    assert list(teacher.state_dict()) == ["identity"]


def test_it_follows_to_another_type(vit_file):
    teacher = teacher_of(VIT, vit_file)
    images = torch.randn(2, 3, 64, 64)
    low = teacher(images).cells
    high = teacher.double()(images.double()).cells
    assert high.dtype == torch.float64 and torch.allclose(low.double(), high, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher.float()(images).cells.dtype == torch.float32


def test_random_weights_are_the_same_everywhere_and_draw_nothing():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = teacher_of(VIT, "random")
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(first.identity, teacher_of(VIT, "random").identity)


def test_the_identity_is_that_of_the_weights_and_the_name(tmp_path, vit_file):
    save_file(network_of(VIT).state_dict(), tmp_path / "same.safetensors")
    torch.save(network_of(VIT, seed=1).state_dict(), tmp_path / "other.pth")
    first, same, other = (
        teacher_of(VIT, tmp_path / x).identity for x in ("vit.pth", "same.safetensors", "other.pth")
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert describe(first).startswith("'test_vit.r160_in1k' (SHA-256 ")
    network = nn.Linear(2, 2)
    assert not torch.equal(identity_of("a", network), identity_of("b", network))


def test_weights_of_the_authors_are_converted(tmp_path):
    """DINOv2's own files have a mask token, and positions of another image size."""
    name = "vit_small_patch14_dinov2.lvd142m"
    network = network_of(name)
    state = {**network.state_dict(), "mask_token": torch.zeros(1, 32)}
    torch.save(state, tmp_path / "dino.pth")
    converted = teacher_of(name, tmp_path / "dino.pth")
    assert torch.equal(converted.identity, identity_of(name, network))
    larger = ("MODEL.DISTILLATION.TEACHER.ARGUMENTS", (*SMALL, "img_size=84"))
    assert teacher_of(name, tmp_path / "dino.pth", *larger)(torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize("options, message", [
    (("WEIGHTS", ""), "TEACHER.WEIGHTS is empty: set it to the file"),
    (("WEIGHTS", "nowhere.pth"), "There is no file 'nowhere.pth': fix .*TEACHER.WEIGHTS"),
    (("NAME", "test_vitt"), "TEACHER.NAME is 'test_vitt', which timm .* does not have.*test_vit"),
    (("NAME", "test_vit2.r160_in1k"), "WEIGHTS .*does not fit .*NAME 'test_vit2"),
    (("NAME", "test_convnext.r160_in1k"), "WEIGHTS .*does not fit .*NAME 'test_convnext"),
    (("ARGUMENTS", ("depth=7",)), "does not fit .*: 12 of .* tensors are not in it, such as"),
    (("ARGUMENTS", ("depth",)), "TEACHER.ARGUMENTS has 'depth'"),
    (("ARGUMENTS", ("colour=2",)), "TEACHER.NAME 'test_vit.*colour.*fix .*TEACHER.ARGUMENTS"),
    (("SCALE", 0.0), "TEACHER.SCALE is 0.0; it must be above 0"),
])  # fmt: skip
def test_wrong_keys_are_named(vit_file, options, message):
    key, value = options
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){message}"):
        teacher_of(VIT, vit_file, f"MODEL.DISTILLATION.TEACHER.{key}", value)


def test_a_resized_map_covers_the_same_view():
    """A ramp stays a ramp: the value of a cell is the place of its centre in the view."""
    ramp = (torch.arange(12.0) + 0.5).expand(1, 1, 12, 12) / 12
    for count in (4, 5, 12, 36):
        found = resized(ramp, (count, count))[0, 0, 0]
        centres = (torch.arange(count) + 0.5) / count
        inner = (centres > 0.2) & (centres < 0.8)
        assert torch.allclose(found[inner], centres[inner], atol=1e-2), count
    assert resized(ramp, (12, 12)) is ramp


def test_the_page_names_networks_and_keys_that_exist():
    page = (ROOT / "docs/distillation.md").read_text()
    known = {f"timm/{x}" for x in timm.list_pretrained()}
    rows = re.findall(r"^\| DINO\S+ .*? \| `([^`]+)` \| (\d+) \|", page, re.MULTILINE)
    assert len(rows) == 4
    for name, patch in rows:
        assert timm.get_pretrained_cfg(name).hf_hub_id == f"timm/{name}" and f"timm/{name}" in known
        assert patch in name or "convnext" in name
    node, keys = (
        base_config().MODEL.DISTILLATION,
        re.findall(r"^\| `([A-Z_.]+)`", page, re.MULTILINE),
    )
    assert len(keys) == 7 and all(value_of(node, key) is not None for key in keys)
