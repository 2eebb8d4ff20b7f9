"""DUPR: deeply unsupervised patch re-identification (Ding et al. 2021)."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class DUPR(Pretrainer):
    """Images and patches are found again, at several depths of the network."""

    objective_names = ("DUPRObjective",)
