"""A short training that records what it computes; also a script that torchrun starts."""

import argparse
import os

import torch
from detectron2.engine import HookBase, default_argument_parser
from detectron2.utils import comm

from dense_ssl import engine


class Record(HookBase):
    """Keeps the gradients of the first step and the queues after it."""

    def __init__(self):
        self.gradients, self.queues = None, None

    def after_step(self):
        if self.gradients is None:
            model = _unwrapped(self.trainer.model)
            self.queues = {k: x.clone() for k, x in model.state_dict().items() if ".bank." in k}
            self.gradients = {
                k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None
            }


class DoubleTrainer(engine.Trainer):
    """Trains in float64: rounding of float32 grows through fifty layers of batch norm."""

    @classmethod
    def build_model(cls, cfg):
        return super().build_model(cfg).double()


def recorded_run(config_file, options):
    """Train, and return the losses, the first gradients and queues, and the final weights.

    Args:
        config_file: path of a yaml.
        options: yacs pairs as strings.

    Returns:
        dict of them in the main process, else None.
    """
    args = argparse.Namespace(config_file=config_file, opts=options, eval_only=False, resume=False)
    cfg = engine.setup(args)
    trainer = DoubleTrainer(cfg)
    trainer.resume_or_load(resume=False)
    record = Record()
    trainer.register_hooks([record])
    trainer.train()
    weights = _unwrapped(trainer.model).state_dict()
    # the queues of all processes are equal to the bit
    queues = {k: x for k, x in weights.items() if ".bank." in k}
    for other in comm.all_gather(queues):
        assert all(torch.equal(x, other[k]) for k, x in queues.items())
    if comm.is_main_process():
        losses = [x for x, _ in trainer.storage.history("total_loss").values()]
        return {"losses": losses, "gradients": record.gradients, "queues": record.queues,
                "model": weights}  # fmt: skip


def _unwrapped(model):
    return getattr(model, "module", model)


def save_record(args):
    """Train with the arguments of a command line; save the record in the output folder."""
    result = recorded_run(args.config_file, args.opts)
    if comm.is_main_process():
        folder = dict(zip(args.opts[::2], args.opts[1::2]))["OUTPUT_DIR"]
        torch.save(result, os.path.join(folder, "record.pt"))


if __name__ == "__main__":
    arguments = default_argument_parser().parse_args()
    engine.launch(save_record, arguments)
