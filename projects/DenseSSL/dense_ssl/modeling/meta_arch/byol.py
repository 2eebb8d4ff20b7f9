"""BYOL: bootstrap your own latent (Grill et al. 2020), the image-level baseline of SCRL."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class BYOL(Pretrainer):
    """Two views of an image predict each other's pooled features."""

    objective_names = ("BYOLObjective",)
