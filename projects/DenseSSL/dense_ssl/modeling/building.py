"""Building the model of a config; what detectron2 refuses is said with the keys that caused it."""

import contextlib
import traceback
from pathlib import Path

import detectron2
from detectron2 import modeling

from ..utils.checks import value_of

# Keys that name maps of the backbone.
IN_FEATURES = tuple(
    f"MODEL.{x}.IN_FEATURES" for x in ("FPN", "RPN", "ROI_HEADS", "RETINANET", "SEM_SEG_HEAD")
)
_DETECTRON2 = Path(detectron2.__file__).parent
_PACKAGE = Path(__file__).parents[1]


def build_model(cfg):
    """detectron2's ``build_model``, with :func:`explained_refusals`."""
    with explained_refusals(cfg):
        return modeling.build_model(cfg)


@contextlib.contextmanager
def explained_refusals(cfg):
    """Within it a model is built from a config.

    Raises:
        ValueError: detectron2 cannot build it from these keys. Errors of other code, a model of
            one's own for example, are passed on as they are.
    """
    try:
        yield
    except Exception as error:
        place = _place_in_detectron2(error)
        if place is None:
            raise
        raise ValueError(_message(cfg, error, place)) from error


def _place_in_detectron2(error):
    """Return the frame of detectron2 that an error comes from, itself or through torch; or None."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if _DETECTRON2 in path.parents:
            return None if frame.name == "build_model" else frame  # it moves the model to a device
        if _PACKAGE in path.parents or not {"torch", "fvcore"} & set(path.parts):
            return None
    return None


def _message(cfg, error, place):
    name = error.args[0] if isinstance(error, KeyError) and error.args else None
    for key in IN_FEATURES:
        maps = _maps(cfg, key) if name is not None and name in value_of(cfg, key) else (name,)
        if name not in maps:
            return f"{key} names {name!r}; the maps are {', '.join(maps) or 'unknown'}."
    path = Path(place.filename).relative_to(_DETECTRON2.parent).as_posix()
    said = str(error) if str(error) and not isinstance(error, KeyError) else repr(error)
    return (
        f"detectron2 cannot build the model of this config: {said}\n"
        f"It is refused by {path}, line {place.lineno}: {place.line}\n"
        "The keys are those of MODEL; config.yaml in OUTPUT_DIR has all their values."
    )


def _maps(cfg, key):
    """Return the names of the maps that a key can choose from; () if that cannot be told."""
    if key == "MODEL.FPN.IN_FEATURES":
        return cfg.MODEL.RESNETS.OUT_FEATURES
    try:
        return sorted(modeling.build_backbone(cfg).output_shape())
    except Exception:
        return ()
