"""A config that suits the machine: its device, and norms that can run on it."""

import os

import torch
from detectron2.utils import comm

from ..modeling.backbone_keys import NORM_KEYS, norm_key
from ..utils.checks import value_of
from ..utils.cores import available_cores
from .loading import detect_device

SYNC_BN = "SyncBN"
_PER_LEVEL = "MODEL.RETINANET.NORM"
_ALL_NORM_KEYS = (
    *NORM_KEYS,
    "MODEL.FPN.NORM",
    "MODEL.ROI_BOX_HEAD.NORM",
    "MODEL.ROI_MASK_HEAD.NORM",
    _PER_LEVEL,
    "MODEL.SEM_SEG_HEAD.NORM",
    "MODEL.SSL.HEAD_NORM",
    "MODEL.IMAGE_CLASSIFIER.NORM",
)


def resolve_device(cfg, logger):
    """Set MODEL.DEVICE to one that is there, and share a CPU's cores between the processes.

    Returns:
        bool: True if no device was stated, so that it was detected.
    """
    detected = detect_device(cfg)
    if detected:
        logger.info("Running on %s, as MODEL.DEVICE states no device", cfg.MODEL.DEVICE)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning(
            "MODEL.DEVICE is %s, but torch finds no GPU: running on the CPU. If there is one, "
            "check that torch was installed with CUDA (torch.version.cuda is %s) and that "
            "nvidia-smi lists it.",
            cfg.MODEL.DEVICE,
            torch.version.cuda,
        )
        cfg.MODEL.DEVICE = "cpu"
    local = comm.get_local_size()
    if cfg.MODEL.DEVICE == "cpu" and local > 1 and "OMP_NUM_THREADS" not in os.environ:
        # more threads than cores is a cliff, not a slope
        torch.set_num_threads(max(available_cores() // local, 1))
    return detected


def resolve_norms(cfg, logger):
    """Replace SyncBN where it cannot run: by BN in one process, by naiveSyncBN on several CPUs.

    On CPUs RetinaNet's heads get BN: detectron2 has statistics for each level only for BN and
    SyncBN.

    Returns:
        list of the keys that were SyncBN and are not now.
    """
    if comm.get_world_size() == 1:
        norm = "BN"
    elif cfg.MODEL.DEVICE == "cpu":
        norm = "naiveSyncBN"  # torch's SyncBatchNorm knows GPUs only
    else:
        return []
    changed, replaced = {}, []
    for key in _ALL_NORM_KEYS:
        if value_of(cfg, key) == SYNC_BN:
            replaced.append(key)
            node, _, name = key.rpartition(".")
            value_of(cfg, node)[name] = new = "BN" if key == _PER_LEVEL else norm
            if key not in NORM_KEYS or key == norm_key(cfg):  # not those of other backbones
                changed.setdefault(new, []).append(key)
    for new, keys in changed.items():
        logger.info("%s instead of %s in %s", new, SYNC_BN, ", ".join(keys))
    return replaced
