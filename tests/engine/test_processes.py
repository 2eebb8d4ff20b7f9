"""One process against two: the same losses, gradients and weights for the same global batch."""

import functools
import os
import subprocess
import sys
import time

import pytest
import torch
import torch.distributed as dist
from detectron2.engine import default_argument_parser
from helpers import CONFIGS, METHODS, ROOT, TINY, needs
from isolation import restored_process
from process_pool import ProcessPool
from recorded_run import recorded_run, save_record

from dense_ssl.engine import launch

CONFIG = str(CONFIGS / "Base-Pretrain.yaml")
SCRIPT = os.path.join(os.path.dirname(__file__), "recorded_run.py")


def options_of(method, images, output, *options):
    """The yacs pairs of a run as strings."""
    pairs = [*TINY, *needs(method), "MODEL.META_ARCHITECTURE", method,
             "MODEL.RESNETS.NORM", "SyncBN", "MODEL.SSL.HEAD_NORM", "SyncBN",
             "DATASETS.TRAIN", (f"folder:{images}",), "OUTPUT_DIR", str(output),
             "SOLVER.MAX_ITER", 3, "VIS_PERIOD", 2, *options]  # fmt: skip
    return [str(x) for x in pairs]


@pytest.fixture(scope="module")
def run_alone(image_folder, tmp_path_factory):
    """A function that gives the record of a run in this process."""

    @functools.lru_cache(None)
    def run(method, *options):
        output = tmp_path_factory.mktemp("one")
        with restored_process():
            return recorded_run(CONFIG, options_of(method, image_folder, output, *options))

    return run


@pytest.fixture
def run_in_two(image_folder, tmp_path, process_pool):
    """A function that gives the record of a run in two processes."""

    def run(method, *options):
        all_options = options_of(method, image_folder, tmp_path, *options)
        return process_pool.run(recorded_run, CONFIG, all_options)[0]

    return run


def assert_alike(one, two):
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    scale = max(x.abs().max() for x in one["gradients"].values())
    for key, value in one["gradients"].items():
        assert (value - two["gradients"][key]).abs().max() <= 1e-5 * max(scale, 1), key
    # in float32 the queues of the first step are the same to the bit, later ones as the weights are
    for key, value in one["queues"].items():
        assert torch.equal(value, two["queues"][key]), key
        assert torch.allclose(one["model"][key].double(), two["model"][key].double(), atol=1e-6)


# small crops, many without overlap: the processes hold different numbers of usable images
SMALL_CROPS = ("INPUT.VIEWS.CROP_SCALE", "((0.08, 0.3),)")
CASES = [
    *((method, ()) for method in METHODS if method != "PointRegionContrast"),
    *((method, SMALL_CROPS) for method in ("SCRL", "DUPR")),
    ("MoCoV2", ("MODEL.MOCO.SYMMETRIC", True)),
    # no loss on res5: its weights take no gradient
    ("DUPR", ("MODEL.DUPR.ALPHA", "(0.,0.,1.,0.)", "MODEL.DUPR.BETA", "(0.,1.,0.,0.)")),
    ("MultiObjective", ("MODEL.SSL.OBJECTIVES", "('BoxContrastObjective','LCObjective')",
                        *needs("LCLoss"), *SMALL_CROPS)),
    # the negatives of a process are those of all
    ("MultiObjective", ("MODEL.SSL.OBJECTIVES", "('BoxBatchContrastObjective',)", *SMALL_CROPS)),
    ("PointRegionContrast", ("MODEL.PLRC.NEGATIVES", "all", *SMALL_CROPS)),
    ("PointRegionContrast", ("MODEL.PLRC.NEGATIVES", "image", "MODEL.PLRC.ALPHA", 1.0)),
    # batch norm of one process would see other images; without it nothing may change
    ("MoCoV2", ("MODEL.SSL.SHUFFLE_TARGET", True, "MODEL.RESNETS.NORM", "",
                "SOLVER.BASE_LR", 0.001)),
]  # fmt: skip


@pytest.mark.parametrize("method, options", CASES)
def test_two_processes_equal_one(run_alone, run_in_two, method, options):
    options = [str(x) for x in options]
    assert_alike(run_alone(method, *options), run_in_two(method, *options))


def test_detectron2s_launcher(tmp_path, image_folder, run_alone, monkeypatch):
    start = functools.partial(torch.multiprocessing.start_processes, start_method="forkserver")
    monkeypatch.setattr(torch.multiprocessing, "start_processes", start)
    options = options_of("BYOL", image_folder, tmp_path)
    command = ["--num-gpus", "2", "--dist-url", "auto", "--config-file", CONFIG, *options]
    launch(save_record, default_argument_parser().parse_args(command))
    assert_alike(run_alone("BYOL"), torch.load(tmp_path / "record.pt", weights_only=True))


def test_torchrun(tmp_path, image_folder, run_alone):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = options_of("BYOL", image_folder, tmp_path)
    command = [sys.executable, *torchrun, SCRIPT, "--config-file", CONFIG, *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert_alike(run_alone("BYOL"), torch.load(tmp_path / "record.pt", weights_only=True))


def get_rank():
    """Of this module, so that the processes have imported it before a call is timed."""
    return dist.get_rank()


def fail_in_one(how):
    if dist.get_rank() == 1:
        if how == "raise":
            raise ValueError("the reason")
        if how == "exit":
            os._exit(3)
        time.sleep(60)
    dist.barrier()
    return dist.get_rank()


@pytest.mark.parametrize("how, reason", [
    ("raise", "process 1: .*ValueError: the reason"), ("exit", "process 1: ended with 3"),
    ("hang", "process 1: gave no answer.*in fail_in_one"),
])  # fmt: skip
def test_a_failed_case_is_reported_and_the_next_one_runs(tmp_path, how, reason):
    pool = ProcessPool(tmp_path, timeout=60)
    try:
        assert pool.run(get_rank) == [0, 1]
        pool.timeout = 3 if how == "hang" else 60
        with pytest.raises(AssertionError, match=f"(?s){reason}"):
            pool.run(fail_in_one, how)
        pool.timeout = 60
        assert pool.run(get_rank) == [0, 1]
    finally:
        pool.stop()
