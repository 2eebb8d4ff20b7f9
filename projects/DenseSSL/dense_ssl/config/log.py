"""Keys of what a run reports, and where."""

from detectron2.config import CfgNode as CN


def add_log_config(cfg):
    """Add the keys of the log."""
    # Services that get every metric, beside metrics.json, TensorBoard and curves.png: "wandb"
    # (Weights & Biases), "mlflow". Both take their address and account from their own environment
    # variables, see docs/running.md.
    log = cfg.LOG = CN()
    log.WRITERS = ()
    # Where the run appears there: the project of wandb, the experiment of MLflow.
    log.PROJECT = "dense-ssl"
    # Name of the run there; empty: the last part of OUTPUT_DIR.
    log.NAME = ""
    # Write run.json (command, versions, device, data) at the start and report.html at the end of a
    # run: docs/report.md. `tools/report.py` writes a report at any time.
    log.REPORT = True
