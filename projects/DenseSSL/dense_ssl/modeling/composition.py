"""Which objectives a config asks for, on which maps, and whether they fit together.

An entry of MODEL.SSL.OBJECTIVES is a name in the registry, "SCRLObjective", or a name and the
feature map that it works on in place of its own key, "SCRLObjective@p3"; so one objective can stand
on several levels.
"""

from .objectives import OBJECTIVE_REGISTRY


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
    unknown = [x for x in entries if x.partition("@")[0] not in OBJECTIVE_REGISTRY]
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
    return {x: _build(cfg, shapes, x) for x in entries}


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
    node.IN_FEATURE = level
    objective = kind(cfg, shapes)
    objective.label = f"{kind.label}_{level}"
    return objective


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
