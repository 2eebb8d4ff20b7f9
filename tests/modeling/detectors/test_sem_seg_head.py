"""The FCN head: against torch's own functions, its geometry, its loss, its errors."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, base_config
from torch import nn
from torch.nn import functional as F

from dense_ssl.modeling.detectors.sem_seg_head import FCNHead, pixel_cross_entropy, upsample

SHAPES = {"res4": ShapeSpec(channels=6, stride=8), "res5": ShapeSpec(channels=8, stride=16)}
SMALL = ["MODEL.SEM_SEG_HEAD.NAME", "FCNHead", "MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res5"],
         "MODEL.SEM_SEG_HEAD.CONVS_DIM", 5, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 4,
         "MODEL.SEM_SEG_HEAD.NORM", "BN", "MODEL.SEM_SEG_HEAD.FCN.AUX_CONVS_DIM", 3]  # fmt: skip


def build_head(*options, seed=0):
    """A head whose every tensor has a value of its own."""
    torch.manual_seed(seed)
    head = FCNHead(base_config(*SMALL, *options), SHAPES)
    for tensor in head.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand(tensor.shape) + 0.1 * (tensor.dim() == 1) - 0.4)
        if tensor.dim() == 1 and tensor.dtype.is_floating_point:
            tensor.abs_()
    return head


def features(h, w, n=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        "res4": torch.randn(n, 6, 2 * h - 1, 2 * w - 1, generator=generator),
        "res5": torch.randn(n, 8, h, w, generator=generator),
    }


def conv_norm_relu(x, conv, dilation, training=False):
    x = F.conv2d(x, conv.weight, None, padding=dilation, dilation=dilation)
    norm = conv.norm
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    return F.relu(F.batch_norm(x, mean, var, norm.weight, norm.bias, training))


def test_equals_a_literal_composition():
    head = build_head().eval()
    assert [type(x).__name__ for x in head.main] == ["Conv2d", "Conv2d", "Conv2d"]
    inputs = features(5, 4)
    x = conv_norm_relu(inputs["res5"], head.main[0], 6)
    x = conv_norm_relu(x, head.main[1], 6)
    x = F.conv2d(x, head.main[2].weight, head.main[2].bias)
    assert x.std() > 0.1
    logits, losses = head(inputs)
    assert losses == {} and logits.shape == (2, 4, 80, 64)
    # 65 x 49 pixels have 5 x 4 cells of stride 16, the outer ones on the corners
    expected = F.interpolate(x, size=(65, 49), mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits[..., :65, :49], expected)


def test_training_gives_the_cross_entropy_of_the_same_logits():
    head = build_head().train()
    inputs, targets = features(3, 3), torch.randint(0, 4, (2, 33, 33))
    targets[:, :4] = 255
    x = conv_norm_relu(inputs["res5"], head.main[0], 6, training=True)
    x = conv_norm_relu(x, head.main[1], 6, training=True)
    x = F.conv2d(x, head.main[2].weight, head.main[2].bias)
    x = F.interpolate(x, size=(33, 33), mode="bilinear", align_corners=True)
    none, losses = head(inputs, targets)
    assert none is None and set(losses) == {"loss_sem_seg"}
    expected = F.cross_entropy(x, targets, ignore_index=255)
    torch.testing.assert_close(losses["loss_sem_seg"], expected)
    head.main.loss_weight = 0.25
    torch.testing.assert_close(head(inputs, targets)[1]["loss_sem_seg"], expected / 4)


def test_the_head_of_mmsegmentation():
    prefix = "MODEL.SEM_SEG_HEAD.FCN."
    head = build_head(
        f"{prefix}CONCAT_INPUT", True, f"{prefix}DROPOUT", 0.5, f"{prefix}DILATION", 1,
        f"{prefix}AUX_IN_FEATURE", "res4", f"{prefix}ALIGN_CORNERS", False,
    )  # fmt: skip
    inputs, targets = features(4, 4), torch.randint(0, 4, (2, 64, 64))
    first, second = head.main[0].inner
    joined, dropout, classifier = head.main[0].joined, head.main[1], head.main[2]
    assert isinstance(dropout, nn.Dropout2d) and dropout.p == 0.5
    assert head.auxiliary[0].weight.shape == (3, 6, 3, 3) and len(head.auxiliary) == 3
    x = conv_norm_relu(conv_norm_relu(inputs["res5"], first, 1), second, 1)
    x = conv_norm_relu(torch.cat([inputs["res5"], x], dim=1), joined, 1)
    x = F.conv2d(x, classifier.weight, classifier.bias)
    expected = F.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head.eval()(inputs)[0], expected)

    head.train()
    for module in (dropout, head.auxiliary[1]):
        module.p = 0.0
    x = conv_norm_relu(inputs["res4"], head.auxiliary[0], 1, training=True)
    x = F.conv2d(x, head.auxiliary[2].weight, head.auxiliary[2].bias)
    x = F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)
    x = F.pad(x, (0, 8, 0, 8), mode="replicate")  # 7 cells of stride 8 for 64 pixels
    losses = head(inputs, targets)[1]
    torch.testing.assert_close(losses["loss_sem_seg_aux"], 0.4 * F.cross_entropy(x, targets))
    sum(losses.values()).backward()
    assert all(x.grad.isfinite().all() and x.grad.any() for x in head.parameters())


# Geometry


@pytest.mark.parametrize("size", [65, 64, 70])
def test_cells_stand_where_strided_convolutions_have_their_centres(size):
    ramp = torch.arange(size, dtype=torch.float32).expand(1, 1, size, size)
    x = ramp
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 1, 1] = 1
    for _ in range(4):
        x = F.conv2d(x, kernel, stride=2, padding=1)
    y = upsample(x, 16, align_corners=True)
    assert y.shape[-1] >= size > y.shape[-1] - 16
    last = 16 * (x.shape[-1] - 1)
    for row in y[0, 0]:
        torch.testing.assert_close(row[: last + 1], ramp[0, 0, 0, : last + 1])
    assert (y[..., last:] == last).all()


def test_areas_are_upsampled_as_torch_does():
    x = torch.randn(2, 3, 4, 5)
    expected = F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample(x, 8, align_corners=False), expected)
    assert upsample(x, 1, True) is x


# Loss


def test_cross_entropy_by_hand():
    # pixel 0: (1/2, 1/2); pixel 1: (3/4, 1/4)
    logits = torch.tensor([[[[0.0], [math.log(3)]], [[0.0], [0.0]]]])
    targets = torch.tensor([[[0], [0]]])
    expected = (math.log(2) + math.log(4 / 3)) / 2
    assert pixel_cross_entropy(logits, targets, 255).item() == pytest.approx(expected)
    targets[0, 0] = 255
    assert pixel_cross_entropy(logits, targets, 255).item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("aux", ["", "res4"])
def test_the_sum_over_all_pixels_as_in_mmsegmentation(aux):
    """Pixels without a label count in the divisor: losses and gradients are that share smaller."""
    inputs, targets = features(3, 3), torch.randint(0, 4, (2, 40, 40))
    targets[0, :16] = 255  # a fifth of all pixels
    results = []
    for mean_over in ("valid", "all"):
        head = build_head(
            "MODEL.SEM_SEG_HEAD.FCN.LOSS_MEAN_OVER", mean_over,
            "MODEL.SEM_SEG_HEAD.FCN.AUX_IN_FEATURE", aux,
        ).train()  # fmt: skip
        losses = head(inputs, targets)[1]
        sum(losses.values()).backward()
        results.append((losses, [x.grad for x in head.parameters()]))
    (valid, gradients), (every, smaller) = results
    assert valid.keys() == every.keys() and len(valid) == (2 if aux else 1)
    for key in valid:
        torch.testing.assert_close(every[key], 0.8 * valid[key])
    for a, b in zip(smaller, gradients):
        torch.testing.assert_close(a, 0.8 * b)


def test_the_mean_over_all_pixels_by_a_loop():
    logits, targets = torch.randn(2, 3, 4, 5).double(), torch.randint(0, 3, (2, 4, 5))
    targets[:, 1] = 9
    total = 0.0
    for n in range(2):
        for y in range(4):
            for x in range(5):
                if targets[n, y, x] != 9:
                    total -= logits[n, :, y, x].log_softmax(0)[targets[n, y, x]].item()
    loss = pixel_cross_entropy(logits, targets, 9, "all")
    assert loss.item() == pytest.approx(total / 40, abs=1e-12)
    loss = pixel_cross_entropy(logits, targets, 9, "valid")
    assert loss.item() == pytest.approx(total / 30, abs=1e-12)


def test_other_divisors_are_refused():
    with pytest.raises(ValueError, match=r"FCN\.LOSS_MEAN_OVER is 'labels'.*'valid', 'all'"):
        build_head("MODEL.SEM_SEG_HEAD.FCN.LOSS_MEAN_OVER", "labels")


@pytest.mark.parametrize("mean_over", ["valid", "all"])
def test_images_without_any_label_cost_nothing_and_break_nothing(mean_over):
    head = build_head("MODEL.SEM_SEG_HEAD.FCN.LOSS_MEAN_OVER", mean_over).train()
    losses = head(features(2, 2), torch.full((2, 32, 32), 255))[1]
    losses["loss_sem_seg"].backward()
    assert losses["loss_sem_seg"].item() == 0
    assert all((x.grad == 0).all() for x in head.parameters())


def test_ignored_pixels_have_no_gradient_and_the_others_share_it():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    targets = torch.randint(0, 3, (1, 4, 4))
    targets[0, 0] = 9
    pixel_cross_entropy(logits, targets, 9).backward()
    assert (logits.grad[:, :, 0] == 0).all() and (logits.grad[:, :, 1:] != 0).all()
    expected = (logits.softmax(1) - F.one_hot(targets % 9, 3).permute(0, 3, 1, 2)) / 12
    torch.testing.assert_close(logits.grad[:, :, 1:], expected[:, :, 1:].detach())


def test_classes_are_equally_likely_at_first():
    torch.manual_seed(0)
    head = FCNHead(base_config(*SMALL, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 21), SHAPES)
    loss = head(features(3, 3), torch.randint(0, 21, (2, 33, 33)))[1]["loss_sem_seg"]
    assert loss.item() == pytest.approx(math.log(21), abs=0.05)


def test_loss_and_logits_are_float32_under_autocast():
    head = build_head()
    inputs, targets = features(3, 3), torch.randint(0, 4, (2, 40, 40))
    with torch.autocast("cpu", torch.bfloat16):
        loss = head.train()(inputs, targets)[1]["loss_sem_seg"]
        logits = head.eval()(inputs)[0]
    assert loss.dtype == logits.dtype == torch.float32


def test_accuracy_is_logged():
    head = build_head().train()
    inputs, targets = features(2, 2), torch.full((2, 32, 32), 255)
    with torch.no_grad(), EventStorage(19) as storage:
        for p in head.main[2].parameters():
            p.zero_()
        head.main[2].bias[1] = 1  # class 1 everywhere
        targets[:, :2], targets[:, 2:8] = 1, 0
        head(inputs, targets)
    assert storage.latest()["sem_seg/accuracy"][0] == pytest.approx(0.25)


# In detectron2's SemanticSegmentor


def segmentor(*options):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "Base-FCN.yaml"))
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
        "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, *SMALL, *options,
    ])  # fmt: skip
    return build_model(cfg)


def image(*size, **more):
    return {"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8), **more}


def test_padding_in_the_batch_is_ignored(monkeypatch):
    model = segmentor("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", 77).train()
    seen = []
    forward = model.sem_seg_head.forward
    monkeypatch.setattr(model.sem_seg_head, "forward", lambda x, y: seen.append(y) or forward(x, y))
    small, large = torch.zeros(40, 70).long(), torch.ones(65, 50).long()
    model([image(40, 70, sem_seg=small), image(65, 50, sem_seg=large)])
    (targets,) = seen
    assert targets.shape == (2, 65, 70)
    assert torch.equal(targets[0, :40], small) and (targets[0, 40:] == 77).all()
    assert torch.equal(targets[1, :, :50], large) and (targets[1, :, 50:] == 77).all()


def test_predictions_have_the_size_of_the_file():
    model = segmentor().eval()
    with torch.no_grad():
        (output,) = model([image(50, 61, height=100, width=122)])
    assert output["sem_seg"].shape == (4, 100, 122)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["IN_FEATURES", ["res4", "res5"]], r"IN_FEATURES is \['res4', 'res5'\]; FCNHead"),
        (["IN_FEATURES", ["p5"]], r"MODEL\.SEM_SEG_HEAD\.IN_FEATURES is 'p5'.*\['res4', 'res5'\]"),
        (["FCN.AUX_IN_FEATURE", "res3"], r"MODEL\.SEM_SEG_HEAD\.FCN\.AUX_IN_FEATURE is 'res3'"),
    ],
)  # fmt: skip
def test_maps_that_are_not_there_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_head(f"MODEL.SEM_SEG_HEAD.{options[0]}", options[1])
