"""The rows of the study with a ResNet-50, through the study's own command."""

import functools
import os
import subprocess
import sys
import time

from gpu_parts.common import CONFIGS, ROOT

DATA = ("BCCD", "NEU-DET")
SEEDS = (1, 2, 3)
# Networks are small: one training leaves most of a GPU idle, and needs about three cores.
CORES_PER_RUN = 3
# A command ends when all that is left waits for others; the next round lets it help them.
ROUNDS = 4
RESNET_50 = ("MODEL.TIMM.NAME", "resnet50", "MODEL.TIMM.ARGUMENTS", "('zero_init_last=False',)",
             "DATALOADER.NUM_WORKERS", "2")  # fmt: skip


def items(settings):
    """{data set and seeds: function}, one seed of both first; nothing with --small."""
    if settings.small:
        return {}
    return {
        f"{data}, {seeds} {'seed' if seeds == 1 else 'seeds'}": functools.partial(
            run, settings, data, SEEDS[:seeds]
        )
        for seeds in range(1, len(SEEDS) + 1)
        for data in DATA
    }


def command(data, output, seeds):
    """Return the command of the study of a data set."""
    return [
        sys.executable, str(ROOT / "tools" / "compare.py"), f"@{CONFIGS / 'study' / data}.txt",
        "--seeds", *map(str, seeds),
        "--pretrain-opts", "DATASETS.TRAIN", f"('voc:{data}:trainval',)", *RESNET_50,
        "--output", str(output), *RESNET_50,
    ]  # fmt: skip


def run(settings, data, seeds):
    """Run several of the command side by side, which divide the trainings among themselves."""
    if not (settings.data / data).is_dir():
        raise FileNotFoundError(f"--data: there is no folder {settings.data / data}")
    output, begin = settings.output / "study" / data, time.time()
    output.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DETECTRON2_DATASETS": str(settings.data), "OMP_NUM_THREADS": "1"}
    for _ in range(ROUNDS):
        statuses = side_by_side(settings, command(data, output, seeds), output, environment)
        if all(x == 0 for x in statuses):
            break
    report = output / "comparison.md"
    return {
        "ok": 0 in statuses,
        "side by side": len(statuses),
        "minutes": (time.time() - begin) / 60,
        "_markdown": report.read_text() if report.is_file() else "",
    }


def side_by_side(settings, words, output, environment):
    """Run a command several times at once; returns the exit statuses."""
    processes = []
    try:
        for i in range(max(len(os.sched_getaffinity(0)) // CORES_PER_RUN, 1)):
            with open(output / f"command{i}.log", "a") as log:
                streams = {"stdout": log, "stderr": subprocess.STDOUT}
                processes.append(subprocess.Popen(words, cwd=ROOT, env=environment, **streams))
            time.sleep(1)
        return [x.wait(max(settings.seconds_left() - 20, 1)) for x in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
