"""How much memory a device has."""

import os

import torch

_CGROUP_LIMIT = "/sys/fs/cgroup/memory.max"


def available_memory(device):
    """Return (bytes that this process may use, bytes that the device has); None if unknown.

    What the process holds already counts as usable.

    Args:
        device: torch device.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device), total
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":") for line in file)
        free, total = (int(lines[x].split()[0]) * 1024 for x in ("MemAvailable", "MemTotal"))
        with open("/proc/self/statm") as file:
            own = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, KeyError, ValueError):  # not Linux
        return None
    limit = _container_limit() or total
    return min(free + own, limit), min(total, limit)


def _container_limit():
    try:
        with open(_CGROUP_LIMIT) as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
