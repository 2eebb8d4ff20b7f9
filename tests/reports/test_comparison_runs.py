"""The runs of a comparison: names, settings, fingerprints, and which may share a table."""

import hashlib
import shutil

import pytest
from helpers import CONFIGS

from dense_ssl.reports.comparison_backbones import Backbone
from dense_ssl.reports.comparison_plan import plan_runs
from dense_ssl.reports.comparison_runs import (
    RECORD,
    Run,
    check_comparable,
    find_runs,
    protocol_name,
)
from dense_ssl.reports.run_settings import differences, fingerprint, read_config, run_settings

MASK_RCNN = CONFIGS / "finetune" / "COCO-InstanceSegmentation" / "mask_rcnn_R_50_FPN_1x.yaml"
RETINANET = CONFIGS / "finetune" / "COCO-Detection" / "retinanet_R_50_FPN_1x.yaml"


@pytest.mark.parametrize(
    "text, name, path",
    [
        ("random", "random", ""),
        ("scratch=random", "scratch", ""),
        ("out/scrl/backbone.pkl", "scrl", "out/scrl/backbone.pkl"),
        ("out/scrl/model_final.pth", "scrl", "out/scrl/model_final.pth"),
        ("zoo/dense_cl.pth", "dense_cl", "zoo/dense_cl.pth"),
        ("a=zoo/x.pth?matching_heuristics=True", "a", "zoo/x.pth?matching_heuristics=True"),
    ],
)
def test_backbones_are_named(text, name, path):
    assert Backbone.parse(text) == Backbone(name, path)


def test_a_path_may_have_an_equals_sign(tmp_path):
    path = tmp_path / "lr=0.1" / "ours" / "backbone.pkl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert Backbone.parse(str(path)) == Backbone("ours", str(path))
    assert Backbone.parse(f"a={path}") == Backbone("a", str(path))


@pytest.mark.parametrize("text", ["backbone.pkl", "a b=x.pkl", "=x.pkl", "a/b=x.pkl"])
def test_names_that_cannot_be_a_folder_are_refused(text):
    with pytest.raises(ValueError, match="NAME=PATH"):
        Backbone.parse(text)


def test_seeds_change_last(tmp_path):
    backbones = [Backbone("a", ""), Backbone("b", "")]
    runs = plan_runs(backbones, [MASK_RCNN, RETINANET], [3, 1], tmp_path)
    assert [(x.seed, x.protocol.split("/")[1][:4], x.backbone) for x in runs] == [
        (3, "mask", "a"), (3, "mask", "b"), (3, "reti", "a"), (3, "reti", "b"),
        (1, "mask", "a"), (1, "mask", "b"), (1, "reti", "a"), (1, "reti", "b"),
    ]  # fmt: skip
    assert runs[2].folder == tmp_path / protocol_name(RETINANET) / "a" / "seed3"
    assert runs[0].last_iteration == 90000 and runs[0].settings["SOLVER.BASE_LR"] == 0.02
    assert not list(tmp_path.iterdir())  # planning writes nothing


def test_each_seed_may_have_weights_of_its_own(tmp_path):
    for seed in (1, 2):
        (tmp_path / f"pre{seed}.pkl").write_text(str(seed))
    backbone = Backbone.parse(f"ours={tmp_path}/pre{{seed}}.pkl")
    runs = plan_runs([backbone], [MASK_RCNN], [1, 2], tmp_path / "out")
    weights = [x.settings["MODEL.WEIGHTS"] for x in runs]
    assert weights == [f"sha256:{hashlib.sha256(x).hexdigest()}" for x in (b"1", b"2")]
    check_comparable(runs)
    runs[0].per_seed = runs[1].per_seed = False
    with pytest.raises(ValueError, match="different files with the name 'ours'"):
        check_comparable(runs)


def test_the_fingerprint_follows_the_content(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"weights")
    print_of = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert fingerprint(str(path)) == print_of
    assert fingerprint(f"{path}?matching_heuristics=True") == f"{print_of}?matching_heuristics=True"
    path.write_bytes(b"others")
    assert fingerprint(str(path)) == f"sha256:{hashlib.sha256(b'others').hexdigest()}"
    assert fingerprint("") == ""


def test_a_run_is_read_as_it_was_written(tmp_path):
    (run,) = plan_runs([Backbone("a", "")], [MASK_RCNN], [1], tmp_path, ["SOLVER.STEPS", "(5,)"])
    run.write()
    (found,) = find_runs(tmp_path)
    assert (found.folder, found.settings, str(found)) == (run.folder, run.settings, str(run))
    assert found.settings["SOLVER.STEPS"] == [5]
    assert Run.read(tmp_path) is None
    check_comparable([run, found])
    shutil.copytree(run.folder, run.folder.with_name("seed1-copy"))
    with pytest.raises(ValueError, match="is there twice"):
        find_runs(tmp_path)


def settings(*options):
    return run_settings(read_config(MASK_RCNN, options))


def test_differences_are_named_with_their_values():
    old, new = settings(), settings("SOLVER.BASE_LR", "0.01", "MODEL.MASK_ON", "False")
    assert differences(old, new) == [
        "MODEL.MASK_ON: True, now False", "SOLVER.BASE_LR: 0.02, now 0.01"
    ]  # fmt: skip
    assert differences(old, new, ["MODEL.MASK_ON", "SOLVER.BASE_LR"]) == []
    free = ("OUTPUT_DIR", "x", "VIS_PERIOD", "9", "DATALOADER.NUM_WORKERS", "1")
    assert differences(old, settings(*free)) == []


def test_keys_of_another_version_count_as_their_defaults():
    old, new = settings(), settings()
    assert old.pop("MODEL.FREEZE_BACKBONE") is False  # as if the key were new
    assert differences(old, new) == differences(new, old) == []
    new["MODEL.FREEZE_BACKBONE"] = True
    assert differences(old, new) == ["MODEL.FREEZE_BACKBONE: False, now True"]
    old["GONE"] = 3
    assert "GONE: 3, now None" in differences(old, new)


def test_the_schedule_is_scaled_to_the_number_of_gpus():
    options = ["SOLVER.REFERENCE_WORLD_SIZE", "8"]
    assert read_config(MASK_RCNN, options, num_gpus=4).SOLVER.MAX_ITER == 180000
    assert read_config(MASK_RCNN, [], num_gpus=4).SOLVER.MAX_ITER == 90000


def test_leftovers_of_a_killed_start_are_no_conflict(tmp_path):
    (run,) = plan_runs([Backbone("a", "")], [MASK_RCNN], [1], tmp_path)
    run.folder.mkdir(parents=True)
    stem = RECORD.rpartition(".")[0]
    for name in (f"{stem}.lock", f"{stem}.json.tmp77"):
        (run.folder / name).touch()
    assert run.conflict() == ""
    (run.folder / "model_final.pth").touch()
    assert "no comparison_run.json" in run.conflict()


@pytest.mark.parametrize(
    "options, message",
    [
        (["DATASETS.TEST", "()"], "there would be no result"),
        (["MODEL.META_ARCHITECTURE", "BYOL"], "config of pre-training"),
        (["SOLVER.BASE_LR"], "SOLVER.BASE_LR"),
        (["SOLVER.MAX_ITER", "many"], "many"),
    ],
)
def test_configs_without_a_result_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        read_config(MASK_RCNN, options)


def test_an_invalid_yaml_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("MODEL: [")
    with pytest.raises(ValueError, match="x.yaml"):
        read_config(path, [])


def test_negative_seeds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--seeds: -1"):
        plan_runs([Backbone("a", "")], [MASK_RCNN], [-1], tmp_path)
