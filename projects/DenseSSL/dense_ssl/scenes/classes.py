"""The classes of the scenes, in the order in which smaller data sets take them."""

from .creatures import butterfly, face, fish, ladybird, snail
from .plants import flower, mushroom, tree
from .things import car, clock, cup, house, ice_cream

PAINTERS = {
    "ladybird": ladybird,
    "fish": fish,
    "house": house,
    "flower": flower,
    "car": car,
    "butterfly": butterfly,
    "cup": cup,
    "clock": clock,
    "tree": tree,
    "mushroom": mushroom,
    "face": face,
    "snail": snail,
    "ice cream": ice_cream,
}
CLASS_NAMES = tuple(PAINTERS)
MAX_CLASSES = len(CLASS_NAMES)
