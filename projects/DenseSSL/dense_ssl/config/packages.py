"""What a config needs beside the plain installation, checked before anything is built."""

import re

from ..utils.checks import value_of
from ..utils.packages import REQUIREMENTS, what_is_wrong

# Key; pattern of the values that need a module; the module; what else helps. Those of SOLVER and
# LOG are only needed for training.
_NEEDS = (
    ("SOLVER.OPTIMIZER", "LARS", "timm", "set SOLVER.OPTIMIZER to 'SGD' or 'AdamW'"),
    ("MODEL.BACKBONE.NAME", "build_(retinanet_)?(timm|vit)(_fpn)?_backbone", "timm",
     "choose a ResNet of detectron2, such as build_resnet_fpn_backbone"),
    ("MODEL.META_ARCHITECTURE", "Distillation", "timm", "choose another method"),
    ("MODEL.SSL.OBJECTIVES", r"DistillationObjective(@.*)?", "timm", "leave that objective out"),
    ("LOG.WRITERS", "wandb", "wandb", "leave it out of LOG.WRITERS"),
    ("LOG.WRITERS", "mlflow", "mlflow", "leave it out of LOG.WRITERS"),
    ("MODEL.WEIGHTS", r".*\.safetensors", "safetensors", "convert the file where it is installed"),
)  # fmt: skip


def check_packages(cfg, eval_only=False):
    """Raise ImportError if a key needs a package that is not there.

    Args:
        cfg: config.
        eval_only: nothing will be trained.
    """
    wrong = []
    for key, pattern, module, otherwise in _NEEDS:
        if eval_only and key.startswith(("SOLVER.", "LOG.")):
            continue
        value = value_of(cfg, key)
        values = [value] if isinstance(value, str) else value
        if any(re.fullmatch(pattern, x) for x in values) and what_is_wrong(module):
            wrong.append((f"{key} is {value!r}, but {what_is_wrong(module)}", module, otherwise))
    if wrong:
        packages = " ".join(f"'{REQUIREMENTS[x]}'" for x in dict.fromkeys(x[1] for x in wrong))
        reasons = "; ".join(x[0] for x in wrong)
        others = ", and ".join(x[2] for x in wrong)
        raise ImportError(f"{reasons}. Run: pip install {packages}. Or {others}.")
