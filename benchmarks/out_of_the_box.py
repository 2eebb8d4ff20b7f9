"""Images per second of BYOL with DenseSSL's train_net.py and with lightly, as users get them.

    DenseSSL     train_net.py with configs/mini/pretrain/byol_R_18.yaml, with SGD as below
    lightly      BYOL as in lightly's documentation: its heads, loss, transform and data set,
                 torchvision's ResNet-18, SGD, float32
    lightly+     the same with bfloat16 autocast and channels-last added by hand

All read the same JPEG files and use the same view size, crop range, batch and head widths. A step
has two online passes (forward and backward) and two target passes (forward). lightly uses the best
of several numbers of workers, found in the first round; 8 is the number in its documentation.

Each run is a separate process. The programs take turns in every round, and the warm-up is not
counted. The rates of train_net.py are those that it prints.

    python benchmarks/out_of_the_box.py
    python benchmarks/out_of_the_box.py --images datasets/coco/val2017 --rounds 5
"""

import argparse
import copy
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from dense_ssl.config import load_config

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "mini" / "pretrain" / "byol_R_18.yaml"
LIGHTLY = "1.6.0"
# train_net.py prints its rate every this many iterations, the first time after twice as many.
WARM_UP = 20
TARGETS = {"lightly": 2.2, "lightly+": 1.05}


class LightlyBYOL(nn.Module):
    """BYOL on a ResNet of torchvision, built from lightly's parts."""

    def __init__(self, network, hidden_dim, out_dim):
        super().__init__()
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        width = network.fc.in_features
        # a ResNet without its classifier
        self.backbone = nn.Sequential(*list(network.children())[:-1])
        self.projection_head = BYOLProjectionHead(width, hidden_dim, out_dim)
        self.prediction_head = BYOLPredictionHead(out_dim, hidden_dim, out_dim)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, x):
        features = self.backbone(x).flatten(start_dim=1)
        return self.prediction_head(self.projection_head(features))

    def forward_momentum(self, x):
        features = self.backbone_momentum(x).flatten(start_dim=1)
        return self.projection_head_momentum(features).detach()

    def follow(self, momentum):
        """Move the target towards the online network."""
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        update_momentum(self.projection_head, self.projection_head_momentum, m=momentum)

    def loss(self, x0, x1):
        """The symmetric loss of two views."""
        p0, z0 = self(x0), self.forward_momentum(x0)
        p1, z1 = self(x1), self.forward_momentum(x1)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


def lightly_loader(folder, workers, batch_size, size, min_scale):
    """Return a torch loader of lightly's data set and transform, as in its documentation."""
    from lightly.data import LightlyDataset
    from lightly.transforms import byol_transform as byol

    views = {"input_size": size, "min_scale": min_scale}
    transform = byol.BYOLTransform(
        byol.BYOLView1Transform(**views), byol.BYOLView2Transform(**views)
    )
    dataset = LightlyDataset(folder, transform=transform)
    return torch.utils.data.DataLoader(
        dataset, batch_size=batch_size, shuffle=True, drop_last=True, num_workers=workers
    )


def train_lightly(tuned, iterations, heads, **data):
    """Train for the warm-up, then for ``iterations``; print the images per second of the latter."""
    from lightly.utils.scheduler import cosine_schedule

    layout = torch.channels_last if tuned else torch.contiguous_format
    model = LightlyBYOL(torchvision.models.resnet18(), *heads).to(memory_format=layout)
    loader = lightly_loader(**data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    epochs, total_loss, ends = 10, 0, []
    for epoch in range(epochs):
        momentum = cosine_schedule(epoch, epochs, 0.996, 1)
        for batch in loader:
            x0, x1 = (x.to(memory_format=layout) for x in batch[0])
            model.follow(momentum)
            with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
                loss = model.loss(x0, x1)
            total_loss += loss.detach()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            ends.append(time.perf_counter())
            if len(ends) == WARM_UP + iterations:
                rate = iterations * data["batch_size"] / (ends[-1] - ends[WARM_UP - 1])
                print(f"{rate:.3f} img/s")
                return


def check_lightly():
    """Exit with installation instructions unless lightly has the expected version."""
    found = [x.version for x in importlib.metadata.distributions(name="lightly")]
    if LIGHTLY not in found:
        raise SystemExit(
            f"This needs lightly {LIGHTLY} (found: {found or 'none'}), which is not part of "
            "the project's environment. To install it without changing torch:\n"
            f"    pip install --no-deps lightly=={LIGHTLY} && pip install lightning-utilities"
        )


def program_rates(*command, log=None):
    """Run a Python program and return the rates in its output, or in the file ``log``.

    Exits with the output if it fails.
    """
    result = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True
    )
    text = log.read_text() if log and log.is_file() else result.stdout
    rates = [float(x) for x in re.findall(r"([\d.]+) img/s", text)]
    if result.returncode or not rates:
        raise SystemExit(f"{command[0]} failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
    return rates


def our_command(config, folder, output, batch_size, iterations, *options):
    """Return train_net.py with SGD on a folder, for ``iterations`` after the warm-up."""
    return (
        ROOT / "train_net.py", "--config-file", config, "OUTPUT_DIR", output,
        "DATASETS.TRAIN", f"('folder:{folder}',)", "SOLVER.IMS_PER_BATCH", batch_size,
        "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.06,
        "SOLVER.EPOCHS", 0, "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0,
        # one more, not counted: the last one also writes the checkpoint
        "SOLVER.MAX_ITER", WARM_UP + iterations + 1, "SOLVER.WARMUP_ITERS", WARM_UP,
        "SOLVER.CHECKPOINT_PERIOD", 1_000_000, *options,
    )  # fmt: skip


def our_rate(rates):
    """Return the images per second of the rates of train_net.py, each of as many steps."""
    *rates, _ = rates  # the last one is of the step that writes the checkpoint
    return len(rates) / sum(1 / x for x in rates)


def run_dense_ssl(folder, cfg, iterations):
    """Return the images per second of train_net.py after the warm-up."""
    with tempfile.TemporaryDirectory() as output:
        command = our_command(CONFIG, folder, output, cfg.SOLVER.IMS_PER_BATCH, iterations)
        return our_rate(program_rates(*command, log=Path(output, "log.txt")))


def run_lightly(folder, cfg, iterations, workers, tuned):
    """Run :func:`train_lightly` with the config's settings in its own process."""
    job = {
        "tuned": tuned,
        "iterations": iterations,
        "heads": [cfg.MODEL.BYOL.HIDDEN_DIM, cfg.MODEL.BYOL.OUT_DIM],
        "folder": str(folder),
        "workers": workers,
        "batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "size": cfg.INPUT.VIEWS.SIZE[0],
        "min_scale": cfg.INPUT.VIEWS.CROP_SCALE[0][0],
    }
    return program_rates(__file__, "--job", json.dumps(job))[0]


def fill_folder(folder, images, count):
    """Write ``count`` JPEG files, repeating images if there are fewer.

    ``count`` must be large enough that no run reaches the end of the data, where loaders restart
    their workers.
    """
    from views import load_jpegs

    sources = load_jpegs(images, 200)
    for index in range(count):
        (Path(folder) / f"{index:06d}.jpg").write_bytes(sources[index % len(sources)])
    size = np.mean([len(x) for x in sources]) / 1e3
    print(f"{count} files of {len(sources)} JPEGs, {size:.0f} kB on average", flush=True)
    return folder


def compare(folder, cfg, arguments):
    """Return the images per second, {program: [one per round]}."""
    work = (folder, cfg, arguments.iterations)
    ways = {"DenseSSL": partial(run_dense_ssl, *work)}
    for name in TARGETS:
        for n in arguments.workers:
            ways[f"{name} {n} workers"] = partial(run_lightly, *work, n, name.endswith("+"))
    rates = {name: [] for name in ways}
    for turn in range(arguments.rounds):
        for name, run in ways.items():
            rates[name].append(run())
            print(f"round {turn + 1}  {name:20s} {rates[name][-1]:7.2f} img/s", flush=True)
        if turn == 0:  # keep only the best number of workers
            best = {x.split()[0]: x for x in sorted(ways, key=lambda x: rates[x][0])}
            ways = {x: run for x, run in ways.items() if x in best.values()}
    return {name: rates[name] for name in ways}


def print_table(rates, remark):
    """Print medians and ranges, of the rates and of DenseSSL's ratio within each round.

    Args:
        rates: {program: [images per second, one per round]}, DenseSSL's first.
        remark: function of a program that returns the last column.
    """
    ours = np.array(rates["DenseSSL"])
    print(f"\n{'':22s} {'img/s':>22s} {'DenseSSL / it':>20s}")
    for name, series in rates.items():
        rate = f"{np.median(series):.1f} [{min(series):.1f}-{max(series):.1f}]"
        ratios = ours / np.array(series)
        ratio = f"{np.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
        print(f"{name:22s} {rate:>22s} {ratio:>20s}  {remark(name)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", help="folder of JPEGs; default: generated images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--iterations", type=int, default=40, help=f"timed iterations, a multiple of {WARM_UP}"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 8], help="of lightly")
    parser.add_argument("--batch-size", type=int, help="default: the config's")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)  # one run of lightly
    arguments = parser.parse_args()
    if arguments.job:
        return train_lightly(**arguments.job)
    if arguments.iterations < WARM_UP or arguments.iterations % WARM_UP:
        parser.error(f"--iterations must be a multiple of {WARM_UP}")
    check_lightly()
    cfg = load_config(str(CONFIG))
    cfg.SOLVER.IMS_PER_BATCH = arguments.batch_size or cfg.SOLVER.IMS_PER_BATCH
    with tempfile.TemporaryDirectory() as folder:
        count = (WARM_UP + arguments.iterations + 2) * cfg.SOLVER.IMS_PER_BATCH
        rates = compare(fill_folder(folder, arguments.images, count), cfg, arguments)
    print_table(rates, lambda name: f"target {TARGETS.get(name.split()[0], '-')}")


if __name__ == "__main__":
    main()
