"""The objectives that a config asks for: which, on which feature maps, with which weights.

An entry of MODEL.SSL.OBJECTIVES is a name in the registry, "SCRLObjective", or a name and the
feature map that it uses instead of its own key, "SCRLObjective@p3". The same objective can
therefore be used on several levels.
"""

import torch

from ..data.views.settings import entry_of_view
from .backbones import bottom_up_of
from .objective import OBJECTIVE_REGISTRY


def objective_class(entry):
    """Return the class of an entry."""
    return OBJECTIVE_REGISTRY.get(entry.partition("@")[0])


def entries_of(kind, cfg):
    """Return the entries that a model trains, checked.

    Args:
        kind: subclass of :class:`~dense_ssl.modeling.Pretrainer`. cfg: config.

    Returns:
        tuple of ``kind.objective_names``, or else of MODEL.SSL.OBJECTIVES.
    """
    own, stated = kind.objective_names, cfg.MODEL.SSL.OBJECTIVES
    if own and stated:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVES is {tuple(stated)}, but {kind.__name__} trains {own}: set "
            "MODEL.META_ARCHITECTURE to 'MultiObjective', or leave OBJECTIVES empty."
        )
    source = f"{kind.__name__}.objective_names" if own else "MODEL.SSL.OBJECTIVES"
    entries = own or stated
    if not entries:
        raise ValueError(f"{source} is empty: name at least one objective, ('SCRLObjective',).")
    if isinstance(entries, str):
        raise ValueError(f"{source} is the string {entries!r}: write a tuple, ({entries!r},).")
    unknown = [x for x in entries if x.partition("@")[0] not in OBJECTIVE_REGISTRY or x[-1] == "@"]
    if unknown or len(set(entries)) < len(entries):
        raise ValueError(
            f"{source} is {tuple(entries)}: each entry must be different, and one of "
            f"{sorted(name for name, _ in OBJECTIVE_REGISTRY)}, also at another level "
            "('SCRLObjective@p3'). The module of an objective of your own must be in IMPORTS."
        )
    return tuple(entries)


def weights_of(kind, cfg):
    """Return {entry: weight} of the objectives that a model trains.

    An objective of weight 0 is left out: it needs neither heads nor passes.

    Args:
        kind: subclass of :class:`~dense_ssl.modeling.Pretrainer`. cfg: config.
    """
    entries, stated = entries_of(kind, cfg), cfg.MODEL.SSL.OBJECTIVE_WEIGHTS
    own = kind.own_weights(cfg)
    if own and stated:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVE_WEIGHTS is {tuple(stated)}, but {kind.__name__} has keys of its "
            "own for the weights (ALPHA, BETA): set those, or MODEL.META_ARCHITECTURE to "
            "'MultiObjective'."
        )
    weights = own or stated or (1.0,) * len(entries)
    if len(weights) != len(entries):
        raise ValueError(
            f"MODEL.SSL.OBJECTIVE_WEIGHTS has {len(weights)} entries for the {len(entries)} "
            f"objectives {entries}: give one each, or none."
        )
    if min(weights) < 0 or max(weights) == 0:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVE_WEIGHTS is {tuple(weights)}: weights must not be negative, nor "
            "all of them 0."
        )
    scales = kind.objective_scales or (1.0,) * len(entries)
    return {x: w * scale for x, w, scale in zip(entries, weights, scales) if w > 0}


def build_objectives(cfg, shapes, entries):
    """Return {entry: objective}.

    Args:
        cfg: config. shapes: {name of a feature map: ShapeSpec}.
        entries: of MODEL.SSL.OBJECTIVES.
    """
    objectives = {x: _build(cfg, shapes, x) for x in entries}
    labels = [x.label for x in objectives.values()]
    if len(set(labels)) < len(labels):
        names = ", ".join(f"{type(x).__name__}.label {x.label!r}" for x in objectives.values())
        raise ValueError(f"Two objectives would write the same log: {names}. Make them differ.")
    for objective in objectives.values():
        objective.join(objectives)
    return objectives


def _build(cfg, shapes, entry):
    kind, (_, _, level) = objective_class(entry), entry.partition("@")
    if not level:
        return kind(cfg, shapes)
    cfg = cfg.clone()
    cfg.defrost()
    node = cfg.MODEL[kind.node]
    if "IN_FEATURE" not in node:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVES has {entry!r}, but this objective has levels of its own: set "
            f"MODEL.{kind.node}.IN_FEATURES instead."
        )
    if level not in shapes:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVES has {entry!r}, but the backbone gives {sorted(shapes)}: name "
            "one of them behind the @, or add the map to MODEL.RESNETS.OUT_FEATURES."
        )
    node.IN_FEATURE = level
    objective = kind(cfg, shapes)
    objective.label = f"{kind.label}_{level}"
    return objective


def check_views(objectives, count):
    """Raise where objectives ask for views that do not exist.

    Args:
        objectives: {entry: objective}. count: number of views.
    """
    for entry, objective in objectives.items():
        for attribute in ("online_views", "target_views"):
            views = getattr(objective, attribute)
            if not isinstance(views, tuple) or any(type(x) is not int or x < 0 for x in views):
                raise TypeError(
                    f"{type(objective).__name__}.{attribute} is {views!r}; it must be a tuple of "
                    "indices of views, such as (0, 1)."
                )
        needed = 1 + max((*objective.online_views, *objective.target_views), default=0)
        if needed > count:
            raise ValueError(
                f"{entry} needs {needed} views, there are {count}: set INPUT.VIEWS.NUM to {needed} "
                f"or more, or the views of MODEL.{objective.node}."
            )


def check_sizes(objectives, shapes, views):
    """Raise where a view is too small for an objective, whose loss may then be 0 for ever.

    Args:
        objectives: {entry: objective}. shapes: {name of a feature map: ShapeSpec}.
        views: the config node INPUT.VIEWS.
    """
    for entry, objective in objectives.items():
        least = objective.smallest_view(shapes)
        for view in sorted({*objective.online_views, *objective.target_views}):
            size = entry_of_view(views.SIZE, view)
            if size < least:
                strides = {x: shapes[x].stride for x in objective.feature_names()}
                stride = max(strides.values(), default=1)
                raise ValueError(
                    f"INPUT.VIEWS.SIZE is {size} for view {view}, too small for {entry}: the "
                    f"strides of its feature maps are {strides}, and it needs {least} pixels. Make "
                    f"the view {-(-least // stride) * stride} or more, or use finer maps (the keys "
                    f"IN_FEATURE or IN_FEATURES of MODEL.{objective.node})."
                )


def check_divisibility(objectives, backbone, views):
    """Raise where a pyramid cannot add its levels up: each must have twice the cells of the next.

    Args:
        objectives: {entry: objective}. backbone: a backbone of detectron2.
        views: the config node INPUT.VIEWS.
    """
    step = backbone.size_divisibility
    if bottom_up_of(backbone) is backbone or step < 2:
        return  # without a pyramid, maps are rounded up
    for view in sorted(
        {i for x in objectives.values() for i in (*x.online_views, *x.target_views)}
    ):
        size = entry_of_view(views.SIZE, view)
        if size % step:
            raise ValueError(
                f"INPUT.VIEWS.SIZE is {size} for view {view}, and the pyramid of "
                f"MODEL.BACKBONE.NAME takes multiples of {step} alone: make it "
                f"{max(round(size / step), 1) * step}."
            )


def check_losses(objective, losses):
    """Raise unless ``losses`` is a dict of scalar tensors named ``loss_*``."""
    name = type(objective).__name__
    if not isinstance(losses, dict) or not losses:
        raise TypeError(f"{name}.forward returned {losses!r}; it must return a dict of losses.")
    for key, loss in losses.items():
        is_scalar = isinstance(loss, torch.Tensor) and loss.dim() == 0
        if not (key.startswith("loss_") and is_scalar):
            kind = (
                f"of shape {tuple(loss.shape)}" if hasattr(loss, "shape") else type(loss).__name__
            )
            raise TypeError(
                f"{name}.forward returned {key!r} ({kind}): only scalar tensors named 'loss_...' "
                "may be returned, since all of them are trained. Log a statistic with put_scalar."
            )
