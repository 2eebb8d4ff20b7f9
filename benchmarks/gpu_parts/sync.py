"""NCCL and SyncBN on one device, and two processes that share it."""

import functools
import subprocess
import sys
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist
from detectron2.utils import comm
from helpers import TINY, needs
from isolation import restored_process
from recorded_run import recorded_run
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from gpu_parts.common import CONFIGS, ROOT, photos

CONFIG = str(CONFIGS / "Base-Pretrain.yaml")
TIMEOUT = 120
# In float64, as in tests/engine/test_processes.py.
LIMIT = 1e-5
# One of each kind: no pooling, boxes, a queue, candidates of all processes.
METHODS = {
    "BYOL": (),
    "SCRL": (),
    "MoCoV2": (),
    "PointRegionContrast": ("MODEL.PLRC.NEGATIVES", "all"),  # "batch" is that of a process
}


def items(settings):
    """{what is tried: function}."""
    backend = "nccl" if settings.on_gpu else "gloo"
    found = {
        f"{backend}, one process: collectives, SyncBN": functools.partial(
            collectives_alone, settings, backend
        ),
        f"{backend}, one process: torchrun train_net.py": functools.partial(torchrun, settings),
    }
    if settings.on_gpu:
        found["nccl, two processes on one device"] = functools.partial(two_with_nccl, settings)
    for method in list(METHODS)[: 1 if settings.small else None]:
        found[f"gloo, two processes on one device: {method}"] = functools.partial(
            two_against_one, settings, method
        )
    return found


def collectives_alone(settings, backend):
    """Every collective that training uses, and the kernels of SyncBN."""
    error = in_processes(settings, 1, backend, collectives, settings.device)[0]
    return {"ok": error <= LIMIT, "largest error": error}


def collectives(device):
    """Return the largest error of collectives in a group of one."""
    rows = torch.randn(8, 3, device=device, requires_grad=True)
    errors = []
    for operation in (dist.all_reduce, functools.partial(dist.broadcast, src=0)):
        copy = rows.detach().clone()
        operation(copy)
        errors.append((copy - rows).abs().max())
    parts = [torch.empty_like(rows)]
    dist.all_gather(parts, rows.detach())
    errors.append((parts[0] - rows).abs().max())
    (gathered,) = all_gather(rows)
    gathered.square().sum().backward()
    errors += [(gathered - rows).abs().max(), (rows.grad - 2 * rows).abs().max()]
    if device == "cuda":
        errors += sync_bn_errors()
    return max(x.item() for x in errors)


def sync_bn_errors():
    """Return errors of torch's SyncBN with a group of one, in both memory formats."""
    apply = torch.nn.modules._functions.SyncBatchNorm.apply  # the layer itself would take BN
    errors = []
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = torch.randn(4, 8, 5, 6, device="cuda").to(memory_format=layout)
        weight, bias = torch.rand(2, 8, device="cuda")
        results = []
        for sync in (True, False):
            x = maps.clone(memory_format=torch.preserve_format).requires_grad_()
            mean, var = torch.zeros(8, device="cuda"), torch.ones(8, device="cuda")
            if sync:
                y = apply(x, weight, bias, mean, var, 1e-5, 0.1, dist.group.WORLD, 1)
            else:
                y = F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
            y.pow(3).sum().backward()
            results.append((y, mean, var, x.grad / x.grad.abs().max()))
        errors += [(a - b).abs().max() for a, b in zip(*results)]
    return errors


def torchrun(settings):
    """Three steps of train_net.py, started by torchrun."""
    output = settings.scratch("torchrun")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    amp = ("SOLVER.AMP.ENABLED", str(settings.on_gpu))
    command = [*start, str(ROOT / "train_net.py"), "--config-file", CONFIG]
    result = subprocess.run(
        [*command, *tiny_options(settings, "SCRL", output), *amp], cwd=ROOT, text=True,
        capture_output=True, timeout=TIMEOUT,
    )  # fmt: skip
    ended = (output / "model_final.pth").is_file() and result.returncode == 0
    return {"ok": ended, "_end": (result.stdout + result.stderr).splitlines()[-40:]}


def two_with_nccl(settings):
    """Try what NCCL says of two processes on one GPU; both answers are fine."""
    try:
        in_processes(settings, 2, "nccl", sum_of_ranks)
    except Exception as error:
        said = [x for x in str(error).splitlines() if "uplicate GPU" in x or "NCCL" in x]
        return {"ok": None, "answer": (said or [str(error)])[-1].strip()[:150],
                "_error": str(error).splitlines()[-40:]}  # fmt: skip
    return {"ok": None, "answer": "it works"}


def sum_of_ranks():
    """All ranks, added."""
    total = torch.tensor([float(dist.get_rank())], device="cuda")
    dist.all_reduce(total)
    return total.item()


def two_against_one(settings, method):
    """Compare losses, gradients and queues of two processes with those of one, in float64."""
    outputs = [settings.scratch(f"processes_{x}") for x in (1, 2)]
    options = [tiny_options(settings, method, x) for x in outputs]
    with restored_process():
        one = _on_cpu(recorded_run(CONFIG, options[0]))
    two = in_processes(settings, 2, "gloo", _recorded, CONFIG, options[1])[0]
    losses = max(abs(a - b) for a, b in zip(one["losses"], two["losses"]))
    scale = max(1, max(x.abs().max().item() for x in one["gradients"].values()))
    gradients = max(
        (x - two["gradients"][key]).abs().max().item() for key, x in one["gradients"].items()
    )
    queues = all(torch.equal(x, two["queues"][key]) for key, x in one["queues"].items())
    error = max(losses, gradients / scale)
    return {"ok": error <= LIMIT and queues, "largest error": error, "equal queues": queues}


def tiny_options(settings, method, output):
    """The yacs pairs of the tests' tiny network with SyncBN, as strings."""
    pairs = [*TINY, *needs(method), *METHODS[method], "MODEL.META_ARCHITECTURE", method,
             "MODEL.DEVICE", settings.device,
             "MODEL.RESNETS.NORM", "SyncBN", "MODEL.SSL.HEAD_NORM", "SyncBN",
             "DATASETS.TRAIN", (f"folder:{photos(settings, 64)}",), "OUTPUT_DIR", output,
             "SOLVER.MAX_ITER", 3]  # fmt: skip
    return [str(x) for x in pairs]


def in_processes(settings, count, backend, function, *args):
    """Call a function in new processes that share the device; returns their results by rank."""
    folder = settings.scratch(f"group_{count}")
    arguments = (count, backend, settings.on_gpu, str(folder), function, args)
    group = torch.multiprocessing.spawn(_enter, arguments, nprocs=count, join=False)
    try:
        timeout = min(TIMEOUT, max(settings.seconds_left(), 1))
        ended = group.join(timeout)
        while not ended and group.processes and any(x.is_alive() for x in group.processes):
            if timeout <= 0:
                raise TimeoutError(f"no answer in {TIMEOUT} seconds")
            ended, timeout = group.join(5), timeout - 5
    finally:
        for process in group.processes:
            process.kill()
    return [torch.load(folder / f"{i}.pt", weights_only=False) for i in range(count)]


def _enter(rank, count, backend, on_gpu, folder, function, args):
    """Join the group and keep what the function returns."""
    if on_gpu:
        torch.cuda.set_device(0)
    dist.init_process_group(
        backend, init_method=f"file://{folder}/store", rank=rank, world_size=count,
        timeout=timedelta(seconds=TIMEOUT),
    )  # fmt: skip
    # one process per "machine": each then takes the machine's first GPU
    comm.create_local_process_group(1 if on_gpu else count)
    try:
        torch.save(function(*args), f"{folder}/{rank}.pt")
        comm.synchronize()
    except Exception:
        traceback.print_exc()
        raise
    finally:
        dist.destroy_process_group()


def _recorded(config, options):
    return _on_cpu(recorded_run(config, options))


def _on_cpu(record):
    if record is None:
        return None
    tensors = {key: x for key, x in record.items() if isinstance(x, dict)}
    return {**record, **{k: {n: t.cpu() for n, t in x.items()} for k, x in tensors.items()}}
