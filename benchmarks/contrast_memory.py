"""Peak memory of the contrastive losses at the papers' sizes, relative to the matrix of logits.

Point-level region contrast: 32 images of 256 points, so 8192 x 8192 similarities for each of its
two losses. DUPR's patch loss on conv4_x: 32 images of 14 x 14 patches against a queue of 65536.
LC-loss at stride 4: 8 images of 56 x 56 cells, each against 56 x 56.
Each case runs forward and backward in its own process. The increase of that process's peak memory
(or of the GPU allocator's) is divided by the bytes of the matrix in float32. "plain" computes the
whole matrix at once. On a CPU, MALLOC_MMAP_THRESHOLD_ makes large blocks return to the system when
they are freed, so the peak measures live tensors, not heap fragmentation.

    python benchmarks/contrast_memory.py
    python benchmarks/contrast_memory.py --device cuda
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from dense_ssl.losses import affinity_distillation, info_nce, local_contrast, point_region_contrast

IMAGES, POINTS, DIM, PATCHES, QUEUE = 32, 256, 128, 196, 65536
WHOLE = 2**40  # more entries than any case has: a single chunk


def point_losses(device, max_entries):
    """Return (function that runs both losses of point-level region contrast, matrix entries)."""
    query = torch.randn(IMAGES, POINTS, DIM, device=device, requires_grad=True)
    key = torch.randn(IMAGES, POINTS, DIM, device=device)
    region = torch.randint(0, 16, (IMAGES, POINTS), device=device)

    def run():
        loss = point_region_contrast(query, key, region, region, 0.2, max_entries=max_entries)
        loss = loss + affinity_distillation(query, key, 0.1, 0.07, max_entries=max_entries)
        loss.backward()

    return run, (IMAGES * POINTS) ** 2


def patch_loss(device, max_entries):
    """Return (function that runs DUPR's patch loss on conv4_x, matrix entries)."""
    query = torch.randn(IMAGES * PATCHES, DIM, device=device, requires_grad=True)
    key = torch.randn(IMAGES * PATCHES, DIM, device=device)
    queue = F.normalize(torch.randn(QUEUE, DIM, device=device), dim=1)

    def run():
        info_nce(query, key, queue, 0.2, max_entries=max_entries).backward()

    return run, IMAGES * PATCHES * (1 + QUEUE)


def local_loss(device, max_entries):
    """Return (function that runs LC-loss, matrix entries).

    8 images with maps of 56 x 56 cells (res2 of a view of 224 pixels).
    """
    count, side = 8, 56
    anchors = torch.randn(count, DIM, side, side, device=device)
    candidates = torch.randn(count, DIM, side, side, device=device, requires_grad=True)
    points = (side - 1) * torch.rand(count, side * side, 2, device=device)
    valid = torch.rand(count, side * side, device=device) < 0.5

    def run():
        local_contrast(anchors, candidates, points, valid, 0.1, max_entries).backward()

    return run, count * side**4


CASES = {
    "point_region_contrast": point_losses,
    "dupr_patch_res4": patch_loss,
    "lc_loss_res2": local_loss,
}


def start_peak():
    """Let the peak of this process start at what is resident now, and return it (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes():
    """Return the largest resident memory of this process since the last reset (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def measure(case, plain, device):
    """Run a case; return the increase of peak memory and the matrix size in bytes, and seconds."""
    run, entries = CASES[case](device, WHOLE if plain else None)
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = start_peak()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = peak_bytes()
    seconds = time.perf_counter() - start
    return {"peak": peak - before, "matrix": 4 * entries, "seconds": seconds}


def main():
    """Run every case in its own process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.plain, arguments.device)))
        return
    print(f"{'case':24}{'matrix':>10}{'peak':>10}{'ratio':>8}{'plain':>8}{'time/plain':>12}")
    for case in CASES:
        found = []
        for plain in ((), ("--plain",)):
            command = [sys.executable, __file__, "--device", arguments.device, "--case", case]
            environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
            output = subprocess.run(
                [*command, *plain], check=True, capture_output=True, text=True, env=environment
            )
            found.append(json.loads(output.stdout.splitlines()[-1]))
        ours, whole = found
        print(
            f"{case:24}{ours['matrix'] / 2**20:7.0f} MB{ours['peak'] / 2**20:7.0f} MB"
            f"{ours['peak'] / ours['matrix']:8.2f}{whole['peak'] / whole['matrix']:8.2f}"
            f"{ours['seconds'] / whole['seconds']:12.2f}"
        )


if __name__ == "__main__":
    main()
