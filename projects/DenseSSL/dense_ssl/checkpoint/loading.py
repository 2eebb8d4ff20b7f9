"""From the content of a weights file to the checkpoint that detectron2's loading expects.

detectron2 reads its own files by their suffix and runs what a pickle says. Here the content is
read by :func:`~.formats.read_checkpoint` first, without running anything; what is left to do is
what detectron2 does with it, and to bring other projects' checkpoints into its form.
"""

import logging
from collections.abc import Mapping

from .formats import CheckpointError, detectron2_checkpoint, extract_backbone, recognise
from .formats.layouts import UNKNOWN_PROJECT
from .formats.report import grouped
from .handover import COLOUR_KEYS

logger = logging.getLogger(__name__)

_NATIVE = ("detectron2", "densessl-pretraining", "caffe2", UNKNOWN_PROJECT)
TOOL = "python tools/convert_weights.py"


def to_detectron2(data, path, query, model_names, check):
    """The checkpoint that ``DetectionCheckpointer._load_model`` takes.

    Args:
        data: content of the file, a dict.
        path: of the file; detectron2 tells the kinds of its own files by the suffix.
        query: {key: [value]} that stood behind the path, as in ``x.pth?matching_heuristics=True``.
        model_names: names of the model's tensors.
        check: MODEL.CHECK_WEIGHTS.

    Returns:
        dict with "model" and maybe "__author__", "matching_heuristics", "dense_ssl", ...

    Raises:
        CheckpointError: another project's checkpoint that does not tell what it was trained with.
        ValueError: a query that is not known.
    """
    is_zoo_format = "model" in data and "__author__" in data
    query = dict(query)
    heuristics = query.pop("matching_heuristics", ["False"]) == ["True"]
    if query:
        raise ValueError(f"Behind {path}: only matching_heuristics is known, not {sorted(query)}.")
    if is_zoo_format and path.endswith(".pkl"):
        logger.info("Reading a file of %s", data["__author__"])
        return data
    if not heuristics and not is_zoo_format:
        converted = _from_other_project(data, path, model_names, check)
        if converted is not None:
            return converted
    checkpoint = _plain(data, path)
    if heuristics:
        checkpoint["matching_heuristics"] = True
    return checkpoint


def _plain(data, path):
    """What detectron2 makes of its own files."""
    if path.endswith(".pkl"):  # Caffe2's, as in its ImageNet weights
        blobs = data.get("blobs", data)
        weights = {k: x for k, x in blobs.items() if not k.endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
    if path.endswith(".pyth"):
        if "model_state" not in data:
            raise CheckpointError(f"{path} has no model_state; files of pycls (.pyth) do.")
        weights = data["model_state"]
        weights = {k: x for k, x in weights.items() if not k.endswith("num_batches_tracked")}
        return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
    if isinstance(data.get("model"), Mapping):
        return dict(data)
    extra = {key: data[key] for key in ("dense_ssl",) if key in data}
    weights = {key: x for key, x in data.items() if key not in extra}
    # a safetensors file of this project is what backbone.pkl is
    return {"model": weights, **extra, "matching_heuristics": bool(extra)}


def _from_other_project(data, path, model_names, check):
    """The backbone of another project's checkpoint, or None where detectron2 reads it as it is."""
    try:
        found = recognise(data)
    except CheckpointError:
        return None
    if found.layout.name in _NATIVE:
        return None
    # a model that has the encoder's own names (a backbone of timm, say) is loaded as it is
    names = set(model_names)
    if any(x in names for x in found.tensors if x.startswith(found.place.prefix)):
        return None
    try:
        backbone = extract_backbone(data)
    except CheckpointError as error:
        if check:
            raise CheckpointError(f"{path}: {error}") from None
        return None
    unknown = [key for key in COLOUR_KEYS if key not in backbone.settings]
    if unknown and check:
        raise CheckpointError(
            f"{path} is {found.layout.title}, which does not tell {', '.join(unknown)}. State "
            f"them to the converter and load its result:\n    {TOOL} {path} backbone.pkl "
            + " ".join(f'{key} "..."' for key in unknown)
        )
    logger.info("%s is %s: its %s encoder is loaded (%d tensors)", path, found.layout.title,
                found.encoder, len(backbone.weights))  # fmt: skip
    if backbone.left_out:
        logger.info("left out of it: %s", grouped(backbone.left_out))
    return detectron2_checkpoint(backbone)
