"""What looks wrong with a run before its first step, in numbers, with the keys that change it."""

import logging
import math
from statistics import median

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from PIL import Image

from ..data.views.batch import stack_samples
from ..data.views.loader import pretrain_dataset_dicts
from ..data.views.settings import view_settings
from ..solver import base_lr
from ..utils.device_memory import available_memory
from .memory import estimate_memory

logger = logging.getLogger(__name__)

# Images whose size is read.
_SAMPLE = 32
# A batch that differs by less from the one that a learning rate was stated for is no mistake.
_BATCH_FACTOR = 2
_GB = 1e9


class CheckStart(HookBase):
    """Logs one block of warnings before training, and the memory that a step will take."""

    def before_train(self):
        trainer = self.trainer
        cfg, is_pretraining = trainer.cfg, trainer.is_pretraining
        memory = None
        if cfg.GUARDS.MEMORY > 0:
            memory = self._memory()  # in every process, as batch norms may be synchronised
        if not comm.is_main_process():
            return
        num_images = trainer.num_images
        sizes = image_sizes(pretrain_dataset_dicts(cfg)) if is_pretraining else []
        notes = warnings(cfg, num_images, is_pretraining, sizes)
        available = available_memory(_step(trainer).device)
        if memory is not None:
            logger.info("Memory of a step: %s", describe(memory, available))
            notes.append(memory_warning(cfg, memory, available))
        notes = [x for x in notes if x]
        if notes:
            logger.warning("Before the first step:\n  * %s", "\n  * ".join(notes))

    def _memory(self):
        cfg, batch = self.trainer.cfg, self._two_images()
        # the estimate may synchronise batch norms: all processes make it, or none
        if not all(comm.all_gather(batch is not None)):
            return None
        try:
            images = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE // comm.get_world_size()
            # without the wrapper of several processes
            model = getattr(self.trainer.model, "module", self.trainer.model)
            precision = _step(self.trainer).precision
            return estimate_memory(model, batch, images, cfg.SOLVER.OPTIMIZER, precision)
        except Exception as error:  # an estimate must not end a run
            _not_estimated(error)
            return None

    def _two_images(self):
        """Return a batch of two images; None if they cannot be read."""
        try:
            dataset = self.trainer.data_loader.dataset
            samples = [dataset[(i, i % len(dataset))] for i in range(2)]
            return stack_samples(samples) if self.trainer.is_pretraining else samples
        except Exception as error:
            _not_estimated(error)
            return None


def _not_estimated(error):
    logger.info("Memory of a step: not estimated (%s: %s)", type(error).__name__, error)


def _step(trainer):
    return trainer._trainer


def warnings(cfg, num_images, is_pretraining, sizes=()):
    """Return a sentence or two for each thing that looks wrong.

    Args:
        cfg: config of a run, its epochs resolved.
        num_images: images of an epoch.
        is_pretraining: False for a detector.
        sizes: (width, height) of some images.
    """
    found = [
        _batch(cfg, num_images),
        _length(cfg, num_images, is_pretraining),
        _learning_rate(cfg),
        "" if is_pretraining else _schedule(cfg),
        _views(cfg, sizes) if is_pretraining and sizes else "",
    ]
    return [x for x in found if x]


def _batch(cfg, num_images):
    batch = cfg.SOLVER.IMS_PER_BATCH
    if batch <= num_images:
        return ""
    better = _smaller_batch(num_images)
    text = (
        f"The batch is larger than the data: every step would see each of the {num_images} images "
        f"{batch / num_images:.0f} times. Set SOLVER.IMS_PER_BATCH {better}"
    )
    if cfg.SOLVER.ACCUMULATE > 1:
        text += " and SOLVER.ACCUMULATE 1"
    if cfg.SOLVER.BASE_LR_BATCH > 0:
        text += (
            f"; the learning rate goes with it, from {base_lr(cfg):g} to "
            f"{cfg.SOLVER.BASE_LR * better / cfg.SOLVER.BASE_LR_BATCH:g}"
        )
    return f"{text}."


def _smaller_batch(num_images):
    """A power of two that gives at least four steps per epoch."""
    return max(2 ** int(math.log2(max(num_images / 4, 2))), 2)


def _length(cfg, num_images, is_pretraining):
    solver, guards = cfg.SOLVER, cfg.GUARDS
    name = "MIN_PRETRAIN_STEPS" if is_pretraining else "MIN_FINETUNE_STEPS"
    steps, least = solver.MAX_ITER, guards[name]
    epochs = steps * solver.IMS_PER_BATCH / num_images
    if steps < least:
        text = f"{steps} steps are few (GUARDS.{name} is {least}): "
        if solver.EPOCHS > 0:
            enough = math.ceil(least * solver.IMS_PER_BATCH / num_images)
            text += f"raise SOLVER.EPOCHS {solver.EPOCHS:g} to {enough}"
            batch = min(_smaller_batch(num_images), max(solver.IMS_PER_BATCH // 2, 2))
            steps = round(solver.EPOCHS * num_images / batch)
            if steps >= least:
                text += f", or lower SOLVER.IMS_PER_BATCH to {batch} ({steps} steps)"
            return f"{text}."
        return text + f"set SOLVER.MAX_ITER to {least} or more, or SOLVER.EPOCHS."
    if epochs < guards.MIN_EPOCHS:
        return (
            f"The run sees each image {epochs:.2f} times (GUARDS.MIN_EPOCHS is "
            f"{guards.MIN_EPOCHS:g}): some images are never used. Raise SOLVER.MAX_ITER to "
            f"{math.ceil(guards.MIN_EPOCHS * num_images / solver.IMS_PER_BATCH)}, or set "
            "SOLVER.EPOCHS."
        )
    return ""


def _learning_rate(cfg):
    solver = cfg.SOLVER
    meant, batch = solver.RECIPE_BATCH, solver.IMS_PER_BATCH
    if not meant or solver.BASE_LR_BATCH > 0:
        return ""
    if max(batch / meant, meant / batch) < _BATCH_FACTOR:
        return ""
    return (
        f"SOLVER.BASE_LR {solver.BASE_LR:g} was stated for a batch of {meant} images, but "
        f"SOLVER.IMS_PER_BATCH is {batch}. Set SOLVER.BASE_LR {solver.BASE_LR * batch / meant:g}, "
        f"or SOLVER.BASE_LR_BATCH {meant}, which does it for every batch."
    )


def _schedule(cfg):
    solver = cfg.SOLVER
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        return (
            f"The whole run is warm-up: SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, of "
            f"{solver.MAX_ITER} steps. Set it to {solver.MAX_ITER // 10}."
        )
    is_stepped = solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR" and len(solver.STEPS) > 0
    if is_stepped and min(solver.STEPS) >= solver.MAX_ITER:
        return (
            f"The learning rate never falls: SOLVER.STEPS {tuple(solver.STEPS)} are beyond "
            f'SOLVER.MAX_ITER {solver.MAX_ITER}. Set SOLVER.STEP_SHARES "(0.67, 0.89)", shares of '
            "the run."
        )
    return ""


def _views(cfg, sizes):
    """Compare the side of a view with that of the crop of mean area that it shows."""
    worst = ("", 0.0, 0)
    for view in view_settings(cfg.INPUT.VIEWS):
        share = 1.0 if view.crop == "whole" else sum(view.crop_scale) / 2
        side = median(math.sqrt(share * width * height) for width, height in sizes)
        if view.size / side > worst[1]:
            worst = (view.size, view.size / side, side)
    size, factor, side = worst
    if factor <= cfg.GUARDS.MAX_ENLARGEMENT:
        return ""
    return (
        f"Views of {size} pixels show crops of about {side:.0f} pixels, enlarged {factor:.1f} "
        f"times (GUARDS.MAX_ENLARGEMENT is {cfg.GUARDS.MAX_ENLARGEMENT:g}): time, but no detail. "
        f'Set INPUT.VIEWS.SIZE "({max(round(side / 32), 1) * 32},)", or larger crops with '
        "INPUT.VIEWS.CROP_SCALE."
    )


def image_sizes(dicts):
    """Return (width, height) of up to 32 images, evenly spaced, from the heads of their files."""
    sizes = []
    for item in dicts[:: -(-len(dicts) // _SAMPLE)]:
        try:
            with PathManager.open(item["file_name"], "rb") as file, Image.open(file) as image:
                sizes.append(image.size)
        except (OSError, ValueError, SyntaxError):  # the loader reports broken files
            continue
    return sizes


def describe(memory, available):
    """Return the estimate as text, beside what the device has."""
    text = (
        f"about {memory.total / _GB:.1f} GB in each process: {memory.fixed / _GB:.1f} GB of "
        f"weights, gradients and optimizer, and {memory.images} images of "
        f"{memory.per_image / 1e6:.0f} MB"
    )
    if available:
        text += f"; the device has {available[1] / _GB:.1f} GB, {available[0] / _GB:.1f} GB free"
    return text


def memory_warning(cfg, memory, available):
    """Return a warning if a step will not fit, with a SOLVER.ACCUMULATE that does; else ""."""
    if not available:
        return ""
    sharing = comm.get_local_size() if cfg.MODEL.DEVICE == "cpu" else 1
    room = cfg.GUARDS.MEMORY * available[0] / sharing
    if memory.total <= room:
        return ""
    text = (
        f"A step needs about {memory.total / _GB:.1f} GB in each process, but "
        f"{available[0] / sharing / _GB:.1f} GB are free"
    )
    whole = memory.images * cfg.SOLVER.ACCUMULATE
    parts = [x for x in range(1, whole // 2 + 1) if whole % x == 0]
    fitting = [x for x in parts if memory.fixed + memory.per_image * whole / x <= room]
    if fitting:
        return (
            f"{text}. Set SOLVER.ACCUMULATE {fitting[0]} (the same batch in parts of "
            f"{whole // fitting[0]} images, which batch norm sees one by one), or lower "
            "SOLVER.IMS_PER_BATCH."
        )
    return f"{text}: use a smaller network (MODEL.RESNETS.DEPTH) or smaller INPUT.VIEWS.SIZE."
