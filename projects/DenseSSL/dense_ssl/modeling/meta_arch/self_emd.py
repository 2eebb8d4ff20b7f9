"""Self-EMD: self-supervised object detection without ImageNet (Liu et al. 2021)."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class SelfEMD(Pretrainer):
    """The maps of two views are compared by optimal transport."""

    objective_names = ("SelfEMDObjective",)
