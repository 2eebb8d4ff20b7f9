"""Starting the processes: detectron2's launcher, torchrun or SLURM."""

import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys

import torch
import torch.distributed as dist
from detectron2.engine import launch as launch_d2
from detectron2.utils import comm

from ..utils.exit_codes import FAILED, INTERRUPTED, STOPPED
from .interrupts import Stopped, exit_code, passed_to_children


def launch(main, args):
    """Run ``main(args)`` in every process.

    Where torchrun (or ``srun`` of SLURM with several tasks) has started this process already, it
    joins the others; otherwise ``--num-gpus`` processes per machine are started here, on GPUs, or
    on CPUs where there is none.

    Args:
        main: function of ``args``, importable by name.
        args: result of detectron2's ``default_argument_parser()``.

    Returns:
        What ``main`` returns in a single process, else None.
    """
    try:
        environment = _started_by_others(os.environ)
        if environment is not None:
            os.environ.update(environment)
            return _join(main, args)
        if args.num_machines * args.num_gpus <= 1:
            return main(args)  # detectron2's launcher returns nothing
        return _start(main, args)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped by Ctrl-C. --resume goes on from the last checkpoint.\n")
        raise SystemExit(INTERRUPTED) from None


def _start(main, args):
    """Start the processes of this machine, and end with them."""
    # torch warns that it ends the second process once the first has left
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    finished = torch.multiprocessing.get_context("spawn").Event()
    try:
        with passed_to_children(finished.is_set) as received:
            _launch_and_check(main, args, finished, received)
    finally:
        for child in multiprocessing.active_children():  # left only by a second Ctrl-C
            child.terminate()


def _launch_and_check(main, args, finished, received):
    """Run detectron2's launcher; raise SystemExit with the code that the signals ask for."""
    try:
        launch_d2(
            functools.partial(_run_and_leave, finished),
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args),
        )
    except torch.multiprocessing.ProcessExitedException as error:
        if error.exit_code == FAILED:  # it has said why
            raise SystemExit(FAILED) from None
        if signal.SIGINT in received:
            raise SystemExit(INTERRUPTED) from None
        # one that had not begun to train has the negative number of the signal
        if not received or error.exit_code > 0 and error.exit_code not in STOPPED:
            raise
        raise SystemExit(exit_code(received[0])) from None
    except torch.multiprocessing.ProcessRaisedException:
        if signal.SIGINT not in received:
            raise
        raise KeyboardInterrupt from None  # one waited for another that had ended
    if received and not finished.is_set():
        raise KeyboardInterrupt  # torch lets a process return 0 that Ctrl-C ends


def _run_and_leave(finished, main, args):
    """Run ``main(args)`` and close the process group, which detectron2's launcher leaves open.

    Threads of an open group that are still alive when the interpreter ends sometimes abort the
    process after all work is done.
    """
    try:
        result = main(args)
    except Stopped:  # all processes alike
        _leave()
        raise
    except SystemExit:  # this one alone
        dist.destroy_process_group()
        raise
    _leave()
    finished.set()
    return result


def _leave():
    if dist.is_initialized():
        comm.synchronize()  # nobody leaves while another still needs the group
        dist.destroy_process_group()


def _started_by_others(env):
    """Return torch's rendezvous variables if the process is one of several, else None."""
    if "LOCAL_RANK" in env and "WORLD_SIZE" in env:  # torchrun
        return {"LOCAL_WORLD_SIZE": env.get("LOCAL_WORLD_SIZE", "1")}
    tasks = int(env.get("SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", "1")))
    if tasks > 1 and _is_task_of_srun(env):
        nodes = int(env.get("SLURM_STEP_NUM_NODES", env.get("SLURM_NNODES", "1")))
        return {
            "RANK": env["SLURM_PROCID"],
            "WORLD_SIZE": str(tasks),
            "LOCAL_RANK": env["SLURM_LOCALID"],
            "LOCAL_WORLD_SIZE": str(tasks // nodes),
            "MASTER_ADDR": env.get("MASTER_ADDR") or _first_node(env, nodes),
            "MASTER_PORT": env.get("MASTER_PORT") or _port_of(env),
        }
    return None


def _is_task_of_srun(env):
    """A batch script is process 0 too, of no step: srun alone starts several processes."""
    step = ("SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS")
    return int(env.get("SLURM_PROCID", "0")) > 0 or (
        "SLURM_PROCID" in env and any(x in env for x in step)
    )


def _first_node(env, nodes):
    """Return the name of the machine with process 0."""
    if nodes == 1:
        return "127.0.0.1"
    names = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST", "")
    try:
        command = ["scontrol", "show", "hostnames", names]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        raise ValueError(
            f"srun started tasks on {nodes} machines, and `scontrol` does "
            f"not say where the first one is ({names!r}). Set MASTER_ADDR to the name of the first "
            "machine in the job script."
        ) from None


def _port_of(env):
    """Return a port that two jobs on a machine do not share, below those that Linux gives away."""
    return str(20000 + int(env.get("SLURM_JOB_ID", "0")) % 10000)


def _join(main, args):
    local_rank = int(os.environ["LOCAL_RANK"])
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if has_gpu else "gloo")
    _create_local_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    try:
        comm.synchronize()
        return main(args)
    finally:
        dist.destroy_process_group()


def _create_local_group(processes_per_machine):
    """Tell detectron2 which processes share a machine."""
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(processes_per_machine)
        return
    # detectron2 v0.6 sets the group inside its own launcher only
    for first in range(0, dist.get_world_size(), processes_per_machine):
        group = dist.new_group(range(first, first + processes_per_machine))
        if first <= dist.get_rank() < first + processes_per_machine:
            comm._LOCAL_PROCESS_GROUP = group
