"""What a training step costs beyond the backbone passes that it cannot avoid.

The step is everything the trainer does between two iterations (its hooks included) on a batch that
is already stacked: normalisation, passes, boxes, heads, loss, backward, optimizer, target update.
The passes are the same backbone alone, in the same precision and memory format, on the same views:
forward and backward of each online view, forward without gradient of each target view.

Step and passes take turns in one process, so each ratio is of two neighbours in time; the table
holds medians and ranges over the rounds. The breakdown times the parts by themselves, on inputs of
the shapes they have in the step.

    python benchmarks/steps.py
    python benchmarks/steps.py --cases R18@128x32 --heads paper --rounds 15
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from detectron2.config import get_cfg
from detectron2.utils.events import EventStorage

from dense_ssl import add_dense_ssl_config
from dense_ssl.data.batch import stack_samples
from dense_ssl.data.geometry import crop_affine, draw_crop
from dense_ssl.engine import Trainer
from dense_ssl.utils.allocator import tune_allocator

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "Base-Pretrain.yaml"
# Hidden and output width of projector and predictor.
HEADS = {"paper": (4096, 256), "mini": (1024, 128)}
TARGETS = {"BYOL": 1.05, "SCRL": 1.08}


class SyntheticLoader:
    """Gives the same stacked batch of noise, with the geometry of random crops, for ever."""

    dataset = range(100_000)  # the trainer's log counts epochs

    def __init__(self, batch_size, size):
        rng = np.random.default_rng(0)
        self.batch = stack_samples([self._sample(rng, size) for _ in range(batch_size)])

    def __iter__(self):
        while True:
            yield self.batch

    @staticmethod
    def _sample(rng, size):
        views = []
        for _ in range(2):
            crop = draw_crop(rng, 500, 375, (0.2, 1.0), (3 / 4, 4 / 3))
            affine = crop_affine(crop, size, bool(rng.random() < 0.5))
            pixels = torch.from_numpy(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
            views.append({"image": pixels.permute(2, 0, 1), "affine": torch.from_numpy(affine)})
        return {"seed": int(rng.integers(2**62)), "views": views}


class SyntheticTrainer(Trainer):
    """The trainer of pre-training, fed by :class:`SyntheticLoader`; steps one by one."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.iter = 0
        self.storage = EventStorage(0)
        with self.storage:
            self.before_train()

    def build_train_loader(self, cfg, seed):
        return SyntheticLoader(cfg.SOLVER.IMS_PER_BATCH, cfg.INPUT.VIEWS.SIZE[0])

    def step(self):
        """One iteration, as detectron2's loop does it."""
        with self.storage:
            self.before_step()
            self.run_step()
            self.after_step()
        self.iter += 1


def build_trainer(method, heads, case, output):
    """A trainer of a method; ``case`` is (depth, view size, batch size)."""
    depth, size, batch_size = case
    hidden, out = HEADS[heads]
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    cfg.merge_from_file(str(CONFIG))
    cfg.merge_from_list(
        ["MODEL.META_ARCHITECTURE", method, "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN",
         "MODEL.SSL.HEAD_NORM", "BN", "MODEL.RESNETS.DEPTH", depth,
         "MODEL.RESNETS.RES2_OUT_CHANNELS", 64 if depth < 50 else 256,
         f"MODEL.{method}.HIDDEN_DIM", hidden, f"MODEL.{method}.OUT_DIM", out,
         "INPUT.VIEWS.SIZE", (size,), "SOLVER.IMS_PER_BATCH", batch_size, "SOLVER.BASE_LR", 0.01,
         "SOLVER.MAX_ITER", 100_000, "SOLVER.CHECKPOINT_PERIOD", 1_000_000, "SEED", 0,
         "OUTPUT_DIR", output]
    )  # fmt: skip
    torch.manual_seed(0)
    return SyntheticTrainer(cfg)


def autocast():
    """The precision of the step: Base-Pretrain.yaml's."""
    return torch.autocast("cpu", torch.bfloat16)


def backbone_passes(trainer):
    """A function that runs the passes no step can avoid, and nothing else."""
    model = trainer.model
    images = [x.images for x in model.gather_views(trainer.data_loader_seeded.batch)]
    with torch.no_grad(), autocast():
        gradient = torch.ones_like(model.backbone(images[0])["res5"])
    parameters = [x for x in model.backbone.parameters() if x.requires_grad]

    def run():
        for parameter in parameters:
            parameter.grad = None
        for view in images:
            with autocast():
                features = model.backbone(view)["res5"]
            features.backward(gradient)
        with torch.no_grad(), autocast():
            for view in images:
                model.target_backbone(view)

    return run


class FixedPasses:
    """Stands in for the passes of a step: feature maps that are already there."""

    def __init__(self, model, views):
        with torch.no_grad(), autocast():
            self.maps = [model.backbone(x.images)["res5"] for x in views]

    def online(self, view):
        return {"res5": self.maps[view].detach().requires_grad_()}

    def target(self, view):
        return {"res5": self.maps[view]}


def parts(trainer):
    """The parts of a step beyond the passes, {name: function}; indented ones belong to the last."""
    model, batch = trainer.model, trainer.data_loader_seeded.batch
    (objective,) = model.objectives.values()
    views = model.gather_views(batch)
    passes = FixedPasses(model, views)

    def whole_objective():
        with autocast():
            (loss,) = objective(views, passes).values()
        loss.backward()

    result = {
        "normalise the views": lambda: model.gather_views(batch),
        "objective, forward and backward": whole_objective,
    }
    boxes = None
    if hasattr(objective, "sample"):
        boxes = objective.sample(views)[0][0]
        result["  box sampling"] = lambda: objective.sample(views)
        result["  RoIAlign, forward and backward"] = roi_align(objective, passes, boxes)
    rows = len(views[0]) if boxes is None else boxes.shape[0] * boxes.shape[1]
    result["  heads, forward and backward"] = heads(objective, rows)
    result["optimizer"] = trainer.optimizer.step
    result["target update"] = lambda: model.update_target(0.996)
    return result


def roi_align(objective, passes, boxes):
    """A function that pools the boxes of two online and two target passes."""
    rows = torch.arange(len(boxes)).repeat_interleave(boxes.shape[1])
    rois = torch.cat([rows[:, None], boxes.flatten(0, 1)], dim=1).float()

    def run():
        for view in (0, 1):
            pooled = objective.pooler(passes.online(view)["res5"].float(), rois)
            pooled.backward(torch.ones_like(pooled))
            with torch.no_grad():
                objective.pooler(passes.target(view)["res5"].float(), rois)

    return run


def heads(objective, rows):
    """A function that runs projector and predictor on two views, the target projector too."""
    inputs = torch.rand(rows, objective.projector.hidden.in_features)

    def run():
        for _ in range(2):
            with autocast():
                prediction = objective.predictor(objective.projector(inputs.requires_grad_()))
                with torch.no_grad():
                    objective.target_projector(inputs)
            prediction.backward(torch.ones_like(prediction))

    return run


def seconds(function, clock, repeats=1):
    """Time of one call."""
    start = clock()
    for _ in range(repeats):
        function()
    return (clock() - start) / repeats


def spread(values, digits):
    """Median and range."""
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def measure(name, method, width, arguments, output):
    """Print the line of a case and its breakdown."""
    depth, size, batch_size = parse_case(name)
    trainer = build_trainer(method, width, (depth, size, batch_size), output)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    passes = backbone_passes(trainer)
    for _ in range(arguments.warm_up):
        trainer.step()
        passes()
    times = np.array(
        [
            [seconds(x, clock, arguments.steps) for x in (trainer.step, passes)]
            for _ in range(arguments.rounds)
        ]
    )
    step, ideal = 1e3 * times.T
    print(
        f"{name:12s} {method:5s} {width:6s} {spread(step, 0):>21s} {spread(ideal, 0):>21s} "
        f"{spread(step / ideal, 3):>21s}  target {TARGETS[method]}",
        flush=True,
    )
    functions = parts(trainer)
    series = {key: [] for key in functions}
    for _ in range(arguments.rounds):
        for key, function in functions.items():
            series[key].append(1e3 * seconds(function, clock))
    for key, values in series.items():
        share = np.median(values) / np.median(ideal)
        print(f"    {key:36s} {spread(values, 1):>21s} ms {share:7.1%} of the passes", flush=True)


def parse_case(name):
    """ "R18@128x32" -> (18, 128, 32)."""
    depth, _, rest = name[1:].partition("@")
    size, _, batch_size = rest.partition("x")
    return int(depth), int(size), int(batch_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--cases", nargs="+", default=["R18@128x32", "R50@224x8"], help="R<depth>@<size>x<batch>"
    )
    parser.add_argument("--methods", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1, help="steps of each turn")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu-time", action="store_true", help="for a loaded machine, with --threads 1"
    )
    parser.add_argument("--stock-allocator", action="store_true", help="as TUNE_ALLOCATOR False")
    arguments = parser.parse_args()

    warnings.filterwarnings("ignore", message=".*torch.meshgrid.*")
    torch.set_num_threads(arguments.threads)
    tuned = not arguments.stock_allocator and tune_allocator()
    print(f"{arguments.threads} threads, bfloat16, channels-last, allocator tuned: {tuned}")
    print(f"{'case':12s} {'':5s} {'heads':6s} {'step, ms':>21s} {'passes, ms':>21s} {'ratio':>21s}")
    with tempfile.TemporaryDirectory() as output:
        for name in arguments.cases:
            for method in arguments.methods:
                for width in arguments.heads:
                    measure(name, method, width, arguments, output)


if __name__ == "__main__":
    main()
