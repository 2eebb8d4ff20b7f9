"""Exporting one model: write, compare with the model, describe."""

import json
import os
from pathlib import Path

import torch

from ..utils.atomic_file import atomic_file
from . import verify
from .errors import ExportError
from .formats import FORMATS
from .inputs import compared_inputs, read_images

NAME = "model"


def export_model(cfg, module, file_format, output, folder="", size=None, classes=None):
    """Export a model; the file is kept only if it does on images what the model does.

    Args:
        cfg, module: result of :func:`~dense_ssl.export.load_source`.
        file_format: "torchscript" or "onnx".
        output: folder to write to: the file, and its description with ".json" behind its name.
        folder: images to compare on; "": generated scenes.
        size: (height, width), the only size that the file will take; None: any.
        classes: names of the classes, for the description.

    Returns:
        (path of the file, its description).

    Raises:
        ExportError: the model cannot be exported, or the file differs from it.
    """
    suffix, write, read = FORMATS[file_format]
    images = read_images(cfg, module.kind, folder, size)
    inputs = compared_inputs(images, module.input_name == "images", bool(size))
    path = Path(output) / f"{NAME}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{NAME}.unverified{suffix}")
    try:
        with torch.no_grad():
            write(module, inputs[0], draft, bool(size))
            outputs, worst = _compare(module, read(draft), inputs, bool(size))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    facts = _describe(cfg, module, outputs, size)
    facts.update(format=file_format, classes=classes,
                 verified={"inputs": len(inputs), "largest_difference": worst})  # fmt: skip
    with atomic_file(f"{path}.json") as file:
        file.write(json.dumps(facts, indent=2).encode())
    return path, facts


def _compare(module, run, inputs, fixed):
    """Return (outputs of the model for the first input, {output: largest difference})."""
    first, worst, detections = None, {}, 0
    for x in inputs:
        expected = module(x)
        first = expected if first is None else first
        shape = " x ".join(map(str, x.shape[-2:]))
        size = "" if fixed or x.shape[-2:] == inputs[0].shape[-2:] else (
            f" at {shape} pixels, another size than that of the trace. Fix the size by "
            "--image-size HEIGHT WIDTH"
        )  # fmt: skip
        try:
            found = verify.differences(expected, run(x))
        except Exception as error:  # torch and onnxruntime have their own
            line = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise ExportError(
                f"The exported file does not run{size} ({line}), so it was deleted."
            ) from error
        verify.check(found, size)
        worst = {name: max(worst.get(name, 0.0), value) for name, value in found.items()}
        detections += len(expected.get("boxes", ()))
    if module.kind == "detector" and not detections:
        raise ExportError(
            "The model detects nothing on these images, so the exported file could not be compared "
            "with it and was deleted. Give images with objects by --images, or lower the "
            "threshold, at the end of the command: MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.0 "
            "(RetinaNet: MODEL.RETINANET.SCORE_THRESH_TEST)."
        )
    return first, worst


def _describe(cfg, module, outputs, size):
    """Return what a program must know to use the file."""
    shape = list(module.input_shape)
    if size:
        shape[-2:] = size
    facts = {
        "kind": module.kind,
        "model": cfg.MODEL.META_ARCHITECTURE,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "input": {
            "name": module.input_name,
            "dtype": "uint8",
            "shape": shape,
            "colours": cfg.INPUT.FORMAT,
        },
        "normalisation": {
            "inside": True,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
        },
        "padding": {"inside": True, "size_divisibility": module.size_divisibility},
        "outputs": module.describe(outputs),
        "torch": torch.__version__.partition("+")[0],
    }
    if module.kind != "backbone":
        facts["resize"] = {
            "shortest_side": cfg.INPUT.MIN_SIZE_TEST,
            "longest_side_at_most": cfg.INPUT.MAX_SIZE_TEST,
        }
    return facts
