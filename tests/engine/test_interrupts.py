"""Signals during a run, in its workers, and in the process that started others."""

import os
import signal
import subprocess
import sys
import time

import pytest
from detectron2.engine import TrainerBase

from dense_ssl.engine.interrupts import StopOnSignal, Stopped, exit_code


class Checkpoints:
    def __init__(self):
        self.saved, self.last = [], ""

    def save(self, name, **extra):
        self.saved.append((name, extra))
        self.last = name


class Counter(TrainerBase):
    """A trainer that sends itself a signal."""

    def __init__(self, hooks, at, number):
        super().__init__()
        self.at, self.number = at, number
        self.register_hooks(hooks)

    def run_step(self):
        if self.iter == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("name, code", [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_a_signal_ends_the_run_after_its_step(name, code, caplog):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    checkpoints = Checkpoints()
    with pytest.raises(Stopped) as stop:
        Counter([StopOnSignal(checkpoints)], 3, number).train(0, 10)
    assert stop.value.code == code == exit_code(number)
    assert checkpoints.saved == [("model_0000003", {"iteration": 3})]
    assert signal.getsignal(number) is before
    assert f"{name}: stopped after iteration 3" in caplog.text and "--resume" in caplog.text
    assert "Exception during training" not in caplog.text


@pytest.mark.parametrize("last", ["model_0000003", "model_final"])
def test_a_checkpoint_of_this_step_is_not_written_again(last):
    checkpoints = Checkpoints()
    checkpoints.last = last
    with pytest.raises(Stopped):
        Counter([StopOnSignal(checkpoints)], 3, signal.SIGTERM).train(0, 4)
    assert checkpoints.saved == []


def test_a_second_ctrl_c_does_not_wait():
    class Twice(Counter):
        def run_step(self):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Twice([StopOnSignal(Checkpoints())], 0, 0).train(0, 2)


def test_a_worker_ends_when_told_and_ignores_the_rest():
    class Forks(Counter):
        def run_step(self):
            if self.iter == 0:
                child = os.fork()
                if child == 0:  # as a worker of the data loader
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGUSR1)
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(1)
                    os._exit(3)
                self.status = os.waitpid(child, 0)[1]

    checkpoints = Checkpoints()
    trainer = Forks([StopOnSignal(checkpoints)], 9, 0)
    trainer.train(0, 2)
    assert os.WIFSIGNALED(trainer.status) and os.WTERMSIG(trainer.status) == signal.SIGTERM
    assert checkpoints.saved == []


PARENT = """
import sys, time, signal, argparse
sys.path[:0] = {path!r}
from dense_ssl.engine.launch import launch

if __name__ == "__main__":
    import children
    launch(children.train, argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0,
                                              dist_url="auto", folder={folder!r}))
"""
CHILDREN = """
import os, time
from detectron2.engine import TrainerBase
from detectron2.utils import comm
from dense_ssl.engine.interrupts import StopOnSignal

class Checkpoints:
    last = ""
    def __init__(self, folder):
        self.folder = folder
    def save(self, name, iteration):
        if comm.is_main_process():
            time.sleep(0.5)  # the others must wait
            open(os.path.join(self.folder, name), "w").close()

class Slow(TrainerBase):
    def run_step(self):
        time.sleep(0.05)
        if self.iter == 1:
            open(os.path.join(self.folder, f"began_{comm.get_rank()}"), "w").close()

def train(args):
    trainer = Slow()
    trainer.folder = args.folder
    trainer.register_hooks([StopOnSignal(Checkpoints(args.folder))])
    trainer.train(0, 4000)
"""


def wait_for(condition, seconds=90):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.05)


@pytest.mark.parametrize("name, code", [("SIGTERM", 75), ("SIGINT", 130)])
def test_the_parent_of_two_processes_passes_it_on(tmp_path, name, code):
    (tmp_path / "children.py").write_text(CHILDREN)
    path = [str(tmp_path), *sys.path]
    (tmp_path / "parent.py").write_text(PARENT.format(path=path, folder=str(tmp_path)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(path)}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], env=environment,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    wait_for(lambda: (tmp_path / "began_0").exists() and (tmp_path / "began_1").exists())
    children = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True)
    parent.send_signal(getattr(signal, name))
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == code, errors
    assert len(list(tmp_path.glob("model_*"))) == 1
    assert "Traceback" not in errors
    for pid in children.stdout.split():
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
