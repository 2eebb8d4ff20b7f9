"""Time of Self-EMD's transport, relative to the passes of a ResNet-50.

At the paper's sizes: 83 nodes per view (7 x 7, 5 x 5 and 3 x 3 cells), 50 iterations of Sinkhorn,
both directions of two views of 224 pixels. The passes are forward and backward of each online view
and forward of each target view, bf16, channels-last. Transport (marginals, costs, Sinkhorn, and the
gradient of the loss) and passes take turns in one process. The ratio is that of their median CPU
times on one thread, so that it is also valid on a shared machine.

    python benchmarks/transport.py
"""

import argparse
import statistics
import time

import torch
from detectron2.modeling import build_backbone

from dense_ssl.config import default_config
from dense_ssl.losses import emd_distance, marginal_weights
from dense_ssl.utils.allocator import tune_allocator

NODES, DIM, VIEW = 83, 256, 224


def build():
    """Return detectron2's ResNet-50 with the settings of the pre-training configs."""
    cfg = default_config()
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT = "cpu", "BN", 0
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES, cfg.MODEL.RESNETS.STRIDE_IN_1X1 = ["res5"], False
    return build_backbone(cfg).train().to(memory_format=torch.channels_last)


def passes(backbone, images):
    """Run two online passes with their gradients and two target passes."""
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            backbone(images)["res5"].float().mean().backward()
            with torch.no_grad():
                backbone(images)
    backbone.zero_grad()


def transport(x, y, v_x, v_y, iterations):
    """Compute the loss of two directions and its gradient."""
    for _ in range(2):
        masses = marginal_weights(x, v_y), marginal_weights(y, v_x)
        emd_distance(x, y, *masses, 0.05, iterations).backward()


def main():
    """Time passes and transport in turn, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tune_allocator()
    batch, backbone = arguments.batch, build()
    images = torch.randn(batch, 3, VIEW, VIEW).contiguous(memory_format=torch.channels_last)
    x = torch.randn(batch, NODES, DIM, requires_grad=True)
    y, v_x, v_y = (torch.randn(batch, *s) for s in ((NODES, DIM), (DIM,), (DIM,)))
    calls = {
        "passes": lambda: passes(backbone, images),
        "transport": lambda: transport(x, y, v_x, v_y, arguments.iterations),
    }
    seconds = {name: [] for name in calls}
    for round_ in range(arguments.rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if round_ > 0:  # the first round is the warm-up
                seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(x) for name, x in seconds.items()}
    for name, value in medians.items():
        print(f"{name:10} {1000 * value:8.1f} ms")
    print(f"transport / passes  {medians['transport'] / medians['passes']:.4f}")


if __name__ == "__main__":
    main()
