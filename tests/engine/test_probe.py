"""The online probe in a run: what it logs and keeps, and that it changes nothing else."""

import json
import logging
import os
import pickle

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from helpers import ROOT, build_trainer, recorded_log, tiny_config, train
from test_pretraining import assert_equal_checkpoints, load

from dense_ssl.analysis import region_features
from dense_ssl.analysis.region_probe import RegionProbe
from dense_ssl.engine import probe as module
from dense_ssl.engine.probe import OnlineProbe, affordable_period, check_probe, expected_share
from dense_ssl.scenes import SceneSpec, write_scenes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(TRAIN, TEST) of the probe, on labelled scenes."""
    folder = tmp_path_factory.mktemp("probe")
    write_scenes(folder, SceneSpec(), num_unlabeled=0, num_train=6, num_val=4)
    return [f"coco:{folder}/annotations/instances_{x}.json:{folder}/{x}" for x in ("train", "val")]


@pytest.fixture
def config(data, image_folder, tmp_path, restore_catalogs):
    """A function that returns the config of a tiny BYOL with a probe every 2 of 6 steps."""

    def build(folder, *options, method="BYOL"):
        return tiny_config(method, image_folder, tmp_path / folder, *probed(data), *options)

    return build


def probed(data):
    return ["TEST.PROBE.TRAIN", data[0], "TEST.PROBE.TEST", data[1], "TEST.PROBE.PERIOD", 2,
            "TEST.PROBE.SIDE", 64, "GUARDS.MEMORY", 0.0]  # fmt: skip


def checked(cfg):
    check_probe(cfg, True)
    return cfg


def records(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
        return [json.loads(x) for x in file]


def probe_values(cfg):
    """{iteration: value} of probe/linear."""
    return {x["iteration"]: x["probe/linear"] for x in records(cfg) if "probe/linear" in x}


def hook_of(trainer):
    return next(x for x in trainer._hooks if isinstance(x, OnlineProbe))


def best_backbone(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "backbone_best.pkl"), "rb") as file:
        return pickle.load(file)


@pytest.mark.parametrize("method", ["BYOL", "MoCoV2"])
def test_a_run_with_the_probe_is_the_run_without_it(config, method):
    options = ("MODEL.RESNETS.NORM", "SyncBN", "DATALOADER.NUM_WORKERS", 1)
    watched = checked(config("watched", *options, method=method))
    trainer = train(watched)
    plain = config("plain", *options, "TEST.PROBE.TRAIN", "", "TEST.PROBE.TEST", "", method=method)
    train(plain)
    assert_equal_checkpoints(load(watched.OUTPUT_DIR), load(plain.OUTPUT_DIR))
    losses = [[x["total_loss"] for x in records(c) if x["iteration"] == 5]
              for c in (watched, plain)]  # fmt: skip
    assert losses[0] == losses[1]
    assert sorted(probe_values(watched)) == [0, 1, 3, 5] and not probe_values(plain)
    assert hook_of(trainer).probe is None  # its images are not kept


def test_values_are_those_of_the_weights(config):
    """The zero line is of the first weights; the last value and the best are of files."""
    cfg = checked(config("run", "TEST.PROBE.FEATURES", ("res5",)))
    trainer = build_trainer(cfg)
    model = trainer.model
    args = model.pixel_mean, model.pixel_std, "RGB"
    start = RegionProbe(cfg.TEST.PROBE, model.backbone, *args)(model.backbone)
    trainer.train()
    values = probe_values(cfg)
    assert values[0] == pytest.approx(start["linear"]) == pytest.approx(hook_of(trainer).start)
    end = RegionProbe(cfg.TEST.PROBE, model.backbone, *args)(model.backbone)
    last = records(cfg)[-1]
    for name in ("linear", "knn", "res5/rank"):
        assert last[f"probe/{name}"] == pytest.approx(end[name])
    assert 0 < last["probe/share"] < 1 and last["probe/seconds"] > 0
    hook = hook_of(trainer)
    trained = {k: x for k, x in values.items() if k}  # not the start
    assert hook.best == max(trained.values()) and trained[hook.best_iteration - 1] == hook.best
    file = best_backbone(cfg)
    assert file["dense_ssl"]["iteration"] == hook.best_iteration - 1
    assert file["dense_ssl"]["probe"] == hook.best
    for name, x in file["model"].items():
        model.backbone.state_dict()[name].copy_(torch.from_numpy(x))
    again = RegionProbe(cfg.TEST.PROBE, model.backbone, *args)(model.backbone)
    assert again["linear"] == pytest.approx(hook.best)


@pytest.mark.parametrize("killed", [3, 4])  # at a checkpoint, and after the probe behind it
def test_a_resumed_run_is_the_uninterrupted_one(config, killed):
    whole, broken = checked(config("whole")), config("broken")
    expected = hook_of(train(whole))
    train(broken, kill_at=killed)
    found = hook_of(train(broken, resume=True))
    assert_equal_checkpoints(load(whole.OUTPUT_DIR), load(broken.OUTPUT_DIR))
    names = ("best", "best_iteration", "stale", "start")
    assert [getattr(found, x) for x in names] == [getattr(expected, x) for x in names]
    assert probe_values(broken) == probe_values(whole)
    assert best_backbone(broken)["dense_ssl"] == best_backbone(whole)["dense_ssl"]


def test_another_probe_starts_anew(config):
    cfg = checked(config("run"))
    train(cfg, kill_at=4)
    cfg = config("run", "TEST.PROBE.NEIGHBOURS", 3)
    with recorded_log(module.__name__, logging.INFO) as messages:
        hook = hook_of(train(cfg, kill_at=3, resume=True))
    assert hook.best_iteration == 2 and not any("anew" in x for x in messages)
    cfg = config("run", "TEST.PROBE.SIDE", 32)
    with recorded_log(module.__name__, logging.INFO) as messages:
        hook = hook_of(train(cfg, kill_at=3, resume=True))
    assert hook.best_iteration is None and any("anew" in x for x in messages)


class Scored:
    """A probe that gives these values in turn."""

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, backbone):
        return {"linear": next(self.values), "knn": 0.0}

    def describe(self):
        return "boxes"


def scored(cfg, values, monkeypatch):
    monkeypatch.setattr(module, "RegionProbe", lambda *args: Scored(values))
    with recorded_log(module.__name__, logging.INFO) as messages:
        trainer = train(cfg)
    return hook_of(trainer), messages


def test_the_best_is_never_the_start_and_a_run_without_gain_is_reported(config, monkeypatch):
    cfg = checked(config("run"))
    hook, messages = scored(cfg, (50.0, 30.0, 40.0, float("nan")), monkeypatch)
    assert (hook.start, hook.best, hook.best_iteration) == (50.0, 40.0, 4)
    assert best_backbone(cfg)["dense_ssl"]["iteration"] == 3
    assert any("No backbone of this run is better" in x for x in messages)
    assert any("best linear value is 40.0, of iteration 4" in x for x in messages)
    hook, messages = scored(checked(config("up")), (50.0, 30.0, 60.0, 55.0), monkeypatch)
    assert hook.best == 60 and not any("No backbone" in x for x in messages)


def test_the_best_before_an_interruption_stays(config, monkeypatch):
    cfg = checked(config("run"))
    monkeypatch.setattr(module, "RegionProbe", lambda *args: Scored((50.0, 40.0)))
    train(cfg, kill_at=3)
    kept = best_backbone(cfg)
    monkeypatch.setattr(module, "RegionProbe", lambda *args: Scored((30.0, 20.0)))
    hook = hook_of(train(cfg, resume=True))
    assert (hook.start, hook.best, hook.best_iteration, hook.stale) == (50.0, 40.0, 2, 2)
    assert best_backbone(cfg)["dense_ssl"] == kept["dense_ssl"]


def test_a_period_is_chosen_once_and_kept(config, monkeypatch):
    monkeypatch.setattr(module, "LOG_PERIOD", 2)
    options = ("TEST.PROBE.PERIOD", 0, "TEST.PROBE.SHARE", 0.9)
    cfg = checked(config("run", *options))
    monkeypatch.setattr(module, "affordable_period", lambda *args: 2)
    hook, messages = scored(cfg, (1.0, 2.0, 3.0, 4.0), monkeypatch)
    assert hook.period == 2 and sorted(probe_values(cfg)) == [0, 1, 3, 5]
    assert any("Probe every 2 iterations" in x for x in messages)
    monkeypatch.setattr(module, "affordable_period", lambda *args: 5)
    cfg = config("run", *options, "SOLVER.MAX_ITER", 7)  # the first one is complete
    monkeypatch.setattr(module, "RegionProbe", lambda *args: Scored((9.0,) * 9))
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert hook_of(trainer).period == 2


def test_the_period_keeps_the_probes_within_their_share():
    # 1000 steps of 1 s: 50 s for probes of 5 s, two of them at the ends
    period = affordable_period(1000, 1.0, 5.0, 0.05)
    assert period == 140  # 1000 / 8, to a multiple of 20
    assert expected_share(1000, 1.0, 5.0, period) <= 0.05 < expected_share(1000, 1.0, 5.0, 60)
    assert affordable_period(1000, 1.0, 0.01, 0.05) == 60  # a twentieth of the run
    assert affordable_period(1000, 1.0, 20.0, 0.05) == 1000  # both ends alone
    assert affordable_period(1000, 1.0, 100.0, 0.05) == 1000
    assert expected_share(1000, 1.0, 100.0, 1000) == pytest.approx(200 / 1200)


def test_a_stated_period_that_takes_too_long_is_a_warning(config, monkeypatch):
    monkeypatch.setattr(module, "LOG_PERIOD", 2)
    cfg = checked(config("run", "TEST.PROBE.SHARE", 1e-6))
    _, messages = scored(cfg, (1.0,) * 4, monkeypatch)
    assert any("Set TEST.PROBE.PERIOD 6, or a smaller TEST.PROBE.IMAGES" in x for x in messages)


@pytest.mark.parametrize("options, message", [
    (("TEST.PROBE.TEST", ""), "TEST.PROBE.TEST is empty"),
    (("TEST.PROBE.TRAIN", ""), "TEST.PROBE.TRAIN is empty"),
    (("TEST.PROBE.PERIOD", -1), "TEST.PROBE.PERIOD is -1"),
    (("TEST.PROBE.IMAGES", 0), "TEST.PROBE.IMAGES is 0"),
    (("TEST.PROBE.CELL", 30), "TEST.PROBE.CELL is 30"),
    (("TEST.PROBE.TRAIN", "coco:/nowhere.json:/nowhere"), "TEST.PROBE.TRAIN: 'coco:/nowhere"),
    (("TEST.PROBE.TEST", f"folder:{ROOT}"), "TEST.PROBE.TEST: 'folder:.*has no labels"),
])  # fmt: skip
def test_wrong_keys_are_named(config, options, message):
    with pytest.raises((OSError, ValueError), match=message):
        check_probe(config("run", *options), True)


def test_detectors_have_no_probe(config):
    with pytest.raises(ValueError, match="TEST.PROBE watches a pre-training"):
        check_probe(config("run"), False)


def test_a_share_of_a_data_set_may_be_named(config, data):
    checked(config("run", "TEST.PROBE.TRAIN", f"{data[0]}_50pct_seed0"))
    assert len(DatasetCatalog.get(f"{data[0]}_50pct_seed0")) == 3


def run_probed(image_folder, output, data, options):
    """Train with a probe of batches of two images; return (its values, the weights)."""
    region_features._BATCH_PIXELS = 2 * 64**2  # this process is for tests
    cfg = tiny_config("BYOL", image_folder, output, *probed(data), *options)
    trainer = train(checked(cfg))
    weights = {k: x.numpy() for k, x in trainer.model.state_dict().items()}
    comm.synchronize()
    return (probe_values(cfg), weights) if comm.is_main_process() else None


def test_two_processes_share_the_images(data, image_folder, tmp_path, process_pool, monkeypatch):
    # restored at the end
    monkeypatch.setattr(region_features, "_BATCH_PIXELS", region_features._BATCH_PIXELS)
    options = ["MODEL.RESNETS.NORM", "naiveSyncBN", "MODEL.SSL.HEAD_NORM", "naiveSyncBN",
               "SOLVER.MAX_ITER", 2]  # fmt: skip
    watched, _ = process_pool.run(run_probed, image_folder, tmp_path / "two", data, options)
    off = [*options, "TEST.PROBE.TRAIN", "", "TEST.PROBE.TEST", ""]
    plain, _ = process_pool.run(run_probed, image_folder, tmp_path / "off", data, off)
    assert sorted(watched[0]) == [0, 1] and not plain[0]
    for name, x in plain[1].items():
        assert np.array_equal(x, watched[1][name]), name
    # the first weights are those of one process, so is their probe
    options = ["MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN", "SOLVER.MAX_ITER", 2]
    alone = run_probed(image_folder, tmp_path / "one", data, options)
    assert alone[0][0] == pytest.approx(watched[0][0], abs=1e-3)


def test_a_run_resumed_before_the_choice_knows_how_long_a_probe_takes(config, monkeypatch):
    monkeypatch.setattr(module, "LOG_PERIOD", 3)
    seen = []
    monkeypatch.setattr(module, "affordable_period", lambda *args: seen.append(args) or 2)
    monkeypatch.setattr(module, "RegionProbe", lambda *args: Scored((1.0,) * 9))
    cfg = checked(config("run", "TEST.PROBE.PERIOD", 0, "SOLVER.CHECKPOINT_PERIOD", 1))
    train(cfg, kill_at=2)
    assert not seen
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=True)
    hook, known = hook_of(trainer), []
    known.append(hook.seconds)
    trainer.train()
    ((_, _, seconds, _),) = seen
    assert 0 < known[0] == seconds
