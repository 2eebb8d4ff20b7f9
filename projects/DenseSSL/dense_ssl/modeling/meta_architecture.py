"""What MODEL.META_ARCHITECTURE names."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..utils.checks import nearest
from .pretrainer import Pretrainer


def meta_architecture(cfg):
    """Return the class of MODEL.META_ARCHITECTURE."""
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY:
        names = sorted(x for x, _ in META_ARCH_REGISTRY)
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {name!r}, which is not registered. Correct the name or, "
            f"if it is one of your own, name its module in IMPORTS.{nearest(name, names)} "
            f"Registered are {', '.join(names)}."
        )
    return META_ARCH_REGISTRY.get(name)


def is_pretraining(cfg):
    """Return True if the META_ARCHITECTURE of the config pre-trains."""
    return issubclass(meta_architecture(cfg), Pretrainer)
