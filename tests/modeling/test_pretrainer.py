"""The pre-training model: inputs, passes, target, normalisation, feature levels."""

import copy
from collections import Counter

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import batch_for, random_batch, tiny_config

from dense_ssl.data.views.batch import stack_samples
from dense_ssl.losses import attention_kernels, log_sum_exp
from dense_ssl.modeling import objective as base_module
from dense_ssl.modeling.passes import Passes

BOTH = ("MODEL.SSL.OBJECTIVES", ("BYOLObjective", "SCRLObjective"))
PYRAMID = (
    "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"], "MODEL.FPN.OUT_CHANNELS", 8,
)  # fmt: skip
# two views of one image side by side, without overlap
DISJOINT = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, -200.0, 1.0, 0.0]])


def build(method, *options, seed=0):
    torch.manual_seed(seed)
    return build_model(tiny_config(method, "unused", "unused", *options))


@pytest.fixture(scope="module")
def model_of_both():
    """One model with both objectives; tests copy it where they change it."""
    return build("MultiObjective", *BOTH)


def losses(model, batch):
    return {k: x.item() for k, x in copy.deepcopy(model)(batch).items()}


def test_inputs_as_a_list_and_stacked_give_the_same_losses(model_of_both):
    batch = random_batch(4)
    assert losses(model_of_both, batch) == losses(model_of_both, stack_samples(batch))
    assert losses(model_of_both, batch) != losses(model_of_both, random_batch(4, seed=1))


def test_the_contract_of_the_inputs(model_of_both):
    batch = [
        {"views": [{"image": v["image"], "affine": v["affine"].float()} for v in x["views"]]}
        for x in random_batch(4)
    ]  # no seeds: boxes are then drawn anew each time
    result = copy.deepcopy(model_of_both)(batch)
    assert result.keys() == {"loss_byol", "loss_scrl"}
    for loss in result.values():
        assert loss.dim() == 0 and loss.requires_grad and 0 < loss.item() < 8


def test_weights_scale_the_losses(model_of_both):
    weighted = copy.deepcopy(model_of_both)
    weighted.weights = {"BYOLObjective": 0.25, "SCRLObjective": 3.0}
    batch = random_batch(4)
    plain, scaled = losses(model_of_both, batch), losses(weighted, batch)
    assert scaled["loss_byol"] == pytest.approx(0.25 * plain["loss_byol"])
    assert scaled["loss_scrl"] == pytest.approx(3 * plain["loss_scrl"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_the_losses_are_in_the_type_of_the_key(monkeypatch, dtype):
    options = ("MODEL.SSL.LOSS_PRODUCTS", str(dtype).partition(".")[2])
    model = build("PointRegionContrast", *options)
    types, fused_softmax = [], log_sum_exp.fused_softmax

    def watched(*args, **keys):
        types.append(attention_kernels._products.get())
        return fused_softmax(*args, **keys)

    monkeypatch.setattr(log_sum_exp, "fused_softmax", watched)
    losses(model, batch_for("PointRegionContrast"))
    assert types and set(types) == {dtype}
    assert attention_kernels._products.get() == torch.float32


def test_too_few_views_name_the_key(model_of_both):
    with pytest.raises(ValueError, match="INPUT.VIEWS.NUM to 2"):
        model_of_both(random_batch(2, views=1))


def test_each_pass_is_computed_once(model_of_both):
    model, calls = copy.deepcopy(model_of_both), []
    for encoder in (model.backbone, model.target_backbone):
        encoder.register_forward_hook(
            lambda module, args, _: calls.append((module is model.backbone, len(args[0])))
        )
    model(random_batch(4, views=3))  # nobody asks for the third view
    assert sorted(calls) == [(False, 4)] * 2 + [(True, 4)] * 2


def test_concatenated_views_equal_a_concatenation_by_hand(model_of_both):
    model = copy.deepcopy(model_of_both)
    views = model.gather_views(random_batch(4, views=3, sizes=(64, 64, 32)))
    images = [x.images for x in views]
    passes = Passes((model.backbone, model.target_backbone), views, [0, 1, 2], [0, 1], True)
    whole = copy.deepcopy(model.backbone)(torch.cat(images[:2]))["res5"]
    assert torch.equal(passes.online(1)["res5"], whole[4:])
    assert torch.equal(passes.online(0)["res5"], whole[:4])
    alone = copy.deepcopy(model.backbone)(images[2])["res5"]
    assert torch.equal(passes.online(2)["res5"], alone)  # another size: a batch of its own
    assert not torch.allclose(copy.deepcopy(model.backbone)(images[0])["res5"], whole[:4])
    assert torch.equal(passes.target(0)["res5"], whole[:4])
    assert not passes.target(1)["res5"].requires_grad


def test_target_passes_come_before_the_online_ones(model_of_both):
    """They need memory for a moment, while that of the online passes is not yet in use."""
    model, order = copy.deepcopy(model_of_both), []
    for name in ("backbone", "target_backbone"):
        record = lambda *_, name=name: order.append(name)  # noqa: E731
        getattr(model, name).register_forward_pre_hook(record)
    model(random_batch(4))
    assert order == ["target_backbone"] * 2 + ["backbone"] * 2


def test_the_key_concatenates(model_of_both):
    model = build("MultiObjective", *BOTH, "MODEL.SSL.CONCATENATE_VIEWS", True)
    calls = []
    model.backbone.register_forward_hook(lambda module, args, _: calls.append(len(args[0])))
    model(random_batch(4))
    assert calls == [8]


@pytest.mark.parametrize("method", ["BYOL", "SCRL", "SelfEMD", "LCLoss", "PixPro"])  # batch norm
@pytest.mark.parametrize("joined", [True, False])
def test_the_key_joins_the_views_of_one_size_in_every_head_too(method, joined):
    # a head that Self-EMD's two branches share would run twice as often
    own = ("MODEL.SELF_EMD.SHARED_HEAD", False)
    model = build(method, *own, "MODEL.SSL.CONCATENATE_VIEWS", joined)
    calls = Counter()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and name.startswith("objectives."):
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    with EventStorage():
        model(batch_for(method, 4))
    sizes = {v["image"].shape for v in batch_for(method, 1)[0]["views"]}
    assert calls and (max(calls.values()) == len(sizes)) == joined


def test_evaluation_gives_the_features_of_the_first_view(model_of_both):
    model, batch = copy.deepcopy(model_of_both).eval(), random_batch(3)
    with torch.no_grad():
        result = model(batch)
        expected = model.backbone(model.gather_views(batch)[0].images)["res5"]
    assert len(result) == 3 and result[0].keys() == {"features"}
    for row, entry in enumerate(result):
        assert torch.equal(entry["features"]["res5"], expected[row])
    assert len(model(random_batch(2, views=1))) == 2  # one view is enough


def test_the_target_gets_no_gradient(model_of_both):
    model = copy.deepcopy(model_of_both)
    sum(model(random_batch(4)).values()).backward()
    with_gradient = {k for k, x in model.named_parameters() if x.grad is not None}
    target = {k for k, _ in model.named_parameters() if "target_" in k}
    assert target and not with_gradient & target
    assert with_gradient == {k for k, _ in model.named_parameters()} - target


def test_target_encoder_and_heads_follow(model_of_both):
    model = copy.deepcopy(model_of_both)
    with torch.no_grad():
        for name, x in model.named_parameters():
            if "target_" not in name:
                x.add_(1.0)
    before = {k: x.clone() for k, x in model.named_parameters()}
    model.update_target(0.75)
    after = dict(model.named_parameters())
    followers = [k for k in before if "target_" in k]
    assert sum(k.startswith("objectives.BYOLObjective.target_projector") for k in followers) > 3
    for name in followers:
        online = before[name.replace("target_", "")]
        assert torch.allclose(after[name], 0.75 * before[name] + 0.25 * online, atol=1e-6)
    for name in before.keys() - set(followers):
        assert torch.equal(after[name], before[name])


@pytest.mark.parametrize("options, key", [
    ((), "MODEL.SSL.OBJECTIVES is empty"),
    (("MODEL.SSL.OBJECTIVES", ("NoSuch",)), "MODEL.SSL.OBJECTIVES is .*NoSuch.*BYOLObjective"),
    (("MODEL.SSL.OBJECTIVES", ("BYOLObjective",) * 2), "MODEL.SSL.OBJECTIVES is "),
    ((*BOTH, "MODEL.SSL.OBJECTIVE_WEIGHTS", (1.0,)), "MODEL.SSL.OBJECTIVE_WEIGHTS has 1"),
])  # fmt: skip
def test_errors_of_a_composition_name_the_key(options, key):
    with pytest.raises(ValueError, match=key):
        build("MultiObjective", *options)


def test_images_are_normalised_with_the_mean_and_std_of_their_channel_order():
    batch = random_batch(2)
    turned = [
        {**x, "views": [{**v, "image": v["image"].flip(0)} for v in x["views"]]} for x in batch
    ]
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    rgb = build("BYOL").gather_views(batch)
    bgr = build("BYOL", "INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", mean[::-1],
                "MODEL.PIXEL_STD", std[::-1]).gather_views(turned)  # fmt: skip
    for v in range(2):
        assert torch.equal(rgb[v].images, bgr[v].images.flip(1))
        for row in range(2):
            for channel in range(3):
                pixel = batch[row]["views"][v]["image"][channel, 5, 7].item()
                got = rgb[v].images[row, channel, 5, 7].item()
                assert got == pytest.approx((pixel - mean[channel]) / std[channel], abs=1e-5)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_drawn_pictures_are_the_views_in_rgb(order, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        base_module,
        "draw_matches",
        lambda images, boxes, scale: drawn.append(images) or images[0],
    )
    batch = random_batch(2)
    with EventStorage(0):
        build("BYOL", "INPUT.FORMAT", order, "VIS_PERIOD", 1)(batch)
    for v, images in enumerate(drawn[0]):
        expected = torch.stack([x["views"][v]["image"] for x in batch]).float()
        expected = expected if order == "RGB" else expected.flip(1)
        assert torch.allclose(images, expected, atol=1e-3)


def test_boxes_stay_in_float32_under_autocast(model_of_both, monkeypatch):
    inputs = []
    original = ROIAlign.forward
    monkeypatch.setattr(
        ROIAlign,
        "forward",
        lambda self, x, rois: inputs.append((x, rois)) or original(self, x, rois),
    )
    model = copy.deepcopy(model_of_both)
    with torch.autocast("cpu", torch.bfloat16):
        result = model(random_batch(4))
        features = model.backbone(model.gather_views(random_batch(2))[0].images)["res5"]
    assert features.dtype == torch.bfloat16  # autocast was on
    assert len(inputs) == 4
    assert all(x.dtype == rois.dtype == torch.float32 for x, rois in inputs)
    assert all(x.dtype == torch.float32 for x in result.values())


@pytest.mark.parametrize("level", ["res2", "res3", "res4", "res5", "p2", "p3", "p4", "p5", "p6"])
def test_every_level_of_a_pyramid_can_be_pooled(level):
    model = build("MultiObjective", *BOTH, *PYRAMID, "MODEL.SCRL.IN_FEATURE", level,
                  "MODEL.BYOL.IN_FEATURE", level)  # fmt: skip
    result = model(random_batch(4))
    sum(result.values()).backward()
    assert all(0 < x.item() < 8 for x in result.values())
    pooled = model.objectives["SCRLObjective"].pooler
    stride = {"2": 4, "3": 8, "4": 16, "5": 32, "6": 64}[level[-1]]
    assert pooled.spatial_scale == 1 / stride
    stem = model.backbone.bottom_up.stem.conv1.weight.grad
    assert torch.isfinite(stem).all() and stem.any()


def test_levels_of_a_plain_resnet_have_to_be_asked_for():
    with pytest.raises(ValueError, match="MODEL.SCRL.IN_FEATURE is 'res3'.*OUT_FEATURES"):
        build("SCRL", "MODEL.SCRL.IN_FEATURE", "res3")
    model = build("SCRL", "MODEL.SCRL.IN_FEATURE", "res3",
                  "MODEL.RESNETS.OUT_FEATURES", ["res3", "res5"])  # fmt: skip
    assert model(random_batch(2))["loss_scrl"].item() > 0


def test_a_batch_without_overlap_costs_nothing_and_trains_on():
    model, batch = build("SCRL"), random_batch(4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    apart = [
        {**x, "views": [{**v, "affine": a} for v, a in zip(x["views"], DISJOINT)]} for x in batch
    ]
    for inputs in (apart, batch):
        before = {k: x.clone() for k, x in model.named_parameters()}
        optimizer.zero_grad()
        loss = model(inputs)["loss_scrl"]
        loss.backward()
        gradients = {k: x.grad for k, x in model.named_parameters() if x.grad is not None}
        assert "backbone.res5.2.conv3.weight" in gradients
        assert all(torch.isfinite(x).all() for x in gradients.values())
        if inputs is apart:
            assert loss.item() == 0 and not any(x.any() for x in gradients.values())
        optimizer.step()
        model.after_step(0.9)
        moved = [k for k, x in model.named_parameters() if not torch.equal(x, before[k])]
        assert bool(moved) == (inputs is batch)
    assert loss.item() > 0
