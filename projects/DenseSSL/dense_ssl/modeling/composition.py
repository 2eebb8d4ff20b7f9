"""Which objectives a config asks for, on which maps, and whether they fit together.

An entry of MODEL.SSL.OBJECTIVES is a name in the registry, "SCRLObjective", or a name and the
feature map that it works on in place of its own key, "SCRLObjective@p3"; so one objective can stand
on several levels.
"""

from .objective import OBJECTIVE_REGISTRY


def objective_class(entry):
    """The class of an entry."""
    return OBJECTIVE_REGISTRY.get(entry.partition("@")[0])


def objective_names(cfg):
    """The entries of MODEL.SSL.OBJECTIVES, looked through."""
    entries = tuple(cfg.MODEL.SSL.OBJECTIVES)
    if not entries:
        raise ValueError(
            "MODEL.SSL.OBJECTIVES is empty: name at least one objective, for example "
            "('SCRLObjective',)."
        )
    unknown = [x for x in entries if x.partition("@")[0] not in OBJECTIVE_REGISTRY or x[-1] == "@"]
    if unknown or len(set(entries)) < len(entries):
        raise ValueError(
            f"MODEL.SSL.OBJECTIVES is {entries}: each must be another one of "
            f"{sorted(name for name, _ in OBJECTIVE_REGISTRY)}, or one of them at another level "
            "('SCRLObjective@p3')."
        )
    return entries


def build_objectives(cfg, shapes, entries):
    """{entry: objective}.

    Args:
        cfg: config. shapes: {name of a feature map: ShapeSpec}.
        entries: of MODEL.SSL.OBJECTIVES.
    """
    objectives = {x: _build(cfg, shapes, x) for x in entries}
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


def check_ownership(kind, cfg):
    """Raise where keys of a composition are set that a named method does not read.

    Args:
        kind: subclass of :class:`~dense_ssl.modeling.Pretrainer`. cfg: config.
    """
    ssl = cfg.MODEL.SSL
    if kind.objective_names and ssl.OBJECTIVES:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVES is {tuple(ssl.OBJECTIVES)}, but {kind.__name__} trains "
            f"{kind.objective_names}: set MODEL.META_ARCHITECTURE to 'MultiObjective', or leave "
            "OBJECTIVES empty."
        )
    if kind.own_weights(cfg) and ssl.OBJECTIVE_WEIGHTS:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVE_WEIGHTS is {tuple(ssl.OBJECTIVE_WEIGHTS)}, but {kind.__name__} "
            "has keys of its own for the weights (ALPHA, BETA): set those, or "
            "MODEL.META_ARCHITECTURE to 'MultiObjective'."
        )


def check_weights(names, weights):
    """Raise where the weights do not fit the objectives."""
    if len(weights) != len(names):
        raise ValueError(
            f"MODEL.SSL.OBJECTIVE_WEIGHTS has {len(weights)} entries for the {len(names)} "
            f"objectives {tuple(names)}: give one each, or none."
        )
    if min(weights) < 0 or max(weights) == 0:
        raise ValueError(
            f"MODEL.SSL.OBJECTIVE_WEIGHTS is {tuple(weights)}: weights must not be negative, nor "
            "all of them 0."
        )


def check_views(objectives, count):
    """Raise where objectives ask for views that are not there.

    Args:
        objectives: {entry: objective}. count: number of views.
    """
    for entry, objective in objectives.items():
        needed = 1 + max(*objective.online_views, *objective.target_views)
        if needed > count:
            raise ValueError(
                f"{entry} needs {needed} views, there are {count}: set INPUT.VIEWS.NUM to {needed} "
                f"or more, or the views of MODEL.{objective.node}."
            )
