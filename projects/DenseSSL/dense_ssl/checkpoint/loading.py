"""From the content of a weights file to the checkpoint that detectron2's loading expects.

detectron2 reads its own files by their suffix and runs what a pickle says. Here the content has
been read by :func:`~.formats.read_checkpoint`, without running anything; what is left is what
detectron2 does with it, and to bring other projects' checkpoints into its form.
"""

import logging
from collections.abc import Mapping

from ..modeling.backbones import bottom_up_of
from .formats import (
    CheckpointError,
    detectron2_checkpoint,
    extract_backbone,
    grouped,
    question,
    recognise,
)
from .handover import COLOUR_KEYS

logger = logging.getLogger(__name__)

TOOL = "python tools/convert_weights.py"


def to_detectron2(data, path, query, model, check):
    """Return the checkpoint that ``DetectionCheckpointer._load_model`` takes.

    Args:
        data: content of the file, a dict.
        path: of the file; detectron2 knows the kinds of its own files by the suffix.
        query: {key: [value]} after the path, as in ``x.pth?matching_heuristics=True``.
        model: that is loaded; a file with the names of its own tensors is loaded as it is.
        check: MODEL.CHECK_WEIGHTS.

    Raises:
        CheckpointError: another project's checkpoint that does not say what it was trained with.
        ValueError: an unknown query.
    """
    query = dict(query)
    heuristics = query.pop("matching_heuristics", ["False"]) == ["True"]
    if query:
        raise ValueError(f"After {path}: only matching_heuristics is known, not {sorted(query)}.")
    from_timm = _from_timm(data, model)
    if from_timm:
        return from_timm
    is_zoo_format = "model" in data and "__author__" in data
    if is_zoo_format and path.endswith(".pkl"):
        logger.info("Reading a file of %s", data["__author__"])
        return data
    if not heuristics and not is_zoo_format:
        converted = _from_other_project(data, path, model, check)
        if converted:
            return converted
    checkpoint = _from_detectron2(data, path)
    if heuristics:
        checkpoint["matching_heuristics"] = True
    return checkpoint


def _from_timm(data, model):
    """Return timm's weights for a model whose backbone is of timm; None for any other.

    They get the settings of the images that timm made the weights for.
    """
    backbone = bottom_up_of(getattr(model, "backbone", None))
    if "dense_ssl" in data or not hasattr(backbone, "from_timm"):
        return None
    inner = (data.get(x) for x in ("state_dict", "model"))
    renamed = backbone.from_timm(next((x for x in inner if isinstance(x, Mapping)), data))
    if not renamed:
        return None
    settings = {"settings": backbone.pixels}
    return {"model": renamed, "matching_heuristics": True, "dense_ssl": settings}


def _from_detectron2(data, path):
    """Return what detectron2 makes of its own files."""
    if path.endswith(".pkl"):  # Caffe2's, as in its ImageNet weights
        blobs = data.get("blobs", data)
        weights = {k: x for k, x in blobs.items() if not k.endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
    if path.endswith(".pyth"):
        if "model_state" not in data:
            raise CheckpointError(f"{path} has no model_state, as files of pycls (.pyth) have.")
        weights = data["model_state"]
        weights = {k: x for k, x in weights.items() if not k.endswith("num_batches_tracked")}
        return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
    if isinstance(data.get("model"), Mapping):
        return dict(data)
    extra = {key: data[key] for key in ("dense_ssl",) if key in data}
    weights = {key: x for key, x in data.items() if key not in extra}
    # a safetensors file of this project is what backbone.pkl is
    return {"model": weights, **extra, "matching_heuristics": bool(extra)}


def _from_other_project(data, path, model, check):
    """Return the backbone of another project's checkpoint; None to load the file as it is."""
    try:
        found = recognise(data)
    except CheckpointError:
        return None
    # a model that has the encoder's own names, such as a backbone of timm, needs no other names
    names, network = model.state_dict(), found.network
    if found.is_native or any(x in names for x in network.tensors if x.startswith(network.prefix)):
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
            f"{path} is {found.family.title}. {question(unknown)} Load what this writes:\n"
            f"    {TOOL} {path} backbone.pkl " + " ".join(f'{key} "..."' for key in unknown)
        )
    logger.info("%s is %s: its %s encoder is loaded (%d tensors)", path, found.family.title,
                found.encoder, len(backbone.weights))  # fmt: skip
    if backbone.left_out:
        logger.info("left out of it: %s", grouped(backbone.left_out))
    return detectron2_checkpoint(backbone)
