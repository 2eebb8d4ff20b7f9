"""Models with plain tensors as input and output, as tracing needs them.

Pixels go in as uint8, in the colour order of INPUT.FORMAT; normalisation and padding are inside.
Shape vocabulary: N images, H x W pixels, K detections, C classes.
"""

from detectron2.export.torchscript_patch import patch_builtin_len
from detectron2.modeling import GeneralizedRCNN, RetinaNet, SemanticSegmentor
from torch import nn
from torch.nn import functional as F

from .errors import ExportError

# Fields of detectron2's Instances, the names of the outputs, their shapes and meanings.
_DETECTIONS = {
    "pred_boxes": ("boxes", ["K", 4], "x0, y0, x1, y1 in pixels of the input"),
    "scores": ("scores", ["K"], "from 0 to 1, the highest first"),
    "pred_classes": ("classes", ["K"], "class numbers, from 0"),
    "pred_masks": ("masks", ["K", "height", "width"], "True on the object"),
    "pred_keypoints": ("keypoints", ["K", "P", 3], "x, y in pixels of the input, and a score"),
}


class BackboneMaps(nn.Module):
    """uint8 ``images`` (N, 3, H, W) -> {map: (N, channels, h, w)}."""

    kind, input_name, input_shape = "backbone", "images", ["N", 3, "height", "width"]

    def __init__(self, backbone, pixel_mean, pixel_std):
        """
        Args:
            backbone: of detectron2.
            pixel_mean, pixel_std: float (3, 1, 1).
        """
        super().__init__()
        self.backbone = backbone
        self.size_divisibility = max(backbone.size_divisibility, 1)
        self.register_buffer("pixel_mean", pixel_mean, False)
        self.register_buffer("pixel_std", pixel_std, False)

    def forward(self, images):
        x = (images - self.pixel_mean) / self.pixel_std
        height, width = x.shape[-2:]
        step = self.size_divisibility
        if step > 1:  # with zeros, below and on the right, as detectron2 pads
            x = F.pad(x, (0, -width % step, 0, -height % step))
        return dict(self.backbone(x))

    def describe(self, outputs):
        """Return the metadata of the outputs of one call."""
        strides = {name: x.stride for name, x in self.backbone.output_shape().items()}
        return [
            {
                "name": name,
                "shape": ["N", x.shape[1], f"height / {strides[name]}", f"width / {strides[name]}"],
                "meaning": f"feature map of stride {strides[name]}; height and width of the padded "
                "input",
            }
            for name, x in outputs.items()
        ]


class Detections(nn.Module):
    """uint8 ``image`` (3, H, W) -> {"boxes": (K, 4), "scores": (K,), "classes": (K,), ...}."""

    kind, input_name, input_shape = "detector", "image", [3, "height", "width"]

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.size_divisibility = max(model.backbone.size_divisibility, 1)

    def forward(self, image):
        with patch_builtin_len():
            (output,) = self.model([{"image": image}])
        fields = output["instances"].get_fields()
        tensors = {_DETECTIONS[key][0]: x for key, x in fields.items() if key in _DETECTIONS}
        tensors["boxes"] = tensors["boxes"].tensor
        return tensors

    def describe(self, outputs):
        """Return the metadata of the outputs of one call."""
        known = {name: (shape, meaning) for name, shape, meaning in _DETECTIONS.values()}
        return [{"name": x, "shape": known[x][0], "meaning": known[x][1]} for x in outputs]


class Segmentation(nn.Module):
    """uint8 ``image`` (3, H, W) -> {"logits": (C, H, W)}."""

    kind, input_name, input_shape = "segmentor", "image", [3, "height", "width"]

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.size_divisibility = max(model.backbone.size_divisibility, 1)

    def forward(self, image):
        (output,) = self.model([{"image": image}])
        return {"logits": output["sem_seg"]}

    def describe(self, outputs):
        """Return the metadata of the outputs of one call."""
        meaning = "one number per class and pixel; the class is that of the largest"
        shape = [outputs["logits"].shape[0], "height", "width"]
        return [{"name": "logits", "shape": shape, "meaning": meaning}]


def traceable(model):
    """Return the module to export for a model of detectron2.

    Raises:
        ExportError: a model of another kind.
    """
    if isinstance(model, (GeneralizedRCNN, RetinaNet)):
        return Detections(model)
    if isinstance(model, SemanticSegmentor) and type(model).__name__ != "PanopticFPN":
        return Segmentation(model)
    raise ExportError(
        f"MODEL.META_ARCHITECTURE is {type(model).__name__!r}, which cannot be exported. Backbones "
        "of pre-training, GeneralizedRCNN, RetinaNet, SemanticSegmentor and WindowSegmentor can."
    )
