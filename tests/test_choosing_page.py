"""The recipes that docs/choosing.md names, and their settings, are those of the yamls."""

import re

import pytest
from helpers import CONFIGS, ROOT, load_config

PAGE = (ROOT / "docs/choosing.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \| (\d+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("photos, epochs, rate, batch", ROWS)
def test_the_table_of_learning_rates(photos, epochs, rate, batch):
    solver = load_config(CONFIGS / f"small/pretrain/{photos}/scrl.yaml").SOLVER
    found = (solver.EPOCHS, solver.BASE_LR, solver.IMS_PER_BATCH, solver.BASE_LR_BATCH)
    assert found == (int(epochs), float(rate), int(batch), int(batch))
    assert solver.OPTIMIZER == "LARS"


def test_the_named_configs_exist():
    assert len(ROWS) == 3
    for kind, sizes in re.findall(r"configs/small/(pretrain|finetune)/<([^>]*)>", PAGE):
        for size in re.findall(r"\d+", sizes):
            assert (CONFIGS / "small" / kind / size).is_dir()
    for path in re.findall(r"`(configs/[\w/]+)`", PAGE):
        assert (ROOT / path).exists(), path
