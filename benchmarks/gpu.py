"""What has to be checked and measured on a GPU, in parts of a few minutes.

    python benchmarks/gpu.py --output output/gpu                 everything, an hour and more
    python benchmarks/gpu.py --parts speed loader --minutes 9    some parts, nine minutes at most
    python benchmarks/gpu.py --device cpu --small                tries the parts on a CPU

Every result is written to OUTPUT/gpu.json as it comes. The same command continues: finished items
are not repeated, failed ones are. Each part runs in a process of its own, and its log is
OUTPUT/PART.log. At the end the tables are printed and written to OUTPUT/gpu.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from gpu_parts.results import Results, run_items, tables

# name: title of its table; each is a module of gpu_parts
PARTS = {
    "marked_tests": "Tests that are marked for GPUs",
    "precision": "Precision: the first steps on the device against the CPU's in float32",
    "sync": "Processes: NCCL and SyncBN on one device",
    "resume": "Resume: six steps against four, a kill, and a resume from the third",
    "handover": "Hand-over: SCRL, then Mask R-CNN from its weights, 20 steps each, on scenes",
    "speed": "Speed: whole training steps on one batch that is already on the device",
    "loader": "Loader: views from JPEGs of 500 x 375 pixels",
    "waits": "Waits: operations of a step for which the host waits",
    "study": "Study: BCCD and NEU-DET with a ResNet-50",
    "suite": "The whole test suite",
}
SMALL_METHODS = ("BYOL", "MoCoV2", "PointRegionContrast")
FAULT = 3  # exit status of a part whose device can no longer be used


def main():
    arguments = parse_arguments()
    if arguments.part:
        return run_part(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.output / "gpu.json", identity(arguments))
    deadline = time.time() + 60 * arguments.minutes
    ended = [run_process(x, arguments, deadline) == 0 for x in arguments.parts]
    results = Results(results.path)
    text = tables(results, PARTS)
    (arguments.output / "gpu.md").write_text(text)
    print(f"\n{text}\nIn {arguments.output}: gpu.json, gpu.md, *.log")
    return 0 if all(ended) and results.are_fine() else 1


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--output", type=Path, default=Path("output/gpu"))
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--small", action="store_true", help="tiny networks and few steps, for a CPU")
    add("--methods", nargs="+", help="META_ARCHITECTUREs; default: all, with --small three")
    add("--batches", nargs="+", type=int, default=[64], help="images per batch, of speed")
    add("--minutes", type=float, default=60.0, help="stop in time; the same command continues")
    add("--data", type=Path, default=Path("datasets"), help="folder with BCCD and NEU-DET")
    add("--commit", help="of a copy without .git")
    # a part in this process
    add("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    add("--deadline", type=float, help=argparse.SUPPRESS)
    add("--keep-failed", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output = arguments.output.resolve()
    return arguments


def identity(arguments):
    """Return what all results of a folder have in common: versions, device, sizes."""
    import detectron2
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu: torch sees no GPU. (--device cpu --small tries the parts on the CPU.)")
    on_gpu = arguments.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "cores": len(os.sched_getaffinity(0)),
        "small": arguments.small,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if on_gpu else None,
        "detectron2": detectron2.__version__,
    }


def commit():
    """Return the commit of the working tree, with a "+" if it has changes; None without git."""
    root = Path(__file__).resolve().parent
    found = []
    for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"]):
        result = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
        if result.returncode:
            return None
        found.append(result.stdout.strip())
    return found[0] + ("+" if found[1] else "")


def run_process(part, arguments, deadline):
    """Run a part in its own process until it is done or the time is over; returns its status."""
    command = [sys.executable, __file__, "--part", part, "--output", str(arguments.output),
               "--device", arguments.device, "--data", str(arguments.data.resolve()),
               "--deadline", str(deadline), *(["--small"] if arguments.small else []),
               "--batches", *map(str, arguments.batches),
               *(["--commit", arguments.commit] if arguments.commit else []),
               *(["--methods", *arguments.methods] if arguments.methods else [])]  # fmt: skip
    # of operations without a deterministic form torch asks for this before it starts
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1"}
    print(f"== {part}", flush=True)
    begin, status = time.time(), FAULT
    with open(arguments.output / f"{part}.log", "a") as log:
        while status == FAULT and time.time() < deadline:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                       env=environment, start_new_session=True)  # fmt: skip
            status = watch(process, log, deadline)
            command = [*command, "--keep-failed"]
    print(f"   {part}: exit status {status}, {time.time() - begin:.0f} s", flush=True)
    return status


def watch(process, log, deadline):
    """Print the progress of a part and keep the rest of its output; end it when time is over."""
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, max(deadline - time.time(), 1))
    try:
        for line in process.stdout:
            log.write(line)
            if line.startswith(">> "):
                print(f"   {line[3:]}", end="", flush=True)
        return process.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def run_part(arguments):
    """Run the items of a part in this process."""
    from gpu_parts.common import METHODS, Settings

    methods = tuple(arguments.methods or (SMALL_METHODS if arguments.small else METHODS))
    settings = Settings(arguments.device, arguments.small, arguments.output, arguments.deadline,
                        arguments.data, methods, tuple(arguments.batches))  # fmt: skip
    module = import_module(f"gpu_parts.{arguments.part}")
    results = Results(arguments.output / "gpu.json")
    results.commit = arguments.commit or commit()
    usable = run_items(results, arguments.part, module, settings, arguments.keep_failed)
    return 0 if usable else FAULT


if __name__ == "__main__":
    sys.exit(main())
