"""One and three processes: the same weights and running statistics, for every method."""

import pytest
import torch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from exchanged_rows import exchanged
from helpers import CONFIGS, METHODS, TINY, needs
from isolation import restored_process
from process_pool import ProcessPool
from recorded_run import recorded_run

from dense_ssl.modeling.norm_statistics import ExactSyncBatchNorm, make_sync_batch_norms_exact

CONFIG = str(CONFIGS / "Base-Pretrain.yaml")
LEARNING_RATE = 1e-4
LIMIT = 1e-8  # relative to the largest number of a tensor


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three processes."""
    pool = ProcessPool(tmp_path_factory.mktemp("three"), size=3)
    yield pool
    pool.stop()


def options_of(method, images, output):
    """The yacs pairs of a run as strings: 6 images, shared by one or three processes."""
    pairs = [*TINY, *needs(method), "MODEL.META_ARCHITECTURE", method,
             "MODEL.RESNETS.NORM", "SyncBN", "MODEL.SSL.HEAD_NORM", "SyncBN",
             "MODEL.PLRC.NEGATIVES", "all", "SOLVER.IMS_PER_BATCH", 6,
             "DATASETS.TRAIN", (f"folder:{images}",), "OUTPUT_DIR", str(output),
             "SOLVER.MAX_ITER", 5, "VIS_PERIOD", 0,
             # at larger rates rounding grows a hundredfold from step to step
             "SOLVER.BASE_LR", LEARNING_RATE]  # fmt: skip
    return [str(x) for x in pairs]


@pytest.mark.parametrize("method", METHODS)
def test_three_are_one(image_folder, tmp_path, three, method):
    with restored_process():
        one = recorded_run(CONFIG, options_of(method, image_folder, tmp_path / "one"))
    options = options_of(method, image_folder, tmp_path / "three")
    other = three.run(recorded_run, CONFIG, options)[0]
    assert one["losses"] == pytest.approx(other["losses"], abs=1e-6)
    assert one["model"].keys() == other["model"].keys()
    for key, x in one["model"].items():
        # shares of images and queues are numbers of float32
        difference = float((x.double() - other["model"][key].double()).abs().max())
        assert difference <= LIMIT * max(float(x.abs().max()), 1), (key, difference)
    # which says something: the weights moved much more
    assert LEARNING_RATE * max(x.abs().max() for x in one["gradients"].values()) > 1e4 * LIMIT


def test_three_exchange_rows(three):
    for step in range(4):
        for found, expected, returns, _ in three.run(exchanged, (5, 2), torch.float32, step):
            assert torch.equal(found, expected) and returns


def forward_of_a_share(count, momentum):
    """The state of a norm after each process has seen its share of ``count`` images."""
    images = torch.randn(count, 3, 2, 2, dtype=torch.float64,
                         generator=torch.Generator().manual_seed(0))  # fmt: skip
    norm = NaiveSyncBatchNorm(3, momentum=momentum) if comm.get_world_size() > 1 else (
        torch.nn.BatchNorm2d(3, momentum=momentum)
    )  # fmt: skip
    norm = make_sync_batch_norms_exact(norm.double())
    assert comm.get_world_size() == 1 or type(norm) is ExactSyncBatchNorm
    share = count // comm.get_world_size()
    for _ in range(2):
        norm(images[comm.get_rank() * share :][:share])
    return norm.state_dict(), norm.eval()(images)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_the_running_variance_of_two_is_that_of_one(process_pool, momentum):
    (one, expected), two = forward_of_a_share(2, momentum), None
    for two, found in process_pool.run(forward_of_a_share, 2, momentum):
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert torch.allclose(value, two[key], rtol=1e-12, atol=0), key
        assert torch.allclose(expected, found, rtol=1e-12, atol=1e-12)


def outputs_of_a_share(shares, offset, dtype):
    """Outputs and gradients of a float32 norm of this process's images, and its state."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(sum(shares), 3, 2, 2, generator=generator) * 0.01 + offset
    weights = torch.randn(sum(shares), 3, 2, 2, generator=generator)
    norm = torch.nn.BatchNorm2d(3)
    if comm.get_world_size() > 1:
        norm = make_sync_batch_norms_exact(NaiveSyncBatchNorm(3))
        images, weights = (x.split(shares)[comm.get_rank()] for x in (images, weights))
    images = images.to(dtype).requires_grad_()
    output = norm(images)
    (output * weights).sum().backward()
    return output.detach(), images.grad, norm.weight.grad, norm.state_dict(), output.dtype


@pytest.mark.parametrize("shares, offset", [((2, 2), 0), ((1, 3), 0), ((2, 2), 50)])
def test_two_processes_normalise_as_one(process_pool, shares, offset):
    """Also close values far from 0, where E[x^2] - E[x]^2 is negative in float32."""
    one = outputs_of_a_share(shares, offset, torch.float32)
    two = process_pool.run(outputs_of_a_share, shares, offset, torch.float32)
    limit = 1e-4 if offset == 0 else 5e-3  # of numbers of about 1; 50 has steps of 4e-6
    for i in (0, 1):  # gradients grow by 1 / standard deviation = 100
        found = torch.cat([x[i] for x in two])
        assert torch.allclose(found, one[i], rtol=limit, atol=limit * (100 if i else 1))
    # data parallel training averages the gradients of parameters
    assert torch.allclose(sum(x[2] for x in two), one[2], rtol=limit, atol=limit)
    for key, value in one[3].items():
        assert torch.allclose(two[0][3][key], value, rtol=limit), key


def state_after_no_image():
    norm = make_sync_batch_norms_exact(NaiveSyncBatchNorm(3))
    images = torch.zeros(0, 3, 2, 2, requires_grad=True)
    norm(images).sum().backward()
    return norm.state_dict(), images.grad.shape


def test_nothing_changes_nothing(process_pool):
    for state, shape in process_pool.run(state_after_no_image):
        assert state["running_mean"].eq(0).all() and state["running_var"].eq(1).all()
        assert shape == (0, 3, 2, 2)


@pytest.mark.parametrize("shares", [(0, 4), (3, 0)])
def test_a_process_without_an_image(process_pool, shares):
    one = outputs_of_a_share(shares, 0, torch.float32)
    two = process_pool.run(outputs_of_a_share, shares, 0, torch.float32)
    assert torch.allclose(torch.cat([x[0] for x in two]), one[0], rtol=1e-4, atol=1e-4)
    assert torch.allclose(two[0][3]["running_var"], one[3]["running_var"], rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_stays(process_pool, dtype):
    for output, *_, found in process_pool.run(outputs_of_a_share, (2, 2), 0, dtype):
        assert found == dtype and output.isfinite().all()


def test_one_process_keeps_torchs_norm():
    norm = make_sync_batch_norms_exact(NaiveSyncBatchNorm(3))
    plain = torch.nn.BatchNorm2d(3)
    x = torch.randn(2, 3, 2, 2)
    assert torch.equal(norm(x), plain(x)) and torch.equal(norm.running_var, plain.running_var)


def test_a_norm_weighted_by_images_stays():
    norm = NaiveSyncBatchNorm(3, stats_mode="N")
    assert type(make_sync_batch_norms_exact(norm)) is NaiveSyncBatchNorm
