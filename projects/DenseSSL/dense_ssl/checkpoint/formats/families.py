"""Where projects keep their ResNet in a checkpoint, and the pixels it was trained on.

:data:`FAMILIES` is one ordered table: the first row that fits a file is taken, so special rows come
before general ones. Most projects normalise images as torchvision does; the few others are listed
with their own settings. The facts are those of the projects' own code for saving.
"""

from dataclasses import dataclass, field
from typing import Optional

from .settings import IMAGENET, MSRA, PYTORCH, SWAV, UNIT_RANGE

ONLINE, MOMENTUM = "online", "momentum"


@dataclass(frozen=True)
class Family:
    """Projects whose checkpoints look alike.

    A place is the prefix of the encoder's names, such as "encoder_q.", in the file itself or under
    ``state_dict`` or ``model``; "student/backbone." is the prefix "backbone." under ``student``.

    Attributes:
        title: what reports say.
        online: places of the trained encoder.
        momentum: places of its moving average.
        marks: starts of tensor names or of the file's keys; one of them must be in the file.
        settings: what the network was trained with; see :mod:`.settings`.
        transfers: which encoder the projects themselves use for other tasks.
        naming: key of :data:`~.naming.SIGNS`; None for torchvision's names and indices.
        note: a remark for the report.
    """

    title: str
    online: tuple = ()
    momentum: tuple = ()
    marks: tuple = ()
    settings: dict = field(default_factory=lambda: IMAGENET)
    transfers: str = ONLINE
    naming: Optional[str] = None
    note: Optional[str] = None


_TF_PADDING = (
    "trained with TensorFlow's or JAX's padding, which is asymmetric where the stride is 2: "
    "features in PyTorch are close to the original ones, not equal"
)
_TEACHER = {"transfers": MOMENTUM, "note": "the teacher is what DINO evaluates"}
_BYOL = (("online_network_state_dict/encoder.",), ("target_network_state_dict/encoder.",))

SOCO = Family("SoCo", ("encoder.",), ("encoder_k.", "model_ema/encoder."),
              ("neck.lateral_convs.",))  # fmt: skip
FAMILIES = (
    Family("a pre-training checkpoint of DenseSSL", ("backbone.",), ("target_backbone.",),
           ("target_backbone.",), settings={}, naming="detectron2"),
    Family("a detector or backbone in detectron2's names", ("backbone.", ""), settings={},
           naming="detectron2"),
    Family("SimCLR v2, converted to PyTorch", ("", "resnet/"), settings=UNIT_RANGE,
           naming="simclr_v2", note=_TF_PADDING),
    Family("MoCo v3", ("base_encoder.",), ("momentum_encoder.",)),
    Family("MoCo or DenseCL of OpenSelfSup or mmselfsup", ("encoder_q.0.",), ("encoder_k.0.",)),
    Family("MoCo v1 or v2, or a method in its layout (DetCo)", ("encoder_q.",), ("encoder_k.",)),
    Family("BYOL of OpenSelfSup or mmselfsup", ("online_net.0.",), ("target_net.0.",)),
    SOCO,
    Family("PixPro or SoCo", SOCO.online, SOCO.momentum, ("encoder_k.", "value_transform.")),
    Family("BYOL (PyTorch-BYOL)", *_BYOL, ("encoder_state_dict",), UNIT_RANGE),
    Family("SCRL", *_BYOL),
    Family("BYOL (BYOL-PyTorch)",
           ("online_network.encoder.", "online_backbone/encoder.", "online_backbone/"),
           ("target_network.encoder.",), naming="index"),
    Family("BYOL (byol-pytorch)", ("online_encoder.net.",), ("target_encoder.net.",)),
    Family("DINO", ("student/backbone.", "student/"), ("teacher/backbone.", "teacher/"),
           **_TEACHER),
    Family("DINO of lightly", ("student_backbone.",), ("teacher_backbone.", "backbone."),
           ("student_backbone.",), **_TEACHER),
    Family("MoCo of lightly", ("query_backbone.",), ("backbone.",)),
    Family("SwAV or DeepCluster v2", ("",), marks=("prototypes",), settings=SWAV),
    Family("SimCLR (sthalles)", ("backbone.",), marks=("backbone.fc.2.",), settings=UNIT_RANGE),
    Family("SimCLR (leftthomas)", ("f.",), marks=("g.0.",), settings=PYTORCH),
    Family("SimSiam or solo-learn", ("encoder.",), ("momentum_encoder.",),
           ("encoder.fc.6.", "classifier.")),
    Family("SimCLR (Spijkervet) or a method of lightning-bolts", ("encoder.",),
           ("target_network.encoder.",), ("projector.0.", "projection."), PYTORCH),
    Family("a method of lightly, solo-learn or OpenMMLab, Barlow Twins or VICReg", ("backbone.",),
           ("backbone_momentum.", "teacher_backbone.", "momentum_backbone.",
            "target_net.module.0.", "encoder_k.module.0."),
           ("backbone.0.", "projection_head", "classifier.", "projector.", "meta")),
    Family("VISSL", ("classy_state_dict/base_model/model/trunk/_feature_blocks.",)),
    Family("a training run with torchvision's names", ("state_dict/", "model/"),
           ("state_dict_ema/", "model_ema/"), ("optimizer", "author")),
    Family("a plain ResNet under `state_dict` or `model`", ("state_dict/", "model/"),
           settings=PYTORCH),
    Family("a ResNet in torchvision's or timm's names", ("",)),
)  # fmt: skip

CAFFE2 = Family("Caffe2's names (Detectron's model zoo)", ("",), settings=MSRA, naming="detectron2")
UNKNOWN = Family("a ResNet of an unknown project", settings={})
