"""How projects lay out a ResNet in a checkpoint: the table that recognises them.

The facts are those of the projects' own saving code; the comments name the repositories.
"""

from dataclasses import dataclass, field
from typing import Optional

from .sources import IMAGENET, MSRA, PYTORCH, SWAV, UNIT_RANGE, UNKNOWN

ONLINE, MOMENTUM = "online", "momentum"


@dataclass(frozen=True)
class Place:
    """Where in a checkpoint an encoder is: keys of nested dicts, and the prefix of its names."""

    container: tuple
    prefix: str


def _at(prefix, *containers):
    """Places of the same prefix, in each of ``containers``: keys joined by "/"; "" is the file."""
    paths = (tuple(x.split("/")) if x else () for x in containers or ("",))
    return tuple(Place(path, prefix) for path in paths)


@dataclass(frozen=True)
class Layout:
    """One project's checkpoint.

    Attributes:
        name: for the flag ``--layout`` and for reports.
        title: what the report says.
        online, momentum: places of the trained encoder and of its moving average; the first that
            holds a network counts.
        naming: key of :data:`~.naming.NAMINGS`.
        names: prefixes of tensor names that must be there too, beside the encoder.
        keys: top-level keys of the file that must be there.
        settings: what the network was trained with; see :mod:`.sources`.
        transfers: which encoder the project itself hands to other tasks.
        also: further prefixes of parts of the encoder, such as the heads of a C4 detector.
        note: a remark for the report.
        automatic: False for a layout that only ``--layout`` selects.
    """

    name: str
    title: str
    online: tuple = ()
    momentum: tuple = ()
    naming: str = "torchvision"
    names: tuple = ()
    keys: tuple = ()
    settings: dict = field(default_factory=dict)
    transfers: str = ONLINE
    also: tuple = ()
    note: Optional[str] = None
    automatic: bool = True

    def places(self, encoder):
        return self.online if encoder == ONLINE else self.momentum


_TF_PADDING = (
    "trained with TensorFlow's or JAX's padding, which is asymmetric where the stride is 2: "
    "features in PyTorch are close to the original ones, not equal"
)
_ANY = ("state_dict", "model", "")

# In this order: the first that fits is taken, so the particular come before the general.
LAYOUTS = (
    # ---- detectron2 and this project
    Layout("densessl-pretraining", "a pre-training checkpoint of DenseSSL",
           _at("backbone.", "model"), _at("target_backbone.", "model"), "detectron2",
           names=("target_backbone.",), settings=UNKNOWN),
    Layout("detectron2", "a detector or backbone in detectron2's names",
           _at("backbone.", *_ANY) + _at("", *_ANY), naming="detectron2", also=("roi_heads.",),
           settings=UNKNOWN),
    # ---- MoCo and those who follow its layout
    Layout("moco-v3", "MoCo v3", _at("base_encoder.", *_ANY), _at("momentum_encoder.", *_ANY),
           settings=IMAGENET),  # facebookresearch/moco-v3
    Layout("detco", "DetCo", _at("encoder_q.", *_ANY), _at("encoder_k.", *_ANY),
           names=("encoder_q.global_mlps.",), settings=IMAGENET),  # shuuchen/DetCo.pytorch
    Layout("moco", "MoCo v1 or v2, or a method in its layout (DetCo)",
           _at("encoder_q.", *_ANY), _at("encoder_k.", *_ANY),
           settings=IMAGENET),  # facebookresearch/moco
    Layout("densecl", "DenseCL (OpenSelfSup, mmselfsup)", _at("encoder_q.0.", *_ANY),
           _at("encoder_k.0.", *_ANY), names=("queue2",), settings=IMAGENET),  # WXinlong/DenseCL
    Layout("openselfsup-moco", "MoCo of OpenSelfSup or mmselfsup", _at("encoder_q.0.", *_ANY),
           _at("encoder_k.0.", *_ANY), settings=IMAGENET),
    Layout("openselfsup-byol", "BYOL of OpenSelfSup or mmselfsup", _at("online_net.0.", *_ANY),
           _at("target_net.0.", *_ANY), settings=IMAGENET),
    Layout("pixpro", "PixPro", _at("encoder.", "model"), _at("encoder_k.", "model"),
           names=("value_transform.",), settings=IMAGENET),  # zdaxie/PixPro
    Layout("soco", "SoCo", _at("encoder.", "model"),
           _at("encoder_k.", "model") + _at("encoder.", "model_ema"),
           names=("encoder_k.", "predictor."), settings=IMAGENET),  # hologerry/SoCo
    Layout("pixpro", "PixPro", _at("encoder.", "model"), _at("encoder_k.", "model"),
           names=("encoder_k.", "projector_k."), settings=IMAGENET),
    # ---- BYOL and SCRL
    Layout("sthalles-byol", "BYOL (PyTorch-BYOL)", _at("encoder.", "online_network_state_dict"),
           _at("encoder.", "target_network_state_dict"), "index", keys=("encoder_state_dict",),
           settings=UNIT_RANGE),  # sthalles/PyTorch-BYOL
    Layout("scrl", "SCRL", _at("encoder.", "online_network_state_dict"),
           _at("encoder.", "target_network_state_dict"), "index",
           settings=IMAGENET),  # kakaobrain/scrl
    Layout("byol-pytorch-ddp", "BYOL (BYOL-PyTorch)",
           _at("online_network.encoder.", *_ANY) + _at("encoder.", "online_backbone")
           + _at("", "online_backbone"),
           _at("target_network.encoder.", *_ANY), "index", settings=IMAGENET),  # yaox12
    Layout("byol-pytorch", "BYOL (byol-pytorch)",
           _at("online_encoder.net.", *_ANY) + _at("learner.online_encoder.net.", *_ANY),
           _at("target_encoder.net.", *_ANY) + _at("learner.target_encoder.net.", *_ANY),
           settings=IMAGENET),  # lucidrains
    # ---- student and teacher
    Layout("dino", "DINO", _at("backbone.", "student") + _at("", "student"),
           _at("backbone.", "teacher") + _at("", "teacher"), settings=IMAGENET,
           transfers=MOMENTUM, note="the teacher is what DINO evaluates"),  # facebookresearch/dino
    # ---- SwAV, SimCLR, SimSiam, Barlow Twins
    Layout("swav", "SwAV or DeepCluster v2", _at("", *_ANY), names=("prototypes",),
           settings=SWAV),  # facebookresearch/swav
    Layout("simclr-v2", "SimCLR v2, converted to PyTorch", _at("", "resnet") + _at("", *_ANY),
           naming="simclr_v2", settings=UNIT_RANGE, note=_TF_PADDING),  # Separius/SimCLRv2-Pytorch
    Layout("sthalles-simclr", "SimCLR (sthalles)", _at("backbone.", *_ANY),
           names=("backbone.fc.2.",), settings=UNIT_RANGE),  # sthalles/SimCLR
    Layout("simsiam", "SimSiam", _at("encoder.", *_ANY), names=("predictor.", "encoder.fc."),
           settings=IMAGENET),  # facebookresearch/simsiam
    Layout("spijkervet-simclr", "SimCLR (Spijkervet)", _at("encoder.", ""),
           names=("projector.0.", "projector.2."), settings=PYTORCH,
           note="that port feeds values of 0..1, which is MODEL.PIXEL_MEAN [0,0,0] and "
           "MODEL.PIXEL_STD [255,255,255]"),  # Spijkervet/SimCLR
    Layout("leftthomas-simclr", "SimCLR (leftthomas)", _at("f.", *_ANY), naming="index",
           names=("g.0.",), settings=PYTORCH),  # leftthomas/SimCLR
    Layout("bolts", "a method of lightning-bolts", _at("encoder.", *_ANY),
           _at("target_network.encoder.", *_ANY), names=("projection.",), settings=PYTORCH),
    # ---- libraries
    Layout("solo-learn", "a method of solo-learn",
           _at("backbone.", "state_dict") + _at("encoder.", "state_dict"),
           _at("momentum_backbone.", "state_dict") + _at("momentum_encoder.", "state_dict"),
           names=("classifier.",), settings=IMAGENET),  # vturrisi/solo-learn
    Layout("lightly-query", "MoCo of lightly's benchmarks", _at("query_backbone.", *_ANY),
           _at("backbone.", *_ANY), settings=IMAGENET),
    Layout("lightly-dino", "DINO of lightly's benchmarks", _at("student_backbone.", *_ANY),
           _at("backbone.", *_ANY), names=("student_backbone.", "backbone."),
           settings=IMAGENET, transfers=MOMENTUM, note="the teacher is what DINO evaluates"),
    Layout("lightly-dino", "DINO of lightly, named", _at("student_backbone.", *_ANY),
           _at("teacher_backbone.", *_ANY), names=("student_backbone.",), settings=IMAGENET,
           transfers=MOMENTUM, note="the teacher is what DINO evaluates"),
    Layout("lightly-dino", "DINO of lightly", _at("student_backbone.", *_ANY),
           _at("teacher_backbone.", *_ANY), "index", names=("student_backbone.",),
           settings=IMAGENET, transfers=MOMENTUM, note="the teacher is what DINO evaluates"),
    Layout("lightly", "a method of lightly", _at("backbone.", *_ANY),
           _at("backbone_momentum.", *_ANY) + _at("teacher_backbone.", *_ANY), "index",
           settings=IMAGENET),
    Layout("lightly", "a method of lightly, named", _at("backbone.", *_ANY),
           _at("backbone_momentum.", *_ANY) + _at("teacher_backbone.", *_ANY),
           names=("projection_head",), settings=IMAGENET),
    Layout("openmmlab", "mmselfsup, mmpretrain or MMDetection", _at("backbone.", "state_dict"),
           _at("target_net.module.0.", "state_dict") + _at("encoder_k.module.0.", "state_dict"),
           keys=("meta",), settings=IMAGENET),
    Layout("barlow-twins", "Barlow Twins or VICReg", _at("backbone.", *_ANY),
           names=("projector.",), settings=IMAGENET),
    Layout("vissl", "VISSL", _at("_feature_blocks.", "classy_state_dict/base_model/model/trunk"),
           settings=IMAGENET),  # facebookresearch/vissl
    # ---- plain names, from the surest to the least sure
    Layout("openselfsup", "a backbone extracted by OpenSelfSup or DenseCL", _at("", "state_dict"),
           keys=("author",), settings=IMAGENET),
    Layout("training-run", "a training script's checkpoint in torchvision's names",
           _at("", "state_dict", "model"), _at("", "state_dict_ema", "model_ema"),
           keys=("optimizer",), settings=IMAGENET),
    Layout("simclr-v1", "SimCLR v1, converted to PyTorch", _at("", *_ANY), settings=UNIT_RANGE,
           note=_TF_PADDING, automatic=False),  # tonylins/simclr-converter
    Layout("state-dict", "a plain ResNet under `state_dict` or `model`",
           _at("", "state_dict", "model"), settings=PYTORCH,
           note="SimCLR v1's converter writes such files (--layout simclr-v1), and many others do"),
    Layout("torchvision", "a ResNet in torchvision's or timm's names", _at(""),
           settings=IMAGENET),
)  # fmt: skip

CAFFE2 = Layout("caffe2", "Caffe2's names (Detectron's model zoo)", naming="detectron2",
                settings=MSRA)  # fmt: skip
UNKNOWN_PROJECT = "unknown"
