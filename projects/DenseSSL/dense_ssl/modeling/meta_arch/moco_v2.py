"""MoCo v2: momentum contrast (He et al. 2020, Chen et al. 2020), an image-level baseline."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class MoCoV2(Pretrainer):
    """A view finds the other view of its image among the keys of earlier images."""

    objective_names = ("MoCoObjective",)
