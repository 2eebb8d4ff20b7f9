"""Point-level region contrast (Bai et al. 2022)."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class PointRegionContrast(Pretrainer):
    """Eq. 6: beta times the loss of points and regions plus 1 - beta times MoCo's image loss."""

    objective_names = ("PointRegionObjective", "MoCoObjective")

    @classmethod
    def objective_weights(cls, cfg):
        beta = cfg.MODEL.PLRC.BETA
        weights = dict(zip(cls.objective_names, (beta, 1 - beta)))
        return {name: x for name, x in weights.items() if x > 0}

    @classmethod
    def from_config(cls, cfg):
        arguments = super().from_config(cfg)
        objectives = arguments["objectives"]
        if cfg.MODEL.PLRC.SHARED_HEAD and len(objectives) == 2:
            if not cfg.MODEL.MOCO.POOL_AFTER_HEAD:
                raise ValueError(
                    "MODEL.PLRC.SHARED_HEAD True needs MODEL.MOCO.POOL_AFTER_HEAD True: a head "
                    "that is shared runs on the map, and the image's vector is the mean of that."
                )
            objectives["PointRegionObjective"].share_heads(objectives["MoCoObjective"])
        return arguments
