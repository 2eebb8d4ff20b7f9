"""The costs that docs/performance.md states follow from its speeds and from the recipes."""

import re

import pytest
from helpers import CONFIGS, METHODS, ROOT, load_config

PAGE = (ROOT / "docs/performance.md").read_text()
_SPEED = r"^\| ([\w -]+) \| (\d+) \| \d+ \| \d+ \|.*\| (\d+)\*? \|$"
_COST = r"^\| `(\w+_R_50_\w+)` \| (\d+) \| (\d+) M \| (\d+)" + r" \| ([\d.]+)" * 5 + r" \|$"
# images per second with 256 images, and milliseconds of a step with 64
SPEEDS = {name: (float(x), float(y)) for name, x, y in re.findall(_SPEED, PAGE, re.MULTILINE)}
ROWS = re.findall(_COST, PAGE, re.MULTILINE)
V100 = 3  # times slower than an H100
IMAGES = {"coco_2017_train": 118287, "imagenet_train": 1281167}
NAMES = {
    "byol": "BYOL", "scrl": "SCRL", "moco_v2": "MoCo v2", "dupr": "DUPR", "self_emd": "Self-EMD",
    "point_region_contrast": "point-level region contrast", "lc_loss": "LC-loss",
    "dense_cl": "DenseCL", "pixpro": "PixPro",
}  # fmt: skip


def test_every_method_has_a_cost():
    assert {x.partition("_R_50")[0] for x, *_ in ROWS} == set(NAMES)
    assert set(NAMES) == {x.yaml for x in METHODS.values()} - {"distillation"}


@pytest.mark.parametrize("row", ROWS, ids=[x[0] for x in ROWS])
def test_the_cost_of_a_recipe(row):
    recipe, epochs, millions, batch, *hours = row
    cfg = load_config(CONFIGS / "pretrain" / f"{recipe}.yaml")
    (data,) = cfg.DATASETS.TRAIN
    images = IMAGES[data] * cfg.SOLVER.EPOCHS
    assert (int(epochs), int(batch)) == (cfg.SOLVER.EPOCHS, cfg.SOLVER.IMS_PER_BATCH)
    assert int(millions) == round(images / 1e6)
    rate, least = SPEEDS[NAMES[recipe.partition("_R_50")[0]]]
    for text, gpus, slower in zip(hours, (1, 8, 32, 8, 32), (1, 1, 1, V100, V100)):
        step = max(least / 1e3, slower * int(batch) / gpus / rate)  # seconds
        expected = images / int(batch) * step / 3600
        assert float(text) == pytest.approx(expected, abs=0.051 if "." in text else 0.51)
