"""What the program prints, and the pictures it saves."""

import logging
import os
import time
from datetime import timedelta

import numpy as np
import torch
from detectron2.utils.events import EventWriter, get_event_storage

from ..utils.events import watched_names
from ..utils.picture_files import write_picture

logger = logging.getLogger(__name__)

# Columns of a line on the console.
WIDTH = 120

# The statistics that are printed, by the end of their names, and what they are called there.
_SHARES = {
    "/top1": "top1",
    "/arrived": "arrived",
    "/fg_cls_accuracy": "fg_acc",
    "/accuracy": "acc",
}


class ReportPrinter(EventWriter):
    """One line per report: on the console what fits in it, in log.txt every metric."""

    def __init__(self, max_iter, batch_size, num_images=None):
        """
        Args:
            max_iter: iterations of the run.
            batch_size: images per iteration, over all processes.
            num_images: images of an epoch; None if it is not known.
        """
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.num_images = num_images
        self._last_full = -1
        self._last_time = None

    def write(self):
        self._log(is_full=True)

    def write_early(self):
        """Print the line of the console between two reports."""
        self._log(is_full=False)

    def _log(self, is_full):
        storage = get_event_storage()
        # the report after the end repeats the last one; a run may end before its first step
        if storage.iter == self.max_iter or "data_time" not in storage.histories():
            return
        step = _Step(storage, self)
        brief = brief_line(step)
        if is_full and step.eta_seconds is not None:
            storage.put_scalar("eta_seconds", step.eta_seconds, smoothing_hint=False)
        text = self._full_line(storage, step) if is_full else brief
        logger.info(text, extra={"console": brief})

    def _full_line(self, storage, step):
        """All metrics since the last report, as in metrics.json."""
        values = {
            name: value
            for name, (value, iteration) in storage.latest_with_smoothing_hint(20).items()
            if iteration > self._last_full
        }
        now, steps = time.perf_counter(), storage.iter - self._last_full
        speed = ""
        if self._last_time is not None and steps:  # with everything between two reports
            speed = f"  {self.batch_size * steps / (now - self._last_time):.1f} img/s"
        self._last_full, self._last_time = storage.iter, now
        losses = [x for x in values if "loss" in x and "/" not in x]
        others = sorted(values.keys() - set(losses) - {"eta_seconds"})
        return (
            f"{step.eta + '  ' if step.eta else ''}iter: {step.done}/{self.max_iter}  "
            f"{step.epoch + '  ' if step.epoch else ''}"
            + "  ".join(f"{x}: {values[x]:.4g}" for x in (*losses, *others))
            + speed
        )


class _Step:
    """What a line says of the step that has just ended.

    Attributes:
        done: steps that are done. of: steps of the run.
        losses: {name: value}, medians of 20 steps, without the total; total: their sum.
        seconds, eta_seconds: mean time per step, time that is left; None before they are known.
    """

    def __init__(self, storage, printer):
        histories = storage.histories()
        self.done, self.of = storage.iter + 1, printer.max_iter
        losses = {x: v.median(20) for x, v in histories.items() if "loss" in x and "/" not in x}
        self.total = losses.pop("total_loss", sum(losses.values()))
        self.losses = {name.removeprefix("loss_"): value for name, value in losses.items()}
        self.latest = {name: values.latest() for name, values in histories.items()}
        self.watched = watched_names(storage)
        # of the steps alone: neither an evaluation nor a checkpoint makes it look slower
        self.seconds = histories["time"].avg(20) if "time" in histories else None
        self.data_seconds = histories["data_time"].avg(20)
        left = self.of - self.done
        self.eta_seconds = None if self.seconds is None else self.seconds * left
        self.eta = f"eta {timedelta(seconds=int(self.eta_seconds))}" if self.seconds else ""
        images = printer.num_images
        self.epoch = f"epoch {self.done * printer.batch_size / images:.2f}" if images else ""


def brief_line(step, width=WIDTH):
    """Return the line of the console: the losses first, then as much as fits.

    Args:
        step: :class:`_Step`.
        width: columns.
    """
    head = f"iter {step.done}/{step.of}  loss {step.total:.4g}"
    tail = "".join(f"  {x}" for x in (_lr(step), _time(step), step.eta) if x)
    losses = _fitting(step.losses, width - len(head) - len(tail)) if len(step.losses) > 1 else ""
    room, kept = width - len(head + losses + tail), []
    for text in (*_health(step)[:3], step.epoch, *_health(step)[3:], _memory()):
        if text and len(text) + 2 <= room:
            kept.append(text)
            room -= len(text) + 2
    middle = "".join(f"  {x}" for x in kept if x != step.epoch)
    end = f"  {step.epoch}" if step.epoch in kept else ""
    return head + losses + middle + tail + end


def _fitting(losses, room):
    """' (cls 0.92 box_reg 0.0079)', the largest ones if there are too many."""
    items = sorted(losses.items(), key=lambda x: -abs(x[1]))
    for count in range(len(items), 0, -1):
        kept = dict(items[:count])
        texts = [f"{name} {value:.2g}" for name, value in losses.items() if name in kept]
        more = [f"+{len(items) - count} more"] if count < len(items) else []
        text = f" ({' '.join(texts + more)})"
        if len(text) <= room:
            return text
    return ""


def _health(step):
    """'std 0.81', 'angle 2.5', 'probe 43.1', 'top1 0.31': is something learned?"""
    result = []
    spreads = [step.latest[x] for x in step.watched if x in step.latest]
    if spreads:
        result.append(f"std {min(spreads):.2f}")  # of the objective that is nearest to collapse
    if "backbone/angle" in step.latest:
        result.append(f"angle {step.latest['backbone/angle']:.1f}")
    if "probe/linear" in step.latest:
        result.append(f"probe {step.latest['probe/linear']:.1f}")
    for end, label in _SHARES.items():
        found = [x for x in sorted(step.latest) if x.endswith(end)]
        if found:
            result.append(f"{label} {step.latest[found[0]]:.2f}")
            break
    return result


def _lr(step):
    return f"lr {step.latest['lr']:.2g}" if "lr" in step.latest else ""


def _time(step):
    if step.seconds is None:
        return ""
    share = step.data_seconds / max(step.seconds, 1e-9)
    waiting = f" (data {min(share, 1):.0%})" if share > 0.1 else ""
    return f"{step.seconds:.3g} s/it{waiting}"


def _memory():
    if not torch.cuda.is_available():
        return ""
    return f"mem {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


class PictureWriter(EventWriter):
    """Saves the pictures of the event storage as PNG files, beside those of TensorBoard.

    Must come before TensorboardXWriter, which empties the storage.
    """

    def __init__(self, folder):
        """
        Args:
            folder: output folder, made when the first picture comes.
        """
        self.folder = folder

    def write(self):
        for name, image, step in get_event_storage()._vis_data:
            pixels = np.asarray(image)
            if pixels.dtype != np.uint8:
                pixels = (pixels.clip(0, 1) * 255).astype(np.uint8)
            pixels = pixels.transpose(1, 2, 0)[:, :, ::-1]  # CHW RGB -> HWC BGR
            path = os.path.join(self.folder, f"{name.replace('/', '_')}_{step + 1:07d}.png")
            write_picture(path, pixels)
