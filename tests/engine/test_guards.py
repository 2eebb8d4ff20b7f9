"""What a run warns of before its first step: each warning speaks, shipped recipes are silent."""

import logging

import pytest
import torch
from detectron2.utils import comm
from helpers import CONFIGS, TINY, base_config, load_config, recorded_log, train
from PIL import Image
from test_pretrain_configs import NAMES

from dense_ssl.config.recipe import recipe_batch
from dense_ssl.engine import guards as guards_module
from dense_ssl.engine.guards import (
    CheckStart,
    describe,
    image_sizes,
    memory_warning,
    warnings,
)
from dense_ssl.engine.memory import StepMemory
from dense_ssl.solver import resolve_epochs
from dense_ssl.utils.device_memory import available_memory

# Images of the data sets that the yamls name (of detectors: those with labels), and a usual size.
DATA = {
    "coco": (117266, (640, 480)), "imagenet": (1281167, (500, 375)), "voc": (16551, (500, 375)),
    "cityscapes": (2975, (2048, 1024)), "camvid": (468, (480, 360)),
    "places": (1803460, (256, 256)),
}  # fmt: skip
SMALL = 292, (320, 240)  # BCCD: the data of demo and study are of this size, or larger


def data_of(cfg):
    names = " ".join(cfg.DATASETS.TRAIN)
    count, size = next((x for name, x in DATA.items() if name in names), SMALL)
    return (count // 100 if "_1pct_" in names else count), size


def resolved(path, *options):
    """A config of a yaml as at the start of its run on its own data, and what it warns of."""
    cfg = load_config(path)
    cfg.merge_from_list(list(options))
    cfg.SOLVER.RECIPE_BATCH = recipe_batch(str(path), options)
    count, size = SMALL if path.parent.name == "demo" else data_of(cfg)
    resolve_epochs(cfg, count)
    is_pretraining = "finetune" not in str(path) and "whole" not in str(path)
    is_pretraining &= "frozen" not in str(path) and "mask_rcnn" not in str(path)
    return cfg, warnings(cfg, count, is_pretraining, [size] * 3)


def runnable(*folders):
    paths = [x for folder in folders for x in sorted((CONFIGS / folder).rglob("*.yaml"))]
    return [x for x in paths if not x.name.startswith("Base")]


@pytest.mark.parametrize("path", [CONFIGS / x for x in NAMES] + runnable("finetune", "backbones"),
                         ids=lambda x: str(x.relative_to(CONFIGS)))  # fmt: skip
def test_shipped_recipes_are_silent_on_their_own_data(path):
    _, found = resolved(path)
    if "backbones/mini/mask_rcnn" in str(path):  # tries things out
        assert len(found) == 1 and found[0].startswith("20 steps are few")
    else:
        assert not found


@pytest.mark.parametrize("path", runnable("mini/finetune"), ids=lambda x: x.stem)
def test_yamls_that_only_try_things_out_say_so(path):
    if "Classification" in path.parent.name:  # trains 10 epochs of the user's data
        assert not resolved(path)[1] and path.read_text().startswith("# On two CPU cores")
        return
    (found,) = resolved(path)[1]
    assert found.startswith("20 steps are few (GUARDS.MIN_FINETUNE_STEPS is 200)")
    assert path.read_text().startswith("# Only tries things out")


def test_a_recipe_for_coco_on_three_hundred_images():
    """What the README's first command did without a word."""
    path = CONFIGS / "pretrain/scrl_R_50_coco.yaml"
    cfg = load_config(path)
    resolve_epochs(cfg, 300)
    assert cfg.SOLVER.MAX_ITER == 73
    batch, length = warnings(cfg, 300, True, [(640, 480)])
    assert "each of the 300 images 27 times" in batch
    assert "SOLVER.IMS_PER_BATCH 64 and SOLVER.ACCUMULATE 1" in batch
    assert "the learning rate goes with it, from 14.4 to 0.1125" in batch
    assert length.startswith("73 steps are few (GUARDS.MIN_PRETRAIN_STEPS is 500)")
    assert "raise SOLVER.EPOCHS 2000 to 13654" in length
    assert "lower SOLVER.IMS_PER_BATCH to 64 (9375 steps)" in length
    # the way out is one
    cfg = load_config(path)
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 64, "SOLVER.ACCUMULATE", 1])
    resolve_epochs(cfg, 300)
    assert cfg.SOLVER.MAX_ITER == 9375 and not warnings(cfg, 300, True, [(640, 480)])


def config(*options):
    """Of 1000 steps of 16 images, with nothing to warn of for 1000 images."""
    return base_config("SOLVER.MAX_ITER", 1000, "SOLVER.STEPS", (800,), "SOLVER.WARMUP_ITERS", 100,
                       *options)  # fmt: skip


@pytest.mark.parametrize("is_pretraining, key", [(True, "PRETRAIN"), (False, "FINETUNE")])
def test_few_steps(is_pretraining, key):
    limit = f"GUARDS.MIN_{key}_STEPS"
    assert not warnings(config(limit, 1000), 1000, is_pretraining)
    (found,) = warnings(config(limit, 1001), 1000, is_pretraining)
    assert f"({limit} is 1001): set SOLVER.MAX_ITER to 1001 or more" in found


def test_images_that_are_never_seen():
    assert not warnings(config(), 16000, False)
    (found,) = warnings(config(), 16010, False)
    assert "Raise SOLVER.MAX_ITER to 1001" in found
    assert not warnings(config("GUARDS.MIN_EPOCHS", 0.5), 16010, False)


def test_a_rate_for_another_batch():
    def found(batch, *options):
        return warnings(config("SOLVER.IMS_PER_BATCH", batch, "SOLVER.BASE_LR", 0.02,
                               "SOLVER.RECIPE_BATCH", 16, *options), 500, False)  # fmt: skip

    assert not found(16) and not found(9) and not found(31)
    assert "Set SOLVER.BASE_LR 0.005, or SOLVER.BASE_LR_BATCH 16" in found(4)[0]
    assert "Set SOLVER.BASE_LR 0.04," in found(32)[0]
    assert not found(4, "SOLVER.BASE_LR_BATCH", 16)
    assert not found(4, "SOLVER.RECIPE_BATCH", 0)  # not known


@pytest.mark.parametrize("options, expected", [
    ((), 16), (("SOLVER.IMS_PER_BATCH", "2"), 16),
    (("SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.0025"), 2),
])  # fmt: skip
def test_the_batch_that_a_rate_was_stated_for(tmp_path, options, expected):
    path = CONFIGS / "finetune/COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    assert recipe_batch(str(path), options) == expected
    mini = CONFIGS / "mini/finetune/COCO-Detection/retinanet_R_18_FPN.yaml"  # both: Base-Mini
    assert recipe_batch(str(mini)) == 4
    assert recipe_batch("", options) == expected
    run = tmp_path / "config.yaml"  # of a run that had another batch
    run.write_text("SOLVER:\n  BASE_LR: 0.02\n  IMS_PER_BATCH: 4\n  RECIPE_BATCH: 16\n")
    assert recipe_batch(str(run)) == 16


def test_a_detector_whose_rate_does_not_fit_the_batch_of_the_command_line():
    path = CONFIGS / "finetune/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
    _, (found,) = resolved(path, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 90000)
    assert "0.02 was stated for a batch of 16" in found and "SOLVER.BASE_LR 0.0025" in found


def test_schedules_that_never_fall_or_never_rise():
    (found,) = warnings(config("SOLVER.STEPS", (60000, 80000)), 500, False)
    assert "(60000, 80000) are beyond SOLVER.MAX_ITER 1000" in found
    assert not warnings(config("SOLVER.STEPS", (800, 80000)), 500, False)
    assert not warnings(config("SOLVER.STEPS", ()), 500, False)
    (found,) = warnings(config("SOLVER.WARMUP_ITERS", 1000), 500, False)
    assert "SOLVER.WARMUP_ITERS is 1000, of 1000 steps. Set it to 100" in found


def test_views_larger_than_the_images():
    options = ("INPUT.VIEWS.SIZE", (224,), "INPUT.VIEWS.CROP_SCALE", ((0.2, 1.0),))
    (found,) = warnings(config(*options), 500, True, [(100, 100), (120, 100), (4000, 3000)])
    side = (0.6 * 120 * 100) ** 0.5  # of the median image
    assert f"crops of about {side:.0f} pixels, enlarged {224 / side:.1f} times" in found
    assert 'Set INPUT.VIEWS.SIZE "(96,)"' in found
    assert not warnings(config(*options), 500, True, [(200, 200)])
    assert not warnings(config(*options, "GUARDS.MAX_ENLARGEMENT", 3.0), 500, True, [(120, 100)])
    whole = ("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.CROP", ("random", "random", "whole"),
             "INPUT.VIEWS.SIZE", (64, 64, 224), "INPUT.VIEWS.BLUR_PROB", (0.5,),
             "INPUT.VIEWS.SOLARIZE_PROB", (0.0,))  # fmt: skip
    (found,) = warnings(config(*whole), 500, True, [(100, 100)])
    assert "Views of 224 pixels show crops of about 100 pixels" in found


def test_sizes_are_read_from_the_heads_of_the_files(tmp_path):
    names = []
    for i in range(70):
        names.append({"file_name": str(tmp_path / f"{i}.png")})
        Image.new("RGB", (10 + i, 5)).save(names[-1]["file_name"])
    (tmp_path / "35.png").write_bytes(b"broken")
    sizes = image_sizes(names)
    assert 20 < len(sizes) <= 32 and sizes[0] == (10, 5) and sizes == sorted(sizes)
    data = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(data[: len(data) // 2 + 20])  # nothing but the head is read
    assert image_sizes(names[:1]) == [(10, 5)]


def test_memory_that_will_not_fit():
    memory = StepMemory(fixed=10**9, per_image=10**8, images=64)
    assert memory.total == 7.4e9
    assert "64 images of 100 MB; the device has 8.0 GB, 7.0 GB free" in describe(
        memory, (7e9, 8e9))  # fmt: skip
    cfg = base_config("MODEL.DEVICE", "cuda", "SOLVER.ACCUMULATE", 2)
    assert not memory_warning(cfg, memory, (8.3e9, 9e9))
    assert not memory_warning(cfg, memory, None)
    found = memory_warning(cfg, memory, (8.1e9, 9e9))  # 90 % of it is less
    assert "needs about 7.4 GB" in found and "Set SOLVER.ACCUMULATE 4 " in found
    assert "in parts of 32 images" in found
    assert "MODEL.RESNETS.DEPTH" in memory_warning(cfg, memory, (1e9, 9e9))


def test_the_memory_of_this_machine_is_known():
    free, total = available_memory(torch.device("cpu"))
    assert 10**8 < free <= total


def test_a_run_logs_one_block_and_its_memory(pretrain_config):
    with recorded_log(guards_module.__name__, logging.INFO) as messages:
        train(pretrain_config("BYOL", "SOLVER.IMS_PER_BATCH", 32, "SOLVER.MAX_ITER", 1))
    memory, block = messages
    assert memory.startswith("Memory of a step: about") and "free" in memory
    assert block.startswith("Before the first step:\n  * The batch is larger than the data")
    assert "\n  * 1 steps are few" in block
    with recorded_log(guards_module.__name__, logging.INFO) as messages:
        train(pretrain_config("BYOL", "SOLVER.MAX_ITER", 3, "GUARDS.MIN_PRETRAIN_STEPS", 1,
                              "GUARDS.MEMORY", 0.0))  # fmt: skip
    assert not messages


def block_of(folder, output):
    """What a process logs at the start of a run."""
    from helpers import tiny_config

    cfg = tiny_config("SCRL", folder, output, "SOLVER.MAX_ITER", 1,
                      "MODEL.RESNETS.NORM", "naiveSyncBN")  # fmt: skip
    with recorded_log(guards_module.__name__, logging.INFO) as messages:
        train(cfg)
    return messages


def test_the_main_process_alone_speaks(process_pool, image_folder, tmp_path):
    first, second = process_pool.run(block_of, image_folder, tmp_path / "two")
    assert len(first) == 2 and "4 images of" in first[0] and not second
    assert TINY[TINY.index("SOLVER.IMS_PER_BATCH") + 1] == 8


def block_with_a_fault_in_one(folder, output):
    """The same, where the second process cannot read its two images."""
    read = CheckStart._two_images
    if comm.get_rank() == 1:
        CheckStart._two_images = lambda self: None
    try:
        return block_of(folder, output)
    finally:
        CheckStart._two_images = read


def test_processes_estimate_together_or_not_at_all(process_pool, image_folder, tmp_path):
    first, second = process_pool.run(block_with_a_fault_in_one, image_folder, tmp_path / "two")
    assert len(first) == 1 and first[0].startswith("Before the first step") and not second


def test_images_that_cannot_be_read_are_no_estimate(pretrain_config, monkeypatch):
    monkeypatch.setattr(guards_module, "stack_samples", lambda _: 1 / 0)
    with recorded_log(guards_module.__name__, logging.INFO) as messages:
        train(pretrain_config("BYOL", "SOLVER.MAX_ITER", 1))
    assert messages[0] == "Memory of a step: not estimated (ZeroDivisionError: division by zero)"
