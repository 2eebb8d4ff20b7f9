"""Signals during a run, in its workers, and in the process that started others."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from detectron2.engine import HookBase, TrainerBase

from dense_ssl.checkpoint.background import Writer
from dense_ssl.engine.interrupts import (
    ListenForSignals,
    StopOnSignal,
    Stopped,
    ctrl_c_ends,
    exit_code,
    handlers_restored,
    passed_to_children,
)


class Checkpoints:
    def __init__(self):
        self.saved, self.last, self.writer = [], "", Writer()

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


def ctrl_c_as_an_error():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:  # code that cleans up and fails
        raise ValueError("half done")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_run_where_a_library_makes_it_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stop, ctrl_c_ends():
        ctrl_c_as_an_error()
    assert isinstance(stop.value.__cause__, ValueError)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_without_ctrl_c_stays():
    with pytest.raises(ValueError, match="whole"), ctrl_c_ends():
        raise ValueError("whole")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_that_a_library_swallows_ends_the_run_after_its_first_step():
    checkpoints = Checkpoints()
    with pytest.raises(Stopped) as stop, ctrl_c_ends():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        Counter([StopOnSignal(checkpoints)], 9, 0).train(0, 10)
    assert stop.value.code == 130
    assert checkpoints.saved == [("model_0000000", {"iteration": 0})]


@pytest.mark.parametrize("name, code", [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_signal_before_there_is_a_process_to_pass_it_on_to(name, code, monkeypatch):
    # other tests may have left processes, which would get it
    monkeypatch.setattr("multiprocessing.active_children", lambda: [])
    with pytest.raises(SystemExit) as stop, passed_to_children(lambda: False):
        os.kill(os.getpid(), getattr(signal, name))
    assert stop.value.code == code
    with passed_to_children(lambda: True) as received:  # after their work it changes nothing
        os.kill(os.getpid(), getattr(signal, name))
    assert received == [getattr(signal, name)]


def test_ctrl_c_twice_ends_at_once_after_another_signal_too():
    class Pressed(Counter):
        def run_step(self):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        Pressed([StopOnSignal(Checkpoints())], 0, 0).train(0, 2)


@pytest.mark.parametrize("evaluates, step, stops", [
    (False, 3, False), (True, 3, True), (False, 2, True),
])  # fmt: skip
def test_a_signal_in_the_last_step(evaluates, step, stops):
    """Nothing is left to do after it, unless an evaluation follows."""
    checkpoints = Checkpoints()
    trainer = Counter([StopOnSignal(checkpoints, evaluates)], step, signal.SIGTERM)
    with pytest.raises(Stopped) if stops else contextlib.nullcontext():
        trainer.train(0, 4)
    assert len(checkpoints.saved) == stops


class Evaluates(HookBase):
    """What a hook does before the first step, in which a signal comes."""

    done = False

    def before_train(self):
        os.kill(os.getpid(), signal.SIGTERM)
        self.done = True


def test_a_signal_before_the_first_step_is_taken_too():
    checkpoints, work = Checkpoints(), Evaluates()
    stop = StopOnSignal(checkpoints)
    with pytest.raises(Stopped) as stopped, handlers_restored():
        Counter([ListenForSignals(stop), work, stop], -1, 0).train(4, 9)
    assert work.done and stopped.value.code == 75
    assert checkpoints.saved == [("model_0000004", {"iteration": 4})]


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
from dense_ssl.checkpoint.background import Writer
from dense_ssl.engine.interrupts import StopOnSignal

class Checkpoints:
    last, writer = "", Writer()
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


STARTING = """
import os, signal, time
from detectron2.utils import comm
from dense_ssl.engine.interrupts import ctrl_c_ends

def train(args):
    if os.path.exists(os.path.join(args.folder, "ctrl_c_first")):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of the parent, which may come late
    open(os.path.join(args.folder, f"began_{comm.get_rank()}"), "w").close()
    with ctrl_c_ends():
        try:
            time.sleep(60)
        finally:
            if os.path.exists(os.path.join(args.folder, "fails")):
                raise ValueError("half done")
"""


def wait_for(condition, seconds=300):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.05)


def start_parent(folder, children):
    """Start two processes; return them once they run."""
    (folder / "children.py").write_text(children)
    path = [str(folder), *sys.path]
    (folder / "parent.py").write_text(PARENT.format(path=path, folder=str(folder)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(path)}
    parent = subprocess.Popen([sys.executable, folder / "parent.py"], env=environment, text=True,
                              stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    wait_for(lambda: (folder / "began_0").exists() and (folder / "began_1").exists())
    return parent


@pytest.mark.parametrize("name, code", [("SIGTERM", 75), ("SIGINT", 130)])
def test_the_parent_of_two_processes_passes_it_on(tmp_path, name, code):
    parent = start_parent(tmp_path, CHILDREN)
    children = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True)
    parent.send_signal(getattr(signal, name))
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == code, errors
    assert len(list(tmp_path.glob("model_*"))) == 1
    assert "Traceback" not in errors
    for pid in children.stdout.split():
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize("name, code, condition", [
    ("SIGTERM", 75, ""), ("SIGINT", 130, ""), ("SIGINT", 130, "fails"),
    ("SIGINT", 130, "ctrl_c_first"),
])  # fmt: skip
def test_two_processes_that_still_start(tmp_path, name, code, condition):
    """Ctrl-C reaches all of them, as in a terminal; torch lets one that it ends return 0."""
    if condition:
        (tmp_path / condition).touch()
    parent = start_parent(tmp_path, STARTING)
    if name == "SIGINT":
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == code, errors
    assert "Traceback" not in errors


class Fails(HookBase):
    def after_train(self):
        raise OSError("No space left on device")


def test_handlers_are_restored_where_a_hook_before_it_fails():
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(x) for x in numbers]
    with pytest.raises(OSError, match="No space left"), handlers_restored():
        Counter([Fails(), StopOnSignal(Checkpoints())], -1, 0).train(0, 2)
    assert [signal.getsignal(x) for x in numbers] == before
