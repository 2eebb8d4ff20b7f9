"""What becomes of a config's device and norms on the machine that it meets."""

import pytest
import torch
from detectron2.utils import comm
from helpers import CONFIGS, base_config

from dense_ssl.config import default_config, load_config, machine, read_config
from dense_ssl.config.machine import resolve_device, resolve_norms
from dense_ssl.config.values import check_values

SYNC = (
    "MODEL.RESNETS.NORM", "SyncBN", "MODEL.FPN.NORM", "SyncBN", "MODEL.ROI_BOX_HEAD.NORM", "SyncBN",
    "MODEL.SSL.HEAD_NORM", "SyncBN", "MODEL.ROI_MASK_HEAD.NORM", "GN",
)  # fmt: skip


class Log:
    """A logger that keeps its messages."""

    def __init__(self):
        self.messages = []

    def info(self, text, *args):
        self.messages.append(text % args)

    warning = info


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_one_process_has_no_need_of_sync_bn(device):
    cfg, log = base_config(*SYNC, "MODEL.DEVICE", device), Log()
    resolve_norms(cfg, log)
    assert cfg.MODEL.RESNETS.NORM == cfg.MODEL.FPN.NORM == cfg.MODEL.SSL.HEAD_NORM == "BN"
    assert cfg.MODEL.ROI_BOX_HEAD.NORM == "BN" and cfg.MODEL.ROI_MASK_HEAD.NORM == "GN"
    assert len(log.messages) == 1 and "MODEL.SSL.HEAD_NORM" in log.messages[0]


@pytest.mark.parametrize("device, norm", [("cpu", "naiveSyncBN"), ("cuda", "SyncBN")])
def test_several_processes_synchronise_their_norms(monkeypatch, device, norm):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    cfg, log = base_config(*SYNC, "MODEL.DEVICE", device), Log()
    resolve_norms(cfg, log)
    assert cfg.MODEL.RESNETS.NORM == cfg.MODEL.FPN.NORM == cfg.MODEL.SSL.HEAD_NORM == norm
    assert cfg.MODEL.ROI_MASK_HEAD.NORM == "GN"
    assert len(log.messages) == (norm != "SyncBN")


def test_levels_of_retinanet_keep_statistics_of_their_own(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    cfg, log = base_config(*SYNC, "MODEL.RETINANET.NORM", "SyncBN", "MODEL.DEVICE", "cpu"), Log()
    resolve_norms(cfg, log)
    assert cfg.MODEL.RETINANET.NORM == "BN" and cfg.MODEL.FPN.NORM == "naiveSyncBN"
    assert any(x == "BN instead of SyncBN in MODEL.RETINANET.NORM" for x in log.messages)


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", "naiveSyncBN", ""])
def test_other_norms_stay(norm):
    cfg, log = base_config("MODEL.RESNETS.NORM", norm, "MODEL.SSL.HEAD_NORM", norm), Log()
    resolve_norms(cfg, log)
    assert cfg.MODEL.RESNETS.NORM == cfg.MODEL.SSL.HEAD_NORM == norm and not log.messages


def test_every_sync_bn_of_the_configs_is_resolved():
    def norms(node):
        for key, value in node.items():
            if hasattr(value, "items"):
                yield from norms(value)
            elif key.endswith("NORM"):
                yield value

    for path in sorted(CONFIGS.rglob("*.yaml")):
        cfg = base_config()
        cfg.merge_from_file(str(path))
        check_values(cfg)
        resolve_norms(cfg, Log())
        assert "SyncBN" not in list(norms(cfg.MODEL)), path


def test_without_a_gpu_the_cpu_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg, log = base_config("MODEL.DEVICE", "cuda"), Log()
    resolve_device(cfg, log)
    assert cfg.MODEL.DEVICE == "cpu" and "no GPU" in log.messages[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = base_config("MODEL.DEVICE", "cuda")
    resolve_device(cfg, log)
    assert cfg.MODEL.DEVICE == "cuda" and len(log.messages) == 1


@pytest.mark.parametrize("has_gpu, device", [(True, "cuda"), (False, "cpu")])
def test_the_device_is_detected_unless_it_is_stated(monkeypatch, has_gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    config = str(CONFIGS / "mini/pretrain/scrl_R_18.yaml")
    assert load_config(config).MODEL.DEVICE == device
    assert load_config(config, ["MODEL.DEVICE", "cpu"]).MODEL.DEVICE == "cpu"
    cfg, log = read_config(config), Log()
    assert resolve_device(cfg, log) and cfg.MODEL.DEVICE == device
    assert log.messages == [f"Running on {device}, as MODEL.DEVICE states no device"]
    cfg = read_config(config, ["MODEL.DEVICE", "cpu"])
    assert not resolve_device(cfg, log) and cfg.MODEL.DEVICE == "cpu"
    # a plain detectron2 config keeps detectron2's default
    assert default_config().MODEL.DEVICE == "cuda"


def test_processes_on_cpus_share_the_cores(monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(machine, "available_cores", lambda: 12)
    monkeypatch.setattr(comm, "get_local_size", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    resolve_device(base_config("MODEL.DEVICE", "cpu"), Log())
    assert not threads  # what the user says counts
    monkeypatch.delenv("OMP_NUM_THREADS")
    resolve_device(base_config("MODEL.DEVICE", "cpu"), Log())
    assert threads == [3]
