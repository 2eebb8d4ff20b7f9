"""Inference in windows: against the whole image, and against a loop in float64."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, base_config
from torch.nn import functional as F

from dense_ssl.engine.setup import check_finetuning
from dense_ssl.modeling.detectors.window_segmentor import WindowSegmentor, window_slices


def segmentor(*options):
    """A narrow FCN of stride 8 with random weights, in float64."""
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "Base-FCN-d8.yaml"))
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
        "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.NORM", "BN",
        "MODEL.SEM_SEG_HEAD.FCN.AUX_CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3, *options,
    ])  # fmt: skip
    torch.manual_seed(0)
    model = build_model(cfg).double().eval()
    for x in model.sem_seg_head.main[-1].parameters():
        torch.nn.init.normal_(x)
    return model


def windows(size, stride):
    return ["TEST.WINDOW.SIZE", size, "TEST.WINDOW.STRIDE", stride]


def image(*size, **more):
    generator = torch.Generator().manual_seed(sum(size))
    pixels = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    return {"image": pixels, **more}


@torch.no_grad()
def logits_of(model, *inputs):
    return [x["sem_seg"] for x in model(list(inputs))]


@pytest.mark.parametrize("size", [(64, 80), (65, 99), (1000, 1000)])
def test_a_window_that_covers_the_image_is_the_whole_image(size):
    item = image(64, 80, height=100, width=125)
    (whole,) = logits_of(segmentor(), item)
    (windowed,) = logits_of(segmentor(*windows(size, (7, 9))), item)
    assert torch.equal(whole, windowed) and whole.std() > 0.1 and whole.shape == (3, 100, 125)


def by_hand(model, item, size, stride):
    """Every pixel: the mean of the logits of all windows that show it."""
    pixels = item["image"].double()
    height, width = pixels.shape[1:]
    total, count = torch.zeros(3, height, width, dtype=torch.float64), torch.zeros(height, width)
    # number of steps by which the last window reaches the border
    downs = max(-(-(height - size[0]) // stride[0]), 0) + 1
    acrosses = max(-(-(width - size[1]) // stride[1]), 0) + 1
    for i in range(downs):
        bottom = min(i * stride[0] + size[0], height)
        top = max(bottom - size[0], 0)
        for j in range(acrosses):
            right = min(j * stride[1] + size[1], width)
            left = max(right - size[1], 0)
            part = (pixels[:, top:bottom, left:right] - model.pixel_mean) / model.pixel_std
            logits, _ = model.sem_seg_head(model.backbone(part[None]))
            for y in range(top, bottom):
                for x in range(left, right):
                    total[:, y, x] += logits[0, :, y - top, x - left]
                    count[y, x] += 1
    assert count.min() >= 1
    return total / count, count


# image, window, stride, how many windows show the pixel that is shown most
CASES = [
    ((64, 80), (32, 48), (32, 48), 2),  # 80 is not a multiple of 48: the last is shifted
    ((70, 100), (33, 49), (22, 33), 4),
    ((70, 100), (49, 65), (17, 23), 9),
    ((40, 100), (64, 48), (40, 32), 2),  # the image is lower than the window
    ((90, 30), (48, 64), (48, 64), 2),  # and narrower
    ((30, 40), (64, 64), (43, 43), 1),  # and smaller
]


@pytest.mark.parametrize("shape, size, stride, most", CASES)
def test_equals_a_loop_in_float64(shape, size, stride, most):
    model, item = segmentor(*windows(size, stride)), image(*shape)
    with torch.no_grad():
        expected, count = by_hand(model, item, size, stride)
    assert count.max() == most
    (found,) = logits_of(model, item)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    if most > 1:  # windows do not see beyond their borders
        (whole,) = logits_of(segmentor(), item)
        assert (found - whole).abs().max() > 1e-2


def test_images_of_a_batch_do_not_mix_and_get_their_own_size():
    model = segmentor(*windows((32, 32), (20, 20)))
    a, b = image(50, 61, height=100, width=122), image(40, 40)
    for alone, together in zip(
        (*logits_of(model, a), *logits_of(model, b)), logits_of(model, a, b)
    ):
        assert torch.equal(alone, together)
    plain, _ = by_hand(model, image(50, 61), (32, 32), (20, 20))
    expected = F.interpolate(plain[None], (100, 122), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(logits_of(model, a)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length, window, stride, starts", [
    (2049, 769, 513, [0, 513, 1026, 1280]), (1025, 769, 513, [0, 256]),  # Cityscapes
    (769, 769, 513, [0]), (770, 769, 513, [0, 1]), (100, 769, 513, [0]), (96, 32, 32, [0, 32, 64]),
])  # fmt: skip
def test_windows_of_an_axis(length, window, stride, starts):
    slices = window_slices(length, window, stride)
    assert [x.start for x in slices] == starts and slices[-1].stop == length
    assert all(x.stop - x.start == min(window, length) for x in slices)


def test_training_takes_no_notice():
    losses = []
    for options in ([], windows((32, 32), (16, 16))):
        model = segmentor("MODEL.SEM_SEG_HEAD.FCN.DROPOUT", 0.0, *options).train()
        with EventStorage():
            losses.append(model([image(48, 48, sem_seg=torch.ones(48, 48, dtype=torch.int64))]))
    assert losses[0] and all(torch.equal(losses[0][k], losses[1][k]) for k in losses[0])


@pytest.mark.parametrize("size, stride, message", [
    ((64,), (32, 32), r"TEST\.WINDOW\.SIZE is \(64,\)"),
    ((0, 64), (32, 32), r"TEST\.WINDOW\.SIZE is \(0, 64\)"),
    ((64, 64), (), r"TEST\.WINDOW\.STRIDE is \(\).*\(64, 64\)"),
    ((64, 64), (65, 32), r"TEST\.WINDOW\.STRIDE is \(65, 32\).*without gaps"),
    ((64, 64), (0, 32), r"TEST\.WINDOW\.STRIDE is \(0, 32\)"),
])  # fmt: skip
def test_windows_that_do_not_cover_are_refused(size, stride, message):
    with pytest.raises(ValueError, match=message):
        segmentor(*windows(size, stride))


def test_a_key_that_would_be_ignored_is_refused():
    cfg = base_config(*windows((64, 64), (32, 32)), "MODEL.META_ARCHITECTURE", "SemanticSegmentor")
    with pytest.raises(ValueError, match=r"TEST\.WINDOW\.SIZE.*'SemanticSegmentor' ignores"):
        check_finetuning(cfg)
    assert type(segmentor()) is WindowSegmentor
