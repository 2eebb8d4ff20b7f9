#!/usr/bin/env python3
"""Pre-train a backbone without labels, or fine-tune and evaluate a detector.

MODEL.META_ARCHITECTURE in the config file decides which. The command line is detectron2's own; see
README.md.
"""

from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from dense_ssl.engine import Trainer, launch, setup


def main(args):
    """Train, or evaluate with ``--eval-only``; runs in every process."""
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, resume=args.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def evaluate(cfg, resume):
    """Evaluate MODEL.WEIGHTS (or the last checkpoint) on DATASETS.TEST; return the results."""
    model = Trainer.build_model(cfg)
    needed = "model" if cfg.MODEL.CHECK_WEIGHTS else ""
    checkpointer = Trainer.build_checkpointer(cfg, model, needed=needed)
    if needed and not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        raise ValueError(
            "MODEL.WEIGHTS is empty, so --eval-only would evaluate random weights. Set it to the "
            "model_final.pth of a trained detector, or use --resume with its OUTPUT_DIR."
        )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


if __name__ == "__main__":
    arguments = default_argument_parser().parse_args()
    launch(main, arguments)
