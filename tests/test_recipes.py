"""The recipe tables of the project page against the yamls."""

import re

import pytest
from helpers import CONFIGS, ROOT, load_config

from dense_ssl.utils.checks import value_of

PAGE = (ROOT / "projects/DenseSSL/README.md").read_text()
TABLE = re.compile(r"Recipe of `configs/(pretrain/\w+\.yaml)`.*?\n\n((?:\|.*\n)+)")
RECIPES = dict(TABLE.findall(PAGE))


def rows_of(table):
    """The rows of a markdown table without its head, as lists of cells."""
    return [[x.strip() for x in row.strip("|").split(" | ")] for row in table.splitlines()[2:]]


def test_every_method_has_a_recipe_table():
    assert {x.partition("/")[2].partition("_R_50")[0] for x in RECIPES} == {
        "scrl", "byol", "moco_v2", "dupr", "point_region_contrast", "self_emd", "lc_loss",
        "dense_cl", "pixpro"}  # fmt: skip


@pytest.mark.parametrize("yaml", RECIPES)
def test_the_recipe_table_says_what_the_yaml_has(yaml):
    cfg = load_config(CONFIGS / yaml)
    checked = 0
    for item, paper, here, difference in rows_of(RECIPES[yaml]):
        assert item and paper and here and difference, item
        for key, value in re.findall(r"`([A-Z_]+\.[A-Z_.\d]+) ([^`]+)`", here):
            assert value_of(cfg, key) == cfg._decode_cfg_value(value), f"{item}: {key}"
            checked += 1
    assert checked >= 1
