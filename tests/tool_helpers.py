"""Helpers for tests of the tools."""

import importlib.util
import time

import torch
from detectron2.modeling import build_model
from helpers import ROOT, tiny_config

from dense_ssl.checkpoint import Checkpointer, backbone_settings


def load_tool(name):
    """Return tools/NAME.py as a new module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_run(folder, cfg, **facts):
    """Write what a run leaves: its config.yaml, and a randomly initialised model_final."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(cfg.dump())
    settings = backbone_settings(cfg)
    Checkpointer(build_model(cfg), str(folder), settings=settings, **facts).save("model_final")


def save_pretraining(folder):
    """Write a tiny pre-training by BYOL, and return its folder."""
    torch.manual_seed(3)  # another seed than that of the analyses' random weights
    save_run(folder, tiny_config("BYOL", "unused", folder))
    return folder


def wait_for(condition, seconds):
    """Wait until a function returns something true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true after {seconds} seconds"
        time.sleep(0.05)
