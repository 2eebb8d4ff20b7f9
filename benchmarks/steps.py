"""Time of a training step, relative to the backbone passes that it needs.

The step is one iteration of the trainer, including its hooks, on a batch that is already stacked:
normalisation, passes, boxes, heads, loss, backward, optimizer, target update. The passes are those
of the same backbone alone, in the same precision and memory format, on the same views: forward and
backward of each online view, forward without gradient of each target view.

Step and passes take turns in one process, so the two times of a ratio are measured one right after
the other. The table shows medians and ranges over the rounds. The breakdown times each part alone,
on inputs of the same shapes as in the step.

    python benchmarks/steps.py
    python benchmarks/steps.py --threads 1 --cpu-time       on a shared machine
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from detectron2.utils.events import EventStorage

from dense_ssl.config import load_config
from dense_ssl.data.views.batch import stack_samples
from dense_ssl.data.views.crops import crop_affine, draw_crop
from dense_ssl.engine import Trainer
from dense_ssl.engine.guards import CheckStart
from dense_ssl.modeling.geometry.boxes import pool_boxes
from dense_ssl.utils.allocator import tune_allocator

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "Base-Pretrain.yaml"
# Hidden and output width of projector and predictor.
HEADS = {"paper": (4096, 256), "mini": (1024, 128)}
TARGETS = {"BYOL": 1.05, "SCRL": 1.08}
autocast = partial(torch.autocast, "cpu", torch.bfloat16)  # as in Base-Pretrain.yaml


class SyntheticLoader:
    """An endless loader of one stacked batch of noise with the geometry of random crops."""

    dataset = range(100_000)  # the trainer's log counts epochs

    def __init__(self, batch_size, size):
        rng = np.random.default_rng(0)
        views = [[self._view(rng, size) for _ in range(2)] for _ in range(batch_size)]
        self.batch = stack_samples([{"seed": i, "views": x} for i, x in enumerate(views)])

    def __iter__(self):
        while True:
            yield self.batch

    @staticmethod
    def _view(rng, size):
        crop = draw_crop(rng, 500, 375, (0.2, 1.0), (3 / 4, 4 / 3))
        affine = crop_affine(crop, size, bool(rng.random() < 0.5))
        pixels = torch.from_numpy(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        return {"image": pixels.permute(2, 0, 1), "affine": torch.from_numpy(affine)}


class SyntheticTrainer(Trainer):
    """The pre-training trainer on a :class:`SyntheticLoader`, run step by step."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.iter, self.storage = 0, EventStorage(0)
        with self.storage:
            self.before_train()

    def build_hooks(self):
        """The hooks of a run, except the check of its images."""
        return [x for x in super().build_hooks() if not isinstance(x, CheckStart)]

    def build_train_loader(self, cfg, seed):
        return SyntheticLoader(cfg.SOLVER.IMS_PER_BATCH, cfg.INPUT.VIEWS.SIZE[0])

    def step(self):
        """Run one iteration, as in detectron2's loop."""
        with self.storage:
            self.before_step()
            self.run_step()
            self.after_step()
        self.iter += 1


def build_trainer(method, heads, case, output):
    """Return a trainer of a method; ``case`` is "R<depth>@<view size>x<batch size>"."""
    depth, size, batch_size = map(int, case[1:].replace("@", "x").split("x"))
    hidden, out = HEADS[heads]
    cfg = load_config(
        str(CONFIG),
        ["MODEL.META_ARCHITECTURE", method, "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN",
         "MODEL.SSL.HEAD_NORM", "BN", "MODEL.RESNETS.DEPTH", depth,
         "MODEL.RESNETS.RES2_OUT_CHANNELS", 64 if depth < 50 else 256,
         f"MODEL.{method}.HIDDEN_DIM", hidden, f"MODEL.{method}.OUT_DIM", out,
         "INPUT.VIEWS.SIZE", (size,), "SOLVER.IMS_PER_BATCH", batch_size, "SOLVER.BASE_LR", 0.01,
         "SOLVER.MAX_ITER", 100_000, "SOLVER.CHECKPOINT_PERIOD", 1_000_000, "SEED", 0,
         "LOG.REPORT", False,
         "OUTPUT_DIR", output],
    )  # fmt: skip
    torch.manual_seed(0)
    return SyntheticTrainer(cfg)


def precision_of(trainer):
    """Return the autocast of a trainer's steps, as a function without arguments."""
    device, dtype = trainer._trainer.device, trainer._trainer.precision
    return partial(torch.autocast, device.type, dtype, enabled=dtype is not None)


def backbone_passes(trainer):
    """Return a function that runs only the passes of a step: backbones, and a teacher."""
    model, precision = trainer.model, precision_of(trainer)
    images = [x.images for x in model.gather_views(trainer.data_loader.batch)]
    objectives = model.objectives.values()
    online = sorted({i for x in objectives for i in x.online_views})
    target = sorted({i for x in objectives for i in x.target_views})
    taught = [(x.teacher, i) for x in objectives if hasattr(x, "teacher") for i in x.online_views]
    gradients = {}
    with torch.no_grad(), precision():
        for i in online:
            gradients[i] = [torch.ones_like(x) for x in model.backbone(images[i]).values()]

    def run():
        model.backbone.zero_grad()
        for i in online:
            with precision():
                features = model.backbone(images[i])
            torch.autograd.backward(list(features.values()), gradients[i])
        with torch.no_grad(), precision():
            for i in target:
                model.target_backbone(images[i])
            for teacher, i in taught:
                teacher(images[i])

    return run


def fixed_passes(model, views):
    """Return a replacement for the passes of a step, with precomputed feature maps."""
    with torch.no_grad(), autocast():
        maps = [model.backbone(x.images)["res5"] for x in views]
    return SimpleNamespace(
        online=lambda view: {"res5": maps[view].detach().requires_grad_()},
        target=lambda view: {"res5": maps[view]},
        through=lambda head, inputs: {view: head(x) for view, x in inputs.items()},
    )


def parts(trainer):
    """Return the other parts of a step, {name: function}; indented names are parts of a part."""
    model, batch = trainer.model, trainer.data_loader.batch
    (objective,) = model.objectives.values()
    views = model.gather_views(batch)
    passes = fixed_passes(model, views)

    def whole_objective():
        with autocast():
            (loss,) = objective(views, passes).values()
        loss.backward()

    result = {
        "normalise the views": lambda: model.gather_views(batch),
        "objective, forward and backward": whole_objective,
    }
    rows = len(views[0])
    if hasattr(objective, "sample"):
        boxes = objective.sample(views)[0][0]
        rows = len(boxes.flatten(0, 1))
        result["  box sampling"] = lambda: objective.sample(views)
        result["  RoIAlign, forward and backward"] = roi_align(objective, passes, boxes)
    result["  heads, forward and backward"] = heads(objective, rows)
    result["optimizer"] = trainer.optimizer.step
    result["target update"] = lambda: model.update_target(0.996)
    return result


def roi_align(objective, passes, boxes):
    """Return a function that pools the boxes of two online and two target passes."""

    def run():
        for view in range(2):
            features = passes.online(view)["res5"].float()
            pooled = pool_boxes(objective.pooler, features, boxes)
            pooled.backward(torch.ones_like(pooled))
            pool_boxes(objective.pooler, features.detach(), boxes)

    return run


def heads(objective, rows):
    """Return a function that runs projector, predictor and target projector on two views."""
    inputs = torch.rand(rows, objective.projector.hidden.in_features, requires_grad=True)

    def run():
        with autocast():
            online = [objective.predictor(objective.projector(inputs)) for _ in range(2)]
            with torch.no_grad():
                _ = [objective.target_projector(inputs) for _ in range(2)]
        torch.cat(online).sum().backward()

    return run


def seconds(function, clock):
    """Return the time of one call."""
    start = clock()
    function()
    return clock() - start


def in_turns(functions, rounds, clock):
    """Return the times of functions that take turns: (rounds, functions)."""
    return np.array([[seconds(x, clock) for x in functions] for _ in range(rounds)])


def spread(values, digits):
    """Return median and range as text."""
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def measure(trainer, name, target, arguments):
    """Print the line of a case and its breakdown."""
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    passes = backbone_passes(trainer)
    for _ in range(arguments.warm_up):
        trainer.step()
        passes()
    step, ideal = 1e3 * in_turns((trainer.step, passes), arguments.rounds, clock).T
    print(
        f"{name:25s} {spread(step, 0):>21s} {spread(ideal, 0):>21s} "
        f"{spread(step / ideal, 3):>21s}  target {target}"
    )
    functions = parts(trainer)
    times = 1e3 * in_turns(functions.values(), arguments.rounds, clock).T
    for part, values in zip(functions, times):
        share = np.median(values) / np.median(ideal)
        print(f"    {part:32s} {spread(values, 1):>21s} ms {share:6.1%} of the passes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--cases", nargs="+", default=["R18@128x32", "R50@224x8"], help="R<depth>@<size>x<batch>"
    )
    parser.add_argument("--methods", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="for shared machines")
    parser.add_argument("--stock-allocator", action="store_true", help="TUNE_ALLOCATOR False")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    tuned = not arguments.stock_allocator and tune_allocator()
    print(f"{arguments.threads} threads, bfloat16, channels-last, allocator tuned: {tuned}")
    print(f"{'':25s} {'step, ms':>21s} {'passes, ms':>21s} {'ratio':>21s}")
    for case in arguments.cases:
        for method in arguments.methods:
            for width in arguments.heads:
                with tempfile.TemporaryDirectory() as output:
                    trainer = build_trainer(method, width, case, output)
                    measure(trainer, f"{case} {method} {width}", TARGETS[method], arguments)


if __name__ == "__main__":
    main()
