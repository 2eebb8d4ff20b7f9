"""SCRL: spatially consistent representation learning (Roh et al. 2021)."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class SCRL(Pretrainer):
    """Matched boxes of two views predict each other's pooled features."""

    objective_names = ("SCRLObjective",)
