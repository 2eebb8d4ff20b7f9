"""Point-level region contrast (Bai et al. 2022)."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class PointRegionContrast(Pretrainer):
    """Eq. 6: beta times the loss of points and regions plus 1 - beta times MoCo's image loss."""

    objective_names = ("PointRegionObjective", "MoCoObjective")

    @classmethod
    def own_weights(cls, cfg):
        beta = cfg.MODEL.PLRC.BETA
        return beta, 1 - beta
