"""LC-loss: self-supervised learning with local contrastive loss (Islam et al. 2022)."""

from detectron2.modeling import META_ARCH_REGISTRY

from ..pretrainer import Pretrainer


@META_ARCH_REGISTRY.register()
class LCLoss(Pretrainer):
    """Eq. 5: 1 - alpha times BYOL's loss plus alpha times the local loss."""

    objective_names = ("BYOLObjective", "LCObjective")

    @classmethod
    def own_weights(cls, cfg):
        alpha = cfg.MODEL.LC_LOSS.ALPHA
        if not 0 <= alpha <= 1:
            raise ValueError(f"MODEL.LC_LOSS.ALPHA is {alpha}; it must lie between 0 and 1.")
        # Eq. 1 is one direction of BYOL, whose objective sums both: its mean keeps the balance
        return (1 - alpha) / 2, alpha
