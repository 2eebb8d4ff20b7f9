"""Time and memory of a step at the papers' sizes: DenseSSL beside lightly.

    DenseSSL     the yaml of each method's ResNet-50 for COCO: bfloat16 and channels-last
    float32      the same with SOLVER.AMP.ENABLED False
    lightly      the method from lightly's parts, as in its documentation, in float32
    lightly+     the same with bfloat16 autocast and channels-last added by hand

All have a ResNet-50, views of 224 pixels, the papers' heads and queues, and SGD with momentum. The
batch is in memory: no files are read. Each run is a separate process; they take turns in every
round. Memory is by how much the peak of a process grows from before the model is built: weights,
gradients, optimizer, queues, and what a step needs.

    pip install --no-deps lightly==1.6.0 && pip install lightning-utilities
    OMP_NUM_THREADS=1 python benchmarks/peer_steps.py --cpu-time
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from contrast_memory import peak_bytes, start_peak
from out_of_the_box import ROOT, LightlyBYOL, check_lightly
from steps import spread
from torch import nn
from torchvision.models import resnet50

sys.path.insert(0, str(ROOT / "tests"))  # the paper's yaml of each method
from gpu_parts.common import Settings, fixed_trainer, pretrain_config  # noqa: E402

from dense_ssl.utils.allocator import tune_allocator  # noqa: E402

PROGRAMS = ("DenseSSL", "float32", "lightly", "lightly+")
WIDTH, HIDDEN, OUT, QUEUE = 2048, 2048, 128, 65536


class LightlyMoCo(nn.Module):
    """MoCo v2 of lightly's parts; with ``dense`` it is DenseCL."""

    def __init__(self, dense):
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import DenseCLProjectionHead, MoCoProjectionHead

        head = DenseCLProjectionHead if dense else MoCoProjectionHead
        parts = [head(WIDTH, HIDDEN, OUT) for _ in range(1 + dense)]
        maps = nn.Sequential(*list(resnet50().children())[:-2])  # without pooling and classifier
        self.online = nn.ModuleList([maps, *parts])
        self.momentum = copy.deepcopy(self.online).requires_grad_(False)
        losses = (NTXentLoss(temperature=0.2, memory_bank_size=(QUEUE, OUT)) for _ in parts)
        self.losses = nn.ModuleList(losses)

    def follow(self, momentum):
        """Move the momentum encoder towards the online one."""
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.momentum, momentum)

    def loss(self, query, key):
        """The loss of two views."""
        from lightly.models import utils

        queries = encode(self.online, query)
        with torch.no_grad():
            shuffled, shuffle = utils.batch_shuffle(key)
            keys = [utils.batch_unshuffle(x, shuffle) for x in encode(self.momentum, shuffled)]
        losses = [self.losses[0](queries[1], keys[1])]
        if len(self.losses) > 1:
            matched = utils.select_most_similar(queries[0], keys[0], keys[2])
            losses.append(self.losses[1](queries[2].flatten(0, 1), matched.flatten(0, 1)))
        return sum(losses) / len(losses)


def encode(modules, images):
    """Return the cells (N, HW, C), the projection (N, D), and that of the cells if there is one."""
    maps = modules[0](images)
    cells = maps.flatten(2).transpose(1, 2)
    return [cells, modules[1](maps.mean(dim=(2, 3))), *(x(cells) for x in modules[2:])]


# {method: function that builds it}
PEERS = {
    "BYOL": lambda: LightlyBYOL(resnet50(), 4096, 256),
    "MoCoV2": lambda: LightlyMoCo(False),
    "DenseCL": lambda: LightlyMoCo(True),
}


def lightly_step(method, batch_size, tuned):
    """Return a function that trains for one step on one batch of noise."""
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = PEERS[method]().to(memory_format=layout)
    trained = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.03, momentum=0.9, weight_decay=1e-4)
    shape = (batch_size, 3, 224, 224)
    views = [torch.randn(shape).contiguous(memory_format=layout) for _ in range(2)]

    def step():
        model.follow(0.99)
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
            loss = model.loss(*views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(method, batch_size, mixed, folder):
    """Return a function that trains for one step on one batch of photo-like images."""
    tune_allocator()
    cfg = pretrain_config(Settings.of_cpu(folder), method, batch_size, "SOLVER.AMP.ENABLED", mixed,
                          "SOLVER.OPTIMIZER", "SGD", "MODEL.MOCO.QUEUE_SIZE", QUEUE)  # fmt: skip
    return fixed_trainer(cfg).step


def measure(method, program, batch_size, steps, cpu_time):
    """Print seconds of each step after the first, and megabytes, as json."""
    torch.manual_seed(0)
    clock = time.process_time if cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        before = start_peak()
        if program.startswith("lightly"):
            step = lightly_step(method, batch_size, program.endswith("+"))
        else:
            step = our_step(method, batch_size, program == "DenseSSL", folder)
        times = []
        for _ in range(1 + steps):
            start = clock()
            step()
            times.append(clock() - start)
    print(json.dumps({"seconds": times[1:], "megabytes": (peak_bytes() - before) / 1e6}))


def run_job(job):
    """Return what :func:`measure` prints in a process of its own."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{job} failed:\n{result.stderr[-4000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--methods", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed in each round, after the first")
    parser.add_argument("--cpu-time", action="store_true", help="for shared machines")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        return measure(**arguments.job)
    check_lightly()
    shared = {x: getattr(arguments, x) for x in ("steps", "batch_size", "cpu_time")}
    for method in arguments.methods:
        results = {x: [] for x in PROGRAMS}
        for _ in range(arguments.rounds):
            for program, series in results.items():
                job = {"method": method, "program": program, **shared}
                series.append(run_job(job))
        for program, series in results.items():
            seconds = np.array([np.median(x["seconds"]) for x in series])
            ours = [np.median(x["seconds"]) for x in results["DenseSSL"]]
            megabytes = np.array([x["megabytes"] for x in series])
            print(f"{method:10s} {program:10s} {spread(seconds, 2):>18s} s "
                  f"{spread(seconds / ours, 2):>18s} {spread(megabytes, 0):>18s} MB",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
