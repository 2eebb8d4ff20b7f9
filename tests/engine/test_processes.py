"""One process against two: the same losses, gradients and weights for the same global batch."""

import os
import subprocess
import sys

import pytest
import torch
from helpers import CONFIGS, ROOT, TINY

WORKER = """
import sys, torch
import dense_ssl.engine as engine
from detectron2.engine import HookBase, default_argument_parser
from detectron2.utils import comm

class Record(HookBase):
    def __init__(self):
        self.gradients = []
    def after_step(self):
        model = self.trainer.model
        model = getattr(model, "module", model)
        self.gradients.append({k: p.grad.clone() for k, p in model.named_parameters()
                               if p.grad is not None})

class DoubleTrainer(engine.Trainer):
    @classmethod
    def build_model(cls, cfg):
        # float32 noise grows through fifty layers of batch norm; the claim is about the algorithm
        return super().build_model(cfg).double()

def main(args):
    cfg = engine.setup(args)
    trainer = DoubleTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    record = Record()
    trainer.register_hooks([record])
    trainer.train()
    if comm.is_main_process():
        model = getattr(trainer.model, "module", trainer.model)
        losses = [x for x, _ in trainer.storage.history("total_loss").values()]
        torch.save({"gradients": record.gradients, "losses": losses,
                    "model": model.state_dict()}, cfg.OUTPUT_DIR + "/record.pt")

if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    engine.launch(main, args)
"""


def run(folder, images, processes, method, *options, launcher=()):
    script = folder / "worker.py"
    script.write_text(WORKER)
    output = folder / f"{method}-{processes}-{len(launcher)}"
    command = [sys.executable, *launcher, str(script), "--config-file",
               str(CONFIGS / "Base-Pretrain.yaml")]  # fmt: skip
    if not launcher:
        command += ["--num-gpus", str(processes), "--dist-url", "auto"]
    pairs = [*TINY, "MODEL.META_ARCHITECTURE", method, "MODEL.RESNETS.NORM", "SyncBN",
             "MODEL.SSL.HEAD_NORM", "SyncBN", "DATASETS.TRAIN", (f"folder:{images}",),
             "OUTPUT_DIR", str(output), "SOLVER.MAX_ITER", 3, *options]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command + [str(x) for x in pairs], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return torch.load(output / "record.pt", weights_only=True)


def assert_alike(one, two):
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-5)
    first = one["gradients"][0]
    assert first.keys() == two["gradients"][0].keys()
    scale = max(x.abs().max() for x in first.values())
    for key, value in first.items():
        assert (value - two["gradients"][0][key]).abs().max() <= 1e-5 * max(scale, 1), key


@pytest.mark.parametrize("method", ["BYOL", "SCRL"])
def test_two_processes_equal_one(tmp_path, image_folder, method):
    one = run(tmp_path, image_folder, 1, method)
    two = run(tmp_path, image_folder, 2, method)
    assert_alike(one, two)


def test_unequal_numbers_of_usable_images(tmp_path, image_folder):
    # small crops, many without overlap: the processes hold different numbers of boxes
    options = ("INPUT.VIEWS.CROP_SCALE", "((0.08, 0.3),)")
    assert_alike(
        run(tmp_path, image_folder, 1, "SCRL", *options),
        run(tmp_path, image_folder, 2, "SCRL", *options),
    )


def test_torchrun(tmp_path, image_folder):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert_alike(
        run(tmp_path, image_folder, 2, "BYOL"),
        run(tmp_path, image_folder, 2, "BYOL", launcher=launcher),
    )
