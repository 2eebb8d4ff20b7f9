"""Fine-tuning on a frozen backbone (the protocol of Table 4 of the LC-loss paper)."""

import types

from fvcore.nn.precise_bn import BN_MODULE_TYPES

from ..backbones import bottom_up_of
from ..dropout import remove_dropout


def frozen_modules(model):
    """Return the pre-trained part of a detector: its network, and the res5 in the head of a C4.

    A pyramid is not part of it: it trains with the heads.
    """
    modules = [bottom_up_of(model.backbone)]
    res5 = getattr(getattr(model, "roi_heads", None), "res5", None)
    if res5 is not None:
        modules += [x for name, x in res5.named_children() if name != "norm"]
    return modules


def freeze_parameters(model):
    """Switch off gradients, dropout and stochastic depth in a detector's frozen part."""
    for module in frozen_modules(model):
        remove_dropout(module)
        module.requires_grad_(False)


def hold_frozen(model):
    """Keep batch norm of the frozen part in evaluation mode, even after ``train()``."""
    for module in frozen_modules(model):
        for norm in module.modules():
            if isinstance(norm, BN_MODULE_TYPES):
                norm.eval()
                norm.train = types.MethodType(lambda self, mode=True: self, norm)
