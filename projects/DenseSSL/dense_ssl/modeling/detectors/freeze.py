"""Fine-tuning on a frozen backbone (the protocol of Table 4 of the LC-loss paper)."""

import types

from fvcore.nn.precise_bn import BN_MODULE_TYPES

from ..backbones import bottom_up_of
from ..dropout import remove_dropout


def frozen_modules(model):
    """The pre-trained part of a detector: its network, and the res5 that C4 keeps in its head.

    A pyramid is not part of it: it trains with the heads.
    """
    modules = [bottom_up_of(model.backbone)]
    res5 = getattr(getattr(model, "roi_heads", None), "res5", None)
    if res5 is not None:
        modules += [x for name, x in res5.named_children() if name != "norm"]
    return modules


def freeze_parameters(model):
    """Take the gradient and the randomness (stochastic depth) from a detector's frozen part."""
    for module in frozen_modules(model):
        remove_dropout(module)
        for parameter in module.parameters():
            parameter.requires_grad_(False)


def hold_frozen(model):
    """Keep the norms of the frozen part in evaluation mode, whatever ``train()`` is called."""
    for module in frozen_modules(model):
        for norm in module.modules():
            if isinstance(norm, BN_MODULE_TYPES):
                norm.eval()
                norm.train = types.MethodType(lambda self, mode=True: self, norm)
