"""Writing a module as TorchScript or ONNX, and running the file."""

import contextlib
import inspect
import io
import warnings
from unittest import mock

import torch
from torch import nn

from .errors import ExportError
from .masks import paste_masks

# The first with RoIAlign as detectron2 has it ("aligned") is 16; 17 is read by onnxruntime 1.12 on.
OPSET = 17
_NO_PACKAGES = (
    "ONNX needs the packages onnx and onnxruntime: pip install 'dense-ssl[export]', or "
    "--format torchscript."
)


def write_torchscript(module, example, path, fixed):
    """Trace ``module``.

    Args:
        module: of :mod:`.modules`. example: its input. path: file to write.
        fixed: the file refuses inputs of another size than ``example``.
    """
    if fixed:
        module = _OneSize(module, example)
    with _quiet():
        traced = torch.jit.trace(module, (example,), strict=False, check_trace=False)
    with open(path, "wb") as file:  # of a full disk, torch's own writer ends the process
        file.write(traced.save_to_buffer())


def read_torchscript(path):
    """Return a function from an input to {output: tensor}."""
    with _quiet():  # torch advises torch.export instead, which detectors cannot be exported by
        model = torch.jit.load(str(path))
    return lambda x: dict(model(x))


def write_onnx(module, example, path, fixed):
    """Export by tracing; arguments as of :func:`write_torchscript`.

    torch's newer exporter (torch.export) is not used: it refuses detectors, whose number of
    detections depends on the data.
    """
    _import_onnxruntime()
    if getattr(getattr(module, "model", None), "roi_heads", None) is not None:
        if getattr(module.model.roi_heads, "keypoint_on", False):
            raise ExportError(
                "Keypoint R-CNN cannot be exported to ONNX: detectron2 reads each object's "
                "keypoints in a loop that torch.onnx does not translate. Use --format torchscript."
            )
    outputs = module(example)
    options = {
        "input_names": [module.input_name],
        "output_names": list(outputs),
        "opset_version": OPSET,
    }
    if not fixed:
        shapes = {x["name"]: x["shape"] for x in module.describe(outputs)}
        shapes[module.input_name] = module.input_shape
        options["dynamic_axes"] = {name: _axes(name, x) for name, x in shapes.items()}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    try:
        with _quiet(), _onnx_masks():
            torch.onnx.export(module, (example,), str(path), **options)
    except Exception as error:  # the exporter has many errors of its own
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"torch.onnx of torch {torch.__version__} cannot export this model ({first}). "
            "--format torchscript may work; docs/deployment.md lists what does."
        ) from error


def _axes(name, shape):
    """Return {axis: its name} of the axes without a fixed size.

    Axes of one name have one size. Left unnamed, axes get names from torch.onnx, which gives the
    maps of an FPN the same ones. The rows of a map p3, "height / 8", are called p3_height.
    """
    axes = {i: x for i, x in enumerate(shape) if isinstance(x, str)}
    return {i: x if x.isidentifier() else f"{name}_{x.split()[0]}" for i, x in axes.items()}


def read_onnx(path):
    """Return a function from an input to {output: tensor}."""
    onnxruntime = _import_onnxruntime()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (input_name,) = (x.name for x in session.get_inputs())
    names = [x.name for x in session.get_outputs()]

    def run(x):
        return dict(zip(names, map(torch.from_numpy, session.run(None, {input_name: x.numpy()}))))

    return run


# {format: (end of the file's name, writer, reader)}
FORMATS = {
    "torchscript": (".pt", write_torchscript, read_torchscript),
    "onnx": (".onnx", write_onnx, read_onnx),
}


class _OneSize(nn.Module):
    def __init__(self, module, example):
        super().__init__()
        self.module = module
        self.height, self.width = example.shape[-2:]

    def forward(self, x):
        return self.module(_require_size(x, self.height, self.width))


@torch.jit.script_if_tracing
def _require_size(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if x.shape[-2] != height or x.shape[-1] != width:
        raise ValueError("the height and width of the input are not those of the export")
    return x


def _import_onnxruntime():
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"{error}. {_NO_PACKAGES}") from error
    return onnxruntime


@contextlib.contextmanager
def _quiet():
    """Drop the warnings of TorchScript, and the graphs that torch.onnx prints when it fails."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _onnx_masks():
    """detectron2 pastes masks in a loop whose types onnxruntime refuses."""
    where = "detectron2.layers.mask_ops."
    with mock.patch(f"{where}_paste_masks_tensor_shape", paste_masks):
        with mock.patch(f"{where}paste_masks_in_image", paste_masks):
            yield
