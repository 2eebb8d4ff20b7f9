"""The costs that docs/performance.md states follow from its speeds and from the recipes."""

import re

import pytest
from helpers import CONFIGS, METHODS, ROOT, load_config

PAGE = (ROOT / "docs/performance.md").read_text()
_SPEED = r"^\| ([\w -]+) \| (\d+) \| \d+ \| \d+ \|"
_COST = r"^\| `(\w+_R_50_\w+)` \| (\d+) \| (\d+) M" + r" \| ([\d.]+)" * 5 + r" \|$"
SPEEDS = {name: float(x) for name, x in re.findall(_SPEED, PAGE, re.MULTILINE)}
ROWS = re.findall(_COST, PAGE, re.MULTILINE)
IMAGES = {"coco_2017_train": 118287, "imagenet_train": 1281167}
NAMES = {
    "byol": "BYOL", "scrl": "SCRL", "moco_v2": "MoCo v2", "dupr": "DUPR", "self_emd": "Self-EMD",
    "point_region_contrast": "point-level region contrast", "lc_loss": "LC-loss",
    "dense_cl": "DenseCL", "pixpro": "PixPro",
}  # fmt: skip


def test_every_method_has_a_cost():
    assert {x.partition("_R_50")[0] for x, *_ in ROWS} == set(NAMES)
    assert set(NAMES) == {x.yaml for x in METHODS.values()} - {"distillation"}


@pytest.mark.parametrize("recipe, epochs, millions, hours, on_8, on_32, on_8_old, on_32_old", ROWS)
def test_the_cost_of_a_recipe(recipe, epochs, millions, hours, on_8, on_32, on_8_old, on_32_old):
    cfg = load_config(CONFIGS / "pretrain" / f"{recipe}.yaml")
    (data,) = cfg.DATASETS.TRAIN
    images = IMAGES[data] * cfg.SOLVER.EPOCHS
    expected = images / SPEEDS[NAMES[recipe.partition("_R_50")[0]]] / 3600
    assert int(epochs) == cfg.SOLVER.EPOCHS and int(millions) == round(images / 1e6)
    assert int(hours) == round(expected)
    assert float(on_8) == pytest.approx(expected / 8, abs=0.051)
    assert float(on_32) == pytest.approx(expected / 32, abs=0.051)
    # a V100 is three times slower
    assert float(on_8_old) == pytest.approx(3 * expected / 8, abs=0.51)
    assert float(on_32_old) == pytest.approx(3 * expected / 32, abs=0.051)
