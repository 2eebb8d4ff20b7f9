"""A command says in one message what a user can correct; a fault keeps its traceback."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import CONFIGS, ROOT, TINY
from torch.utils.data import DataLoader, Dataset

from dense_ssl.data.image_io import BrokenImageError, read_image
from dense_ssl.utils.checks import require_one_of
from dense_ssl.utils.plain_errors import FAILED, message_of, plain_errors

MINI = CONFIGS / "mini" / "pretrain" / "byol_R_18.yaml"


def caught(function, *args):
    with pytest.raises(Exception) as found:
        function(*args)
    return found.value


def test_what_the_package_raises_is_a_message():
    error = caught(require_one_of, "KEY", "a", ("b", "c"))
    assert message_of(error) == str(error) and "KEY" in str(error)


def test_a_key_error_has_no_quotes():
    from dense_ssl.config import read_config

    error = caught(read_config, str(MINI), ["SOLVER.BASE_LRR", "1"])
    assert isinstance(error, KeyError)
    assert message_of(error).startswith("Non-existent key: SOLVER.BASE_LRR. Did you mean")


def test_what_the_system_refuses_is_a_message(tmp_path):
    assert str(tmp_path) in message_of(caught(open, tmp_path))


class Items(Dataset):
    """Items that cannot be made."""

    def __init__(self, function, *args):
        self.make = functools.partial(function, *args)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.make()


@pytest.mark.parametrize("error", [ValueError, KeyError, BrokenImageError])
def test_what_a_worker_of_a_data_loader_raises_is_a_message(error):
    text = (
        f"Caught {error.__name__} in DataLoader worker process 1.\nOriginal Traceback (most recent "
        'call last):\n  File "/x/torch/worker.py", line 3, in loop\n    data = fetch()\n'
        '  File "/x/dense_ssl/data/image_io.py", line 9, in read\n    raise ValueError(\n'
        f"{error.__module__}.{error.__name__}: two\nlines: 'x'\n"
    )
    assert message_of(RuntimeError(text)) == "two\nlines: 'x'"
    assert message_of(RuntimeError(text.replace("raise ValueError(", "x = 1 / 0"))) is None
    assert message_of(RuntimeError(text.replace("dense_ssl", "numpy"))) is None


def test_a_broken_image_in_a_worker(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    loader = DataLoader(Items(read_image, tmp_path / "a.jpg"), num_workers=1)
    message = message_of(caught(next, iter(loader)))
    assert message == str(caught(read_image, tmp_path / "a.jpg"))
    assert message_of(caught(next, iter(DataLoader(Items(int, "x"), num_workers=1)))) is None


@pytest.mark.parametrize("function, args", [
    (int, ("x",)),  # a fault in the middle of a calculation
    (require_one_of, ("KEY", "a", None)),  # one in the package, but not by its raise
    (pytest.fail, ("of another package",)),
])  # fmt: skip
def test_faults_are_no_messages(function, args):
    with pytest.raises(BaseException) as found:
        function(*args)
    assert message_of(found.value) is None


def test_a_command_fails_with_the_message(capsys):
    @plain_errors
    def command(name):
        require_one_of("KEY", name, ("b",))

    assert command("b") is None
    assert command("a") == FAILED
    assert "KEY" in capsys.readouterr().err
    with pytest.raises(TypeError):
        command()


def train_net(tmp_path, *words):
    command = [sys.executable, ROOT / "train_net.py", "--config-file", MINI, *words,
               "MODEL.DEVICE", "cpu", "OUTPUT_DIR", tmp_path / "run"]  # fmt: skip
    return subprocess.run([str(x) for x in command], capture_output=True, text=True, timeout=300)


def test_the_log_has_the_traceback_and_the_console_the_message(tmp_path):
    result = train_net(tmp_path, "DATASETS.TRAIN", f"('folder:{tmp_path / 'gone'}',)")
    assert result.returncode == FAILED
    shown = result.stdout + result.stderr
    assert "Traceback" not in shown and shown.count("does not exist") == 1
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


def test_several_processes(tmp_path):
    result = train_net(tmp_path, "--num-gpus", 2, "--dist-url", "auto", "SOLVER.MAX_ITERR", 3)
    assert result.returncode == FAILED
    shown = result.stdout + result.stderr
    assert "Traceback" not in shown and "Did you mean 'SOLVER.MAX_ITER'" in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["metrics.json", "config.yaml"])
def test_a_full_disk(name, image_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to("/dev/full")
    result = train_net(tmp_path, *TINY, "DATASETS.TRAIN", f"('folder:{image_folder}',)",
                       "SOLVER.MAX_ITER", 3)  # fmt: skip
    shown = result.stdout + result.stderr
    assert result.returncode == FAILED, shown
    assert "Traceback" not in shown and "is not written: No space left on device" in shown
    assert "--resume goes on from the last checkpoint" in shown
