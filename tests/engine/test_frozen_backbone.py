"""Frozen backbones: weights and statistics, kept or estimated, in one process and in two."""

import argparse
import logging

import pytest
import torch
from backbone_kinds import options as kind_options
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from detectron2.utils import comm
from fvcore.nn.precise_bn import BN_MODULE_TYPES
from helpers import DETECTOR, base_config, final_weights, recorded_log

from dense_ssl import engine
from dense_ssl.checkpoint.handover import backbone_names
from dense_ssl.engine.setup import check_finetuning
from dense_ssl.modeling.detectors.freeze import frozen_modules
from dense_ssl.modeling.norm_statistics import estimate_statistics

HOOKS = "dense_ssl.engine.hooks"
LEVELS = ["res3", "res4", "res5"]
NARROW = ["MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
          "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8]  # fmt: skip
# Every form of a frozen backbone: what a detector's yaml adds to, and the backbone's norm.
FORMS = {
    "fpn": ["MODEL.RESNETS.NORM", "SyncBN"],
    "fpn, BN": ["MODEL.RESNETS.NORM", "BN"],
    # res5 is in the head
    "c4": ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES", ["res4"],
           "MODEL.RPN.IN_FEATURES", ["res4"], "MODEL.ROI_HEADS.IN_FEATURES", ["res4"],
           "MODEL.ROI_HEADS.NAME", "Res5ROIHeadsExtraNorm", "MODEL.MASK_ON", False,
           "MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32, 64]]],
    "timm": [*kind_options("mobilenet", "fpn", LEVELS), "MODEL.TIMM.NORM", "SyncBN",
             "MODEL.FPN.NORM", "SyncBN"],
}  # fmt: skip


def options_of(form, scenes, output, *more):
    """The yacs pairs of a short run of a frozen detector, as strings."""
    train = f"coco:{scenes}/annotations/instances_train.json:{scenes}/train"
    pairs = [
        *NARROW, "DATASETS.TRAIN", (train,), "DATASETS.TEST", (), "OUTPUT_DIR", output,
        "INPUT.MIN_SIZE_TRAIN", (96,), "SOLVER.AMP.ENABLED", False, "SOLVER.IMS_PER_BATCH", 4,
        "SOLVER.MAX_ITER", 1, "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.WARMUP_ITERS", 0,
        "SOLVER.STEPS", (), "TEST.PRECISE_BN.NUM_ITER", 2, "MODEL.FREEZE_BACKBONE", True,
        "DATALOADER.ASPECT_RATIO_GROUPING", False, "SEED", 5, *FORMS[form], *more,
    ]  # fmt: skip
    return [str(x) for x in pairs]


def write_weights(cfg, path):
    """Save a detector's backbone whose every tensor is random; returns its tensors."""
    torch.manual_seed(1)
    state = build_model(cfg).state_dict()
    tensors = {x: torch.rand_like(state[x]) + 0.1 for x in backbone_names(state)}
    for x in tensors.values():
        if x.dim() > 1:
            x.sub_(0.6).div_(x[0].numel() ** 0.5)
    torch.save({"model": tensors}, path)
    return tensors


class RecordInputs(HookBase):
    """Keeps what the frozen batch norms get until the first step, as rows of channels."""

    def __init__(self, model):
        self.model, self.inputs, self.handles = model, {}, []

    def before_train(self):
        for name, norm in frozen_norms(self.model).items():
            rows = self.inputs[name] = []

            def hook(module, x, norm=norm, rows=rows):
                if module is norm:  # not the copy that counts the memory of a step
                    rows.append(by_channel(x[0]))

            self.handles.append(norm.register_forward_pre_hook(hook))

    def before_step(self):
        for handle in self.handles:
            handle.remove()


def by_channel(x):
    """(N, C, ...) as (C, all values of the channel) in float64."""
    return x.detach().double().transpose(0, 1).flatten(1)


def frozen_norms(model):
    """{name: batch norm} of the frozen part."""
    frozen = {
        x for m in frozen_modules(model) for x in m.modules() if isinstance(x, BN_MODULE_TYPES)
    }
    return {k: x for k, x in model.named_modules() if x in frozen}


def frozen_run(options, resume=False):
    """Train; return the detector's tensors, and what its frozen norms got before the first step."""
    args = argparse.Namespace(config_file=str(DETECTOR), opts=options,
                              eval_only=False)  # fmt: skip
    trainer = engine.Trainer(engine.setup(args))
    trainer.resume_or_load(resume=resume)
    model = getattr(trainer.model, "module", trainer.model)
    record = RecordInputs(model)
    trainer._hooks.insert(0, record)  # before the hook that estimates
    record.trainer = trainer
    trainer.train()
    inputs = {k: torch.cat(x, 1) for k, x in record.inputs.items() if x}
    # those of the first, of a middle and of the last layer are enough
    names = list(inputs)
    inputs = {k: inputs[k] for k in names[:1] + names[len(names) // 2 :][:1] + names[-1:]}
    return {"model": model.state_dict(), "inputs": inputs, "norms": list(frozen_norms(model)),
            "world": comm.get_world_size()}  # fmt: skip


def weights_and_options(form, scenes, folder, *more):
    """Write random weights for a form; return their tensors and the options of a run on them."""
    cfg = base_config("MODEL.DEVICE", "cpu")
    cfg.merge_from_file(str(DETECTOR))
    cfg.merge_from_list(options_of(form, scenes, folder))
    cfg.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.TIMM.NORM", "BN"])
    tensors = write_weights(cfg, folder / "weights.pth")
    weights = ("MODEL.WEIGHTS", folder / "weights.pth", "MODEL.CHECK_WEIGHTS", False)
    return tensors, options_of(form, scenes, folder / "output", *weights, *more)


# In one process "SyncBN" is "BN".
CASES = [("fpn", 1), ("c4", 1), ("timm", 1), ("fpn", 2), ("fpn, BN", 2), ("c4", 2)]


@pytest.fixture
def run(scenes, tmp_path, process_pool):
    """A function that trains a form on its own weights; gives those and the records by rank."""

    def start(form, processes, *more):
        tensors, options = weights_and_options(form, scenes, tmp_path, *more)
        if processes == 1:
            return tensors, [frozen_run(options)]
        return tensors, process_pool.run(frozen_run, options)

    return start


def is_statistic(name):
    return name.endswith(("running_mean", "running_var"))


def frozen_tensors(tensors):
    """Those of the file that freezing is about: without a pyramid."""
    return {k: x for k, x in tensors.items() if "fpn_" not in k}


@pytest.mark.parametrize("form, processes", CASES)
def test_keep_keeps_statistics_and_weights_to_the_bit(run, form, processes):
    with recorded_log(HOOKS, logging.INFO) as log:
        tensors, records = run(form, processes, "MODEL.FROZEN_NORM_STATS", "keep")
    frozen = frozen_tensors(tensors)
    assert sum(is_statistic(x) for x in frozen) == 2 * len(records[0]["norms"]) > 80
    for record in records:
        for name, value in frozen.items():
            assert torch.equal(record["model"][name], value), name
    if processes == 1:
        (line,) = (x for x in log if "frozen batch norms" in x)
        assert line.startswith(f"{len(records[0]['norms'])} ") and "of the weights" in line


@pytest.mark.parametrize("form, processes", CASES)
def test_estimate_gives_the_statistics_of_the_labelled_images(run, form, processes):
    # PreciseBN after the training, on the same images, would hide that they moved in it
    with recorded_log(HOOKS, logging.INFO) as log:
        tensors, records = run(form, processes, "TEST.PRECISE_BN.ENABLED", False)
    for record in records:
        for name, value in frozen_tensors(tensors).items():
            assert torch.equal(record["model"][name], value) != is_statistic(name), name
            assert torch.equal(record["model"][name], records[0]["model"][name]), name
    for name in records[0]["inputs"]:
        values = torch.cat([x["inputs"][name] for x in records], dim=1)  # (C, all of them)
        state = records[0]["model"]
        assert_close(state[f"{name}.running_mean"], values.mean(1))
        assert_close(
            state[f"{name}.running_var"], ((values - values.mean(1)[:, None]) ** 2).mean(1)
        )
    if processes == 1:
        (line,) = (x for x in log if "frozen batch norms" in x)
        assert line == f"Estimating the statistics of {len(records[0]['norms'])} frozen batch norms on 2 batches"  # noqa: E501  # fmt: skip


def assert_close(a, b):
    torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


def test_two_processes_estimate_what_one_does(scenes, tmp_path, process_pool):
    _, options = weights_and_options("fpn", scenes, tmp_path)
    one = frozen_run(options)["model"]
    two = process_pool.run(frozen_run, options)[0]["model"]
    statistics = [x for x in one if is_statistic(x) and "bottom_up" in x]
    assert len(statistics) == 2 * 53
    for name in statistics:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)


def test_an_estimate_survives_resume_and_is_what_the_checkpoint_has(scenes, tmp_path):
    options = options_of("fpn", scenes, tmp_path, "MODEL.WEIGHTS", "")
    first = frozen_run(options)
    with recorded_log(HOOKS, logging.INFO) as log:
        second = frozen_run([*options, "SOLVER.MAX_ITER", "2"], resume=True)
    assert any("keep the statistics of the checkpoint" in x for x in log)
    assert first["inputs"] and not second["inputs"]
    saved = final_weights(tmp_path)
    for name in (x for x in first["model"] if x.startswith("backbone.bottom_up.")):
        assert torch.equal(first["model"][name], second["model"][name]), name
        assert torch.equal(first["model"][name], saved[name]), name


@pytest.mark.parametrize("more", [
    ["MODEL.RESNETS.NORM", "FrozenBN"], ["MODEL.BACKBONE.FREEZE_AT", 5],
])  # fmt: skip
def test_frozen_bn_always_keeps(scenes, tmp_path, more):
    tensors, options = weights_and_options("fpn", scenes, tmp_path, *more)
    with recorded_log(HOOKS, logging.INFO) as log:
        model = frozen_run(options)["model"]
    assert log == ["The frozen backbone has no batch norm statistics that could change"]
    for name, value in frozen_tensors(tensors).items():
        assert torch.equal(model[name], value), name


def test_random_weights_have_no_statistics_to_keep():
    options = ["MODEL.FREEZE_BACKBONE", True, "MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.WEIGHTS", "",
               "MODEL.RESNETS.NORM", "BN", "MODEL.FROZEN_NORM_STATS"]  # fmt: skip
    with pytest.raises(ValueError, match=r"MODEL\.FROZEN_NORM_STATS is 'keep'.*'estimate'"):
        check_finetuning(base_config(*options, "keep"))
    check_finetuning(base_config(*options, "estimate"))
    check_finetuning(base_config(*options, "keep", "MODEL.WEIGHTS", "backbone.pkl"))


def test_other_values_are_refused(scenes, tmp_path):
    options = options_of("fpn", scenes, tmp_path, "MODEL.FROZEN_NORM_STATS", "fixed")
    with pytest.raises(
        ValueError, match=r"MODEL\.FROZEN_NORM_STATS is 'fixed'.*'estimate', 'keep'"
    ):
        frozen_run(options)


# The estimate itself


class SomeNorms(torch.nn.Module):
    """Batch norms of vectors and of maps, one of them used twice, one never."""

    def __init__(self):
        super().__init__()
        self.maps, self.vectors = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm1d(3)
        self.unused = torch.nn.BatchNorm2d(3)

    def forward(self, x):
        return self.vectors(self.maps(x).mean((2, 3))), self.maps(2 * x[..., :2])


def test_an_estimate_by_hand():
    torch.manual_seed(0)
    model = SomeNorms().train()
    batches = [torch.randn(n, 3, 4, 5) * 3 + 100 for n in (2, 4, 2, 9)]
    estimate_statistics(model, batches, 3)  # not the fourth
    seen, pooled = [], []
    for x in batches[:3]:
        x = x.double()
        seen += [by_channel(x), by_channel(2 * x[..., :2])]
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        pooled.append(((x - mean) / (var + 1e-5).sqrt()).mean((2, 3)).T)
    for norm, values in ((model.maps, torch.cat(seen, 1)), (model.vectors, torch.cat(pooled, 1))):
        assert_close(norm.running_mean, values.mean(1))
        assert_close(norm.running_var, values.var(1, correction=0))
    assert model.unused.running_mean.eq(0).all() and model.unused.running_var.eq(1).all()


def test_an_estimate_of_nothing_but_empty_inputs_changes_nothing():
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.BatchNorm2d(2)).train()
    model[1].forward = lambda x: x
    estimate_statistics(model, [torch.zeros(0, 2, 3, 3)], 1)
    assert model[1].running_mean.eq(0).all() and model[1].running_var.eq(1).all()
