"""DATASETS.TRAIN and DATASETS.TEST as plain text."""

import json

import pytest
from helpers import CONFIGS, base_config

from dense_ssl.config import load_config
from dense_ssl.solver.schedule import resolve_epochs


@pytest.mark.parametrize("key", ["TRAIN", "TEST"])
@pytest.mark.parametrize("text, expected", [
    ("folder:/x", ("folder:/x",)),
    ("('folder:/x')", ("folder:/x",)),  # the comma that everybody forgets
    ("('folder:/x',)", ("folder:/x",)),
    ("['a', 'b']", ["a", "b"]),
    ("folder:/with, comma", ("folder:/with, comma",)),
    ("", ()),
    ("()", ()),
])  # fmt: skip
def test_one_data_set_needs_no_tuple(tmp_path, key, text, expected):
    assert list(base_config(f"DATASETS.{key}", text).DATASETS[key]) == list(expected)
    for quoted in (f'"{text}"', f"'{text}'" if "'" not in text else f'"{text}"'):
        path = tmp_path / "x.yaml"
        base = CONFIGS / "Base-Pretrain.yaml"
        path.write_text(f'_BASE_: "{base}"\nDATASETS:\n  {key}: {quoted}\n')
        assert list(load_config(str(path)).DATASETS[key]) == list(expected)
        child = tmp_path / "y.yaml"
        child.write_text(f'_BASE_: "{path}"\n')
        cfg = load_config(str(child), ["SOLVER.MAX_ITER", "3"])
        assert list(cfg.DATASETS[key]) == list(expected) and cfg.SOLVER.MAX_ITER == 3


def test_iterations_on_the_command_line_replace_the_epochs_of_a_yaml():
    path = str(CONFIGS / "mini" / "pretrain" / "byol_R_18.yaml")
    assert load_config(path).SOLVER.EPOCHS > 0
    cfg = load_config(path, ["SOLVER.MAX_ITER", "7"])
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.MAX_ITER) == (0, 7)
    cfg = load_config(path, ["SOLVER.MAX_ITER", "7", "SOLVER.EPOCHS", "5"])
    assert cfg.SOLVER.EPOCHS == 5  # both are stated
    resolve_epochs(cfg, num_images=1000)
    assert cfg.SOLVER.MAX_ITER == round(5 * 1000 / cfg.SOLVER.IMS_PER_BATCH)


def test_a_yaml_without_data_sets_keeps_those_of_its_base(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(f'_BASE_: "{CONFIGS / "Base-Pretrain.yaml"}"\nSEED: 3\n')
    assert load_config(str(path)).DATASETS.TRAIN == ("coco_2017_train",)


def test_other_keys_are_as_strict_as_before():
    with pytest.raises(ValueError, match="STEPS"):
        base_config("SOLVER.STEPS", "soon")
    with pytest.raises((KeyError, AssertionError), match="DATASETS.TRIAN"):
        base_config("DATASETS.TRIAN", "folder:/x")


def test_a_copy_and_its_dump_are_those_of_a_plain_config(tmp_path):
    cfg = base_config("DATASETS.TRAIN", "folder:/x", "MODEL.DEVICE", "cpu")
    path = tmp_path / "config.yaml"
    path.write_text(cfg.dump())
    assert json.dumps(load_config(str(path))) == json.dumps(cfg.clone())
