"""The trainer of both stages."""

import functools
import logging
import os
import weakref

import torch
from detectron2.engine import DefaultTrainer
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter

from ..checkpoint import Checkpointer, backbone_settings
from ..checkpoint.stock import stock_keys, stock_yaml
from ..data.finetune.labels import training_labels
from ..data.finetune.loader import (
    build_evaluation_loader,
    build_finetune_loader,
    count_training_images,
    forget_training_images,
)
from ..data.views.loader import BrokenImages, build_pretrain_loader
from ..evaluation import build_evaluator
from ..modeling.backbones import feature_shapes
from ..modeling.building import explained_refusals
from ..modeling.detectors.freeze import freeze_parameters
from ..modeling.detectors.frozen_features import FrozenFeatures
from ..modeling.norm_statistics import make_sync_batch_norms_exact
from ..modeling.pretrainer import Pretrainer
from ..solver import build_lr_scheduler, build_optimizer
from ..utils.progress import progress
from .best import EarlyStop
from .console import announce_model
from .resuming import check_groups, digest_of, own_hyperparameters, resume_run
from .run_hooks import run_hooks
from .trackers import build_trackers
from .train_step import TrainStep, amp_dtype
from .writers import PictureWriter, ReportPrinter

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """detectron2's DefaultTrainer for pre-training and for fine-tuning.

    Beyond it: autocast and several processes also on CPUs, gradient accumulation, exact resume,
    and loading that reports what it did.

    Attributes:
        seed: of everything random in the run; SEED, or drawn and kept in the checkpoint.
        num_images: images of an epoch.
    """

    def __init__(self, cfg):
        """
        Args:
            cfg: result of :func:`~dense_ssl.engine.setup`.
        """
        # not DefaultTrainer's own: it knows several processes and mixed precision on GPUs only
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        model = self.build_model(cfg)
        self.is_pretraining = isinstance(model, Pretrainer)
        self._num_views = model.num_views if self.is_pretraining else None
        if cfg.MODEL.FREEZE_BACKBONE and not self.is_pretraining:
            freeze_parameters(model)
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = TrainStep(
            _parallel(model),
            self.build_train_loader(cfg, self.seed),
            optimizer,
            precision=amp_dtype(cfg.SOLVER.AMP.PRECISION, model.device)
            if cfg.SOLVER.AMP.ENABLED
            else None,
            accumulate=cfg.SOLVER.ACCUMULATE,
            on_batch=BrokenImages(cfg.DATALOADER.MAX_BROKEN_SHARE).report
            if self.is_pretraining
            else None,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = self.build_checkpointer(
            cfg, model, trainer=weakref.proxy(self),
            labels=None if self.is_pretraining else training_labels(cfg),
            stock=stock_yaml(stock_keys(cfg)) if self.is_pretraining else "",
        )  # fmt: skip
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.num_images = (
            len(self.data_loader.dataset) if self.is_pretraining else count_training_images(cfg)
        )
        self.register_hooks(self.build_hooks())
        forget_training_images()

    @staticmethod
    def auto_scale_workers(cfg, num_workers):
        """detectron2's, for SOLVER.REFERENCE_WORLD_SIZE; BASE_LR_BATCH scales the rate already."""
        scaled = DefaultTrainer.auto_scale_workers(cfg, num_workers)
        if cfg.SOLVER.BASE_LR_BATCH > 0 and scaled is not cfg:
            scaled.defrost()
            scaled.SOLVER.BASE_LR = cfg.SOLVER.BASE_LR
            if cfg.is_frozen():
                scaled.freeze()
        return scaled

    @staticmethod
    def build_checkpointer(cfg, model, **arguments):
        """The checkpointer of a run; also used to load weights for evaluation alone."""
        return Checkpointer(
            model,
            cfg.OUTPUT_DIR,
            settings=backbone_settings(cfg),
            check=cfg.MODEL.CHECK_WEIGHTS,
            trust=cfg.MODEL.TRUST_WEIGHTS,
            keep=(cfg.SOLVER.KEEP_CHECKPOINTS, cfg.SOLVER.KEEP_EVERY),
            # the levels of a classifier on a frozen backbone have weights of their own
            max_gain_ratio=0 if isinstance(model, FrozenFeatures) else cfg.MODEL.FPN.MAX_GAIN_RATIO,
            **arguments,
        )

    def resume_or_load(self, resume=True):
        """Go on from the last checkpoint of the output folder, or start from MODEL.WEIGHTS."""
        if resume and _all_alike(self.checkpointer.has_checkpoint(), self.cfg.OUTPUT_DIR):
            resume_run(self)
        else:
            self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=False)
        # detectron2's own loader, which other samplers get, cannot be joined in the middle
        sampler = getattr(self.data_loader, "batch_sampler", None)
        if sampler is not None:
            sampler.start = self.start_iter * self.cfg.SOLVER.ACCUMULATE
            sampler.seed = self.data_loader.dataset.seed = self.seed
        logger.info("Starting at iteration %d with seed %d", self.start_iter, self.seed)

    @functools.cached_property
    def image_digest(self):
        """(number, digest) of the training images; None with detectron2's own loader."""
        dicts = getattr(self.data_loader.dataset, "dicts", None)
        return None if dicts is None else (len(dicts), digest_of(dicts))

    def run_step(self):
        super().run_step()
        if self.iter + 1 == self.max_iter:  # it is reported, whatever the period
            self._trainer.read_numbers()

    def train(self):
        """Train to SOLVER.MAX_ITER, or until TEST.PATIENCE ends the run."""
        try:
            return super().train()
        except EarlyStop:
            return None

    def build_hooks(self):
        return run_hooks(self)

    def build_writers(self):
        cfg = self.cfg
        # detectron2's own loader, which other samplers get, does not know its length
        is_sized = getattr(self.data_loader, "batch_sampler", None) is not None
        num_images = len(self.data_loader.dataset) if is_sized else None
        return [
            ReportPrinter(self.max_iter, cfg.SOLVER.IMS_PER_BATCH, num_images),
            JSONWriter(os.path.join(cfg.OUTPUT_DIR, "metrics.json")),
            *([PictureWriter(os.path.join(cfg.OUTPUT_DIR, "pictures"))] * self.is_pretraining),
            *build_trackers(cfg),
            TensorboardXWriter(cfg.OUTPUT_DIR),  # last: it empties the pictures of the storage
        ]

    def state_dict(self):
        return {
            **super().state_dict(),
            # detectron2 v0.6 keeps neither optimizer nor scaler in the checkpoint
            "_trainer": self._trainer.state_dict(),
            "seed": self.seed,
            "config": self.cfg.dump(),
            "images": self.image_digest,
        }

    def load_state_dict(self, state_dict):
        self.seed = state_dict["seed"]
        check_groups(state_dict["_trainer"]["optimizer"], self.optimizer)
        with own_hyperparameters(self.optimizer, self.scheduler):
            super().load_state_dict(state_dict)
            self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_model(cls, cfg):
        with explained_refusals(cfg):
            model = super().build_model(cfg)
        model = make_sync_batch_norms_exact(model)
        announce_model(cfg, model)
        if cfg.MODEL.CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)
            head = getattr(getattr(model, "roi_heads", None), "keypoint_head", None)
            if head is not None:
                # detectron2 takes views of its logits that only contiguous tensors have
                head.to(memory_format=torch.contiguous_format)
        return model

    @classmethod
    def build_optimizer(cls, cfg, model):
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        return build_lr_scheduler(cfg, optimizer)

    def build_train_loader(self, cfg, seed):
        """The loader of the stage; what it gives depends on the seed and the position alone."""
        if self.is_pretraining:
            return build_pretrain_loader(cfg, seed, self._num_views)
        return build_finetune_loader(cfg, seed)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        loader = build_evaluation_loader(cfg, dataset_name)
        return progress(loader, f"Evaluating on {dataset_name}")

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        return build_evaluator(cfg, dataset_name, output_folder)

    def _evaluate(self):
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results


def _parallel(model):
    """Wrap the model for several processes, on GPUs or CPUs."""
    arguments = {"broadcast_buffers": False}
    if model.device.type == "cpu":
        arguments["device_ids"] = None
    if isinstance(model, Pretrainer):
        # objectives on some of several maps leave layers of the others without gradient
        arguments["find_unused_parameters"] = len(feature_shapes(model.backbone)) > 1
    return create_ddp_model(model, **arguments)


def _all_alike(has_checkpoint, folder):
    """Return whether there is a checkpoint; raise unless all processes see the same."""
    found = comm.all_gather(has_checkpoint)
    if len(set(found)) > 1:
        raise ValueError(
            f"--resume: {sum(found)} of {len(found)} processes see a checkpoint in OUTPUT_DIR "
            f"{folder}. Set it to a folder that all machines share, or copy it to all of them."
        )
    return has_checkpoint
