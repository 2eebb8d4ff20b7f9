"""SGD, LARS and AdamW."""

import logging

import torch
from detectron2.solver import build_optimizer as build_d2_optimizer
from detectron2.solver.build import maybe_add_gradient_clipping

logger = logging.getLogger(__name__)


def base_lr(cfg):
    """The learning rate after warm-up: BASE_LR, scaled by the batch where BASE_LR_BATCH is set."""
    if cfg.SOLVER.BASE_LR_BATCH <= 0:
        return cfg.SOLVER.BASE_LR
    return cfg.SOLVER.BASE_LR * cfg.SOLVER.IMS_PER_BATCH / cfg.SOLVER.BASE_LR_BATCH


def build_optimizer(cfg, model):
    """The optimizer SOLVER.OPTIMIZER over the parameters of ``model`` that take a gradient.

    SGD is detectron2's own, with its keys. LARS is timm's: the gradient of a weight is scaled by
    TRUST_COEFFICIENT * |w| / (|g| + WEIGHT_DECAY * |w|), the learning rate applied after the
    momentum buffer. LARS and AdamW spare biases, norms, layer scales and position embeddings (all
    parameters of one dimension or less, or of another name than "weight") the weight decay, LARS
    also the scaling.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.BASE_LR = base_lr(cfg)
    logger.info("%s, learning rate %g", cfg.SOLVER.OPTIMIZER, cfg.SOLVER.BASE_LR)
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return _let_torch_choose(build_d2_optimizer(cfg, model))
    builders = {"LARS": _lars, "AdamW": _adamw}
    if cfg.SOLVER.OPTIMIZER not in builders:
        raise ValueError(
            f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER!r}; it must be one of {['SGD', *builders]}."
        )
    optimizer, arguments = builders[cfg.SOLVER.OPTIMIZER](cfg)
    arguments["lr"] = cfg.SOLVER.BASE_LR
    return maybe_add_gradient_clipping(cfg, optimizer)(_groups(cfg, model), **arguments)


def _let_torch_choose(optimizer):
    """Leave the loop over parameters to torch, which picks "foreach" on GPUs alone.

    detectron2 asks for it everywhere; on a CPU it walks the whole network once per operation of the
    update, out of cache, and takes a quarter longer. The update is the same to the bit.
    """
    for group in (*optimizer.param_groups, optimizer.defaults):
        group["foreach"] = None
    return optimizer


def _groups(cfg, model):
    """Two parameter groups: weights, and all else (biases, norms, positions), without decay."""
    weights, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # tables of positions, tokens and scales of attention have dimensions, but other names
            is_weight = parameter.dim() > 1 and name.endswith("weight")
            (weights if is_weight else others).append(parameter)
    groups = [
        {"params": weights, "weight_decay": cfg.SOLVER.WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    if cfg.SOLVER.OPTIMIZER == "LARS":  # weights adapt even without weight decay, vectors never
        groups[0]["always_adapt"], groups[1]["always_adapt"] = True, False
    return [x for x in groups if x["params"]]


def _lars(cfg):
    try:
        from timm.optim import Lars
    except ImportError as error:
        raise ImportError(
            "SOLVER.OPTIMIZER 'LARS' needs timm: pip install 'timm>=1.0.9' (it brings no torch of "
            "its own), or set SOLVER.OPTIMIZER to 'SGD' or 'AdamW'."
        ) from error
    return Lars, {
        "momentum": cfg.SOLVER.MOMENTUM,
        "trust_coeff": cfg.SOLVER.TRUST_COEFFICIENT,
    }


def _adamw(cfg):
    return torch.optim.AdamW, {"betas": tuple(cfg.SOLVER.BETAS)}
