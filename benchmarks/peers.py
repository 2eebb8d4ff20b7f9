"""DenseCL end to end, images per second and memory: train_net.py beside LightlyTrain.

    DenseSSL      train_net.py with configs/mini/pretrain/dense_cl_R_18.yaml
    LightlyTrain  lightly_train.pretrain(method="densecl") with torchvision's ResNet-18, in float32
                  and in its bf16-mixed precision

All read the same JPEG files, with the same size of views, batch, widths of heads and queue, and
SGD. A step is an online pass, forward and backward, and a target pass. Each run is a separate
process; they take turns in every round, and the first steps are not counted. Memory is the largest
that the process and its workers had, shared pages counted once.

    pip install lightly-train==0.18.0     (into a copy of the environment)
    OMP_NUM_THREADS=2 python benchmarks/peers.py --images datasets/VOC2012/JPEGImages
"""

import argparse
import functools
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from out_of_the_box import ROOT, WARM_UP, fill_folder, our_command, our_rate, print_table

CONFIG = ROOT / "configs" / "mini" / "pretrain" / "dense_cl_R_18.yaml"
SIZE, HIDDEN, OUT, QUEUE = 128, 512, 128, 2048
PEERS = {"LightlyTrain, float32": "32-true", "LightlyTrain, bf16": "bf16-mixed"}
_times = []  # of the forward passes of this process


def train_peer(folder, output, batch_size, iterations, workers, precision):
    """Train, and print the images per second after the warm-up."""
    import lightly_train
    import torchvision

    model = torchvision.models.resnet18()
    # of both encoders, which are copies of the model: twice a step
    model.conv1.register_forward_hook(note_time)
    steps = WARM_UP + iterations
    lightly_train.pretrain(
        out=output, data=folder, model=model, method="densecl", batch_size=batch_size,
        method_args={"hidden_dim": HIDDEN, "output_dim": OUT, "memory_bank_size": QUEUE},
        transform_args={"image_size": (SIZE, SIZE)}, num_workers=workers, precision=precision,
        accelerator="cpu", devices=1, epochs=1, optim="sgd", loggers={"tensorboard": None},
        trainer_args={"max_steps": steps + 1},
    )  # fmt: skip
    starts = _times[::2]
    print(f"rate {iterations * batch_size / (starts[steps] - starts[WARM_UP]):.3f}")


def note_time(*_):
    """Keep the time of a forward pass; a checkpoint holds hooks, so it has a name."""
    _times.append(time.perf_counter())


def run_peer(precision, folder, arguments):
    """Run :func:`train_peer` in its own process; returns (images per second, MB)."""
    with tempfile.TemporaryDirectory() as output:
        job = {"folder": folder, "output": f"{output}/run", "batch_size": arguments.batch_size,
               "iterations": arguments.iterations, "workers": arguments.workers,
               "precision": precision}  # fmt: skip
        text, memory = watched(__file__, "--job", json.dumps(job))
    return float(text.rpartition("rate ")[2].split()[0]), memory


def run_ours(folder, arguments):
    """Return (images per second, MB) of train_net.py."""
    with tempfile.TemporaryDirectory() as output:
        command = our_command(
            CONFIG, folder, output, arguments.batch_size, arguments.iterations,
            "DATALOADER.NUM_WORKERS", arguments.workers, "LOG.REPORT", False, "VIS_PERIOD", 0,
            "MODEL.MOCO.QUEUE_SIZE", QUEUE, "MODEL.MOCO.OUT_DIM", OUT,
        )  # fmt: skip
        _, memory = watched(*command)
        rates = re.findall(r"([\d.]+) img/s", Path(output, "log.txt").read_text())
    return our_rate([float(x) for x in rates]), memory


def watched(*command):
    """Run a Python program; returns its output and the most memory it had, in MB."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    peak, text = 0, []
    reader = threading.Thread(target=lambda: text.append(process.stdout.read()))
    reader.start()
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.2)
    reader.join()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed:\n{text[0][-4000:]}")
    return text[0], peak / 2**20


def resident(pid):
    """Return the bytes of a process and its workers; pages that they share count once each."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(x.memory_full_info().pss for x in family)
    except psutil.Error:
        return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", help="folder of JPEGs; default: generated images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=40, help="timed, a multiple of 20")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        return train_peer(**arguments.job)
    ways = {"DenseSSL": run_ours,
            **{name: functools.partial(run_peer, x) for name, x in PEERS.items()}}  # fmt: skip
    rates, memories = ({name: [] for name in ways} for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        count = (WARM_UP + arguments.iterations + 4) * arguments.batch_size
        fill_folder(folder, arguments.images, count)
        for turn in range(arguments.rounds):
            for name, run in ways.items():
                rate, memory = run(folder, arguments)
                rates[name].append(rate)
                memories[name].append(memory)
                print(
                    f"round {turn + 1}  {name:22s} {rate:7.2f} img/s {memory:6.0f} MB", flush=True
                )
    print_table(rates, lambda name: f"{np.median(memories[name]):.0f} MB")


if __name__ == "__main__":
    main()
