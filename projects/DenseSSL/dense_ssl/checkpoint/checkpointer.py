"""The checkpointer of both stages."""

import logging
import os
from urllib.parse import parse_qs

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts

from ..utils.atomic_file import atomic_file
from ..utils.checks import non_finite, refuse_non_finite
from .background import Writer
from .fit import report_fit
from .formats import read_checkpoint
from .handover import (
    AUTHOR,
    backbone_names,
    check_settings,
    new_parts,
    strip_backbone,
    summarise,
    write_backbone,
)
from .loading import to_detectron2
from .pyramid import equalise_levels
from .recovery import last_intact, remove_old
from .stock import write_stock_yaml
from .weights_path import require_weights

logger = logging.getLogger(__name__)

_ADVICE = (
    "Free some space (SOLVER.KEEP_CHECKPOINTS keeps fewer checkpoints) or make the folder "
    "writable; then --resume goes on from the last checkpoint."
)

# A buffer of batch norms; other projects' files lack it, and nothing depends on it.
_COUNTER = "num_batches_tracked"


class Checkpointer(DetectionCheckpointer):
    """detectron2's checkpointer, with complete files and an error for weights that do not fit.

    * A checkpoint is written completely or not at all, with the settings its weights depend on.
    * Each checkpoint of pre-training also writes the online backbone as ``backbone.pkl``, with
      ``backbone.yaml`` for stock detectron2; each one of a detector keeps the names of its classes.
    * Loading prints ``loaded N of M backbone tensors``; N = 0, another shape, or other settings
      are errors.
    * A checkpoint of pre-training can be loaded into a detector, and a backbone into pre-training.
    * Reading a file runs no code from it, and other projects' checkpoints are recognised.

    Attributes:
        loaded: (backbone tensors filled by the last loading, backbone tensors of the model).
        last: name of the last checkpoint that was written here and that ``--resume`` would take.
        writer: :class:`~.background.Writer` of all files; a trainer lets it work in the background.
        before_loading: called with a checkpoint and its path before anything of it is loaded; may
            raise. None: nothing is called.
    """

    def __init__(self, model, save_dir="", *, settings, check=True, trust=False, needed="",
                 labels=None, stock="", keep=(0, 0), max_gain_ratio=0,
                 **checkpointables):  # fmt: skip
        """
        Args:
            model, save_dir, checkpointables: see DetectionCheckpointer.
            settings: result of :func:`~dense_ssl.checkpoint.backbone_settings`.
            check: MODEL.CHECK_WEIGHTS.
            trust: MODEL.TRUST_WEIGHTS.
            needed: what loading must fill completely, else it is an error: "backbone", "model",
                or "" for nothing.
            labels: names of classes and keypoints to keep in the checkpoints, see
                :func:`~dense_ssl.data.finetune.labels.training_labels`.
            stock: text to write beside backbone.pkl, see :func:`~.stock.stock_yaml`.
            keep: SOLVER.KEEP_CHECKPOINTS and SOLVER.KEEP_EVERY.
            max_gain_ratio: of the levels of a pre-trained pyramid, see
                :func:`~.pyramid.equalise_levels`.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.settings = settings
        self.check = check
        self.trust = trust
        self.needed = needed
        self.labels = labels or {}
        self.stock = stock
        self.keep = keep
        self.max_gain_ratio = max_gain_ratio
        self.writer = Writer()
        self._path = None
        self.loaded = (0, 0)
        self.last = ""
        self.before_loading = None
        self._intact = None
        self._filled_otherwise = ()

    def save(self, name, *, is_last=True, **extra):
        """Write ``name``.pth (and ``backbone.pkl``) to the output folder.

        Args:
            name: without ".pth".
            is_last: ``--resume`` goes on from this checkpoint.
            extra: further entries of the file.

        Raises:
            FloatingPointError: weights are not finite; nothing is written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        facts = {"settings": self.settings, **({"labels": self.labels} if self.labels else {})}
        data = {"model": self.model.state_dict(), "dense_ssl": facts}
        # first the trainer, which knows the step whose loss was not finite
        data.update({key: x.state_dict() for key, x in self.checkpointables.items()})
        _refuse_non_finite(data["model"], name)
        data.update(extra)
        logger.info("Saving checkpoint to %s", self._file(f"{name}.pth"))
        self.writer.start(lambda x: self._write(name, x, is_last, extra), data)
        if name == "model_final":
            self.writer.wait()  # no step follows

    def save_backbone(self, name, **extra):
        """Write the online backbone of a pre-training as ``name``.pkl to the output folder.

        Args:
            name: without ".pkl".
            extra: plain values to keep in the file.
        """
        if self.save_dir and self.save_to_disk:
            weights = strip_backbone(self.model.state_dict())
            self.writer.start(lambda x: self._write_backbone(name, x, extra), weights)

    def _write(self, name, data, is_last, extra):
        path = self._file(f"{name}.pth")
        with atomic_file(path, _ADVICE) as file:
            torch.save(data, file)
        if self._is_pretraining():
            self._write_backbone("backbone", strip_backbone(data["model"]), extra)
        if is_last:
            self.tag_last_checkpoint(os.path.basename(path))
            self.last, self._intact = name, None
            remove_old(self.save_dir, *self.keep)

    def _write_backbone(self, name, weights, extra):
        path = self._file(f"{name}.pkl")
        write_backbone(weights, path, self.settings, **extra)
        if self.stock:
            write_stock_yaml(self.stock.replace("backbone.pkl", f"{name}.pkl"), path)

    def _file(self, name):
        return os.path.join(self.save_dir, name)

    def has_checkpoint(self):
        """Return True if ``--resume`` has a checkpoint to go on from."""
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self):
        """Return the path of the newest intact checkpoint, "" without any."""
        self.writer.wait()
        if self._intact is None:  # its checksums are read once
            self._intact = last_intact(self.save_dir) if self.save_dir else ""
        return self._intact

    def tag_last_checkpoint(self, last_filename_basename):
        with atomic_file(os.path.join(self.save_dir, "last_checkpoint"), _ADVICE) as file:
            file.write(last_filename_basename.encode())

    def load(self, path, *args, **kwargs):
        """Load a checkpoint, see DetectionCheckpointer; "" for none.

        Raises:
            FileNotFoundError: there is no such file.
        """
        self._path = path
        if path:
            require_weights(path)
        self._filled_otherwise = (_COUNTER,)
        if os.path.isfile(path):
            path = os.path.abspath(path)  # detectron2 takes "SCRL:1/x.pth" for an address
        try:
            return super().load(path, *args, **kwargs)
        finally:
            # detectron2 keeps it after an error and then refuses every other file
            self._parsed_url_during_load = None

    def _load_file(self, filename):
        data = read_checkpoint(filename, self.trust, "MODEL.TRUST_WEIGHTS True")
        # detectron2 v0.6 knows no options after a path
        url = getattr(self, "_parsed_url_during_load", None)
        query = parse_qs(url.query) if url else {}
        return to_detectron2(data, filename, query, self.model, self.check)

    def _load_model(self, checkpoint):
        if self.before_loading is not None:
            self.before_loading(checkpoint, self._path)
        saved = checkpoint.get("dense_ssl", {}).get("settings", {})
        if self.check:
            check_settings(saved, self.settings, self._path)
        weights = checkpoint["model"]
        if not weights:
            raise ValueError(
                f"{self._path} has no weights, its 'model' is empty: use another file."
            )
        is_pretraining_run = any(x.startswith("target_backbone.") for x in weights)
        if is_pretraining_run and not self._is_pretraining():
            weights = checkpoint["model"] = strip_backbone(weights)
            checkpoint["matching_heuristics"] = True
        names = list(weights)
        if self._is_pretraining() and not is_pretraining_run:
            incompatible = self._load_into_both_encoders(checkpoint)
        else:
            incompatible = super()._load_model(checkpoint)
        is_backbone = is_pretraining_run or checkpoint.get("__author__") == AUTHOR
        if is_backbone and not self._is_pretraining():
            equalise_levels(self.model.state_dict(), self.max_gain_ratio)
        refuse_non_finite(self.model.state_dict(), self._path)
        self.loaded = report_fit(
            self.model.state_dict(), names, incompatible.missing_keys, self._path,
            settings=self.settings, check=self.check, needed=self.needed, ignored=(_COUNTER,),
        )  # fmt: skip
        return incompatible

    def _load_into_both_encoders(self, checkpoint):
        """Start pre-training from a backbone: online and target encoder get the same weights."""
        weights = dict(checkpoint["model"])
        self._convert_ndarray_to_tensor(weights)
        online = {k: x for k, x in self.model.state_dict().items() if k.startswith("backbone.")}
        # matched by name against the online encoder alone: every name fits the target encoder too
        matched = align_and_update_state_dicts(
            online, weights, c2_conversion=checkpoint.get("__author__") == "Caffe2"
        )
        incompatible = super()._load_model({"model": matched})
        self.model.target_backbone.load_state_dict(self.model.backbone.state_dict())
        self._filled_otherwise += ("target_backbone.",)
        return incompatible

    def _log_incompatible_keys(self, incompatible):
        """One line on the parts that are new in this model, fvcore's warnings on all else.

        :func:`~.fit.report_fit` names what the backbone lacks, so fvcore does not name it again.
        """
        absent = [
            x for x in incompatible.missing_keys if not any(y in x for y in self._filled_otherwise)
        ]
        by_design = new_parts(self.model.state_dict(), set(absent))
        if by_design:
            logger.info("%d tensors start randomly, as the file holds a backbone only: %s",
                        len(by_design), ", ".join(dict.fromkeys(by_design.values())))  # fmt: skip
        reported = {*by_design, *backbone_names(self.model.state_dict())}
        rest = [x for x in absent if x not in reported]
        super()._log_incompatible_keys(incompatible._replace(missing_keys=rest))

    def _is_pretraining(self):
        return hasattr(self.model, "target_backbone")


def _refuse_non_finite(state, name):
    broken = non_finite(state)
    if broken:
        raise FloatingPointError(
            f"{name} is not written: {summarise(broken)} are not finite, the last step diverged. "
            "The previous checkpoint is intact. Lower SOLVER.BASE_LR or clip gradients "
            "(SOLVER.CLIP_GRADIENTS.ENABLED True), then continue with --resume."
        )
