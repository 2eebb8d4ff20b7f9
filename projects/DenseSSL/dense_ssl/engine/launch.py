"""Starting the processes: detectron2's launcher, torchrun or SLURM."""

import os

import torch
import torch.distributed as dist
from detectron2.engine import launch as launch_d2
from detectron2.utils import comm


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
    environment = _started_by_others(os.environ)
    if environment is None and args.num_machines * args.num_gpus <= 1:
        return main(args)  # detectron2's launcher returns nothing
    if environment is None:
        return launch_d2(
            _run_and_leave,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args),
        )
    os.environ.update(environment)
    return _join(main, args)


def _run_and_leave(main, args):
    """Run ``main(args)`` and close the process group, which detectron2's launcher leaves open.

    Threads of an open group that are still alive when the interpreter ends sometimes abort the
    process after all work is done.
    """
    result = main(args)
    if dist.is_initialized():
        comm.synchronize()  # nobody leaves while another still needs the group
        dist.destroy_process_group()
    return result


def _started_by_others(env):
    """Return torch's rendezvous variables if the process is one of several, else None."""
    if "LOCAL_RANK" in env and "WORLD_SIZE" in env:  # torchrun
        return {"LOCAL_WORLD_SIZE": env.get("LOCAL_WORLD_SIZE", "1")}
    if int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in env and "MASTER_ADDR" in env:
        tasks_per_node = int(env["SLURM_NTASKS"]) // int(env.get("SLURM_NNODES", "1"))
        return {
            "RANK": env["SLURM_PROCID"],
            "WORLD_SIZE": env["SLURM_NTASKS"],
            "LOCAL_RANK": env["SLURM_LOCALID"],
            "LOCAL_WORLD_SIZE": str(tasks_per_node),
            "MASTER_PORT": env.get("MASTER_PORT", "29500"),
        }
    return None


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
