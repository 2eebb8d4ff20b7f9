"""Any set of objectives together, from a yaml."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class MultiObjective(Pretrainer):
    """The objectives of MODEL.SSL.OBJECTIVES with the weights of MODEL.SSL.OBJECTIVE_WEIGHTS."""
