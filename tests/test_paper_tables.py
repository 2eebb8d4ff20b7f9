"""docs/paper_tables.md: its yamls exist, and take the keys beside them."""

import logging
import re
import shlex

import pytest
import torch
from detectron2.modeling import build_model
from helpers import CONFIGS, ROOT, load_config

from dense_ssl.analysis.registry import all_analyses
from dense_ssl.config.machine import resolve_norms
from dense_ssl.data.views.settings import view_settings
from dense_ssl.engine.setup import check_pretraining, meta_architecture
from dense_ssl.solver import resolve_epochs

PAGE = (ROOT / "docs" / "paper_tables.md").read_text(encoding="utf-8")


def read_rows():
    """(paper, row, yamls of pre-training, keys, yamls of fine-tuning)."""
    paper, result = None, []
    for line in PAGE.splitlines():
        if line.startswith("## "):
            paper = line[3:]
        cells = [x.strip() for x in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "row":
            assert len(cells) == 4, line
            coded = [re.findall(r"`([^`]+)`", x) for x in cells]
            finetune = [x for x in coded[3] if " " not in x]
            result.append((paper, cells[0], coded[1], [*coded[2], *(set(coded[3]) - set(finetune))],
                           finetune))  # fmt: skip
    return result


ROWS = read_rows()


def test_the_tables_were_read():
    assert {x[0] for x in ROWS} == {
        "SCRL", "Self-EMD", "DUPR", "Point-level region contrast", "LC-loss",
    }  # fmt: skip
    assert len(ROWS) > 80 and sum(bool(x[3]) for x in ROWS) > 50
    # what is not available says so, and nothing else lacks both yamls
    for _, row, pretrain, keys, finetune in ROWS:
        is_analysis = any(x.startswith("tools/analyze.py") for x in keys)
        assert row.startswith("**") or pretrain or finetune or is_analysis, row


@pytest.mark.parametrize("paper", dict.fromkeys(x[0] for x in ROWS))
def test_every_yaml_exists_and_takes_its_keys(paper):
    for _, row, pretrain, keys, finetune in (x for x in ROWS if x[0] == paper):
        for name in finetune:
            assert (CONFIGS / "finetune" / f"{name}.yaml").is_file(), (row, name)
        pairs = [shlex.split(x) for x in keys if re.match(r"[A-Z]+(\.[A-Z0-9_]+)* ", x + " ")]
        for name in pretrain:
            cfg = load_config(CONFIGS / "pretrain" / f"{name}.yaml")
            for pair in pairs:
                before = cfg.dump()
                cfg.merge_from_list(pair)
                assert cfg.dump() != before, (row, pair)  # a key that changes nothing is a slip
            if any(re.match("MODEL|INPUT", x) for pair in pairs for x in pair[::2]):
                build(cfg)


def test_every_analysis_exists_and_has_a_row():
    named = set(re.findall(r"`tools/analyze.py ([a-z-]+)`", PAGE))
    assert named <= set(all_analyses())
    assert {"sensitivity", "retrieval", "affinity", "matching", "point-affinity", "correspondence",
            "transport", "boxes", "detections", "correlation"} <= named  # fmt: skip


def build(cfg):
    """Build the model as a run would, without memory for its weights."""
    resolve_norms(cfg, logging.getLogger(__name__))
    check_pretraining(cfg)
    resolve_epochs(cfg, 118287)
    meta_architecture(cfg).resolve(cfg, 118287)
    view_settings(cfg.INPUT.VIEWS)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        build_model(cfg)


def test_every_recipe_of_the_papers_is_in_a_row():
    named = {x for row in ROWS for x in row[2]}
    ours = {"dense_cl_R_50_coco", "dense_cl_R_50_imagenet",
            "lc_loss_R_50_coco", "distillation_R_50_coco",
            "distillation_R_50_imagenet"}  # fmt: skip
    recipes = {x.stem for x in CONFIGS.glob("pretrain/*_R_50_*.yaml")}
    assert recipes - named == ours
