"""The classes: one function each, which paints an object of its class on a :class:`.Canvas`.

Numbers 1 to 5 are colours that are drawn for every object in the same way, whatever its class: what
tells a class is its shapes. They need little variety, for every object is bent when it is placed.
"""

import math

import numpy as np

from .canvas import mirrored


def ray(x, y, degrees, length):
    """Return the point at a distance from (x, y), in a direction given clockwise from the right."""
    angle = math.radians(degrees)
    return x + length * math.cos(angle), y + length * math.sin(angle)


def ladybird(c, rng):
    """Beetle from above: spotted wing cases, head, feelers and six legs."""
    for y, end in ((-0.25, -0.5), (0.15, 0.2), (0.5, 0.85)):
        c.paint(4, mirrored(c.line((0.4, y), (0.94, end), 0.11)))
    c.paint(4, mirrored(c.line((0.1, -0.7), (0.33, -0.95), 0.09)))
    c.paint(3, c.ellipse(0.0, -0.6, 0.36, 0.27))
    c.paint(5, mirrored(c.disc(0.2, -0.7, 0.075)))
    body = c.ellipse(0.0, 0.18, rng.uniform(0.62, 0.76), 0.76)
    c.paint(1, body)
    spots = rng.permutation([(0.3, -0.2), (0.45, 0.2), (0.2, 0.22), (0.3, 0.6)])
    for x, y in spots[: rng.integers(2, 5)]:
        c.paint(2, mirrored(c.disc(x, y, 0.14)) & body)
    c.paint(2, c.line((0.0, -0.5), (0.0, 0.9), 0.07) & body)


def fish(c, rng):
    """Fish that swims to the left: scaly body, rayed tail and fins, eye and gill."""
    height = rng.uniform(0.4, 0.56)
    fins = c.polygon((0.35, 0.0), (0.98, -0.5), (0.82, 0.0), (0.98, 0.5))
    fins |= c.polygon((-0.4, -0.2), (-0.05, -height - 0.3), (0.35, -0.15))
    fins |= c.polygon((-0.2, 0.2), (0.2, 0.2), (0.25, height + 0.2))
    c.paint(3, fins, 4, c.texture("stripes", 0.16, 80.0))
    body = c.ellipse(-0.15, 0.0, 0.8, height)
    c.paint(1, body, 2, c.texture("scales", rng.uniform(0.24, 0.36), -90.0))
    c.paint(5, c.disc(-1.0, 0.0, 0.55) & body)
    c.paint(4, c.disc(-1.0, 0.0, 0.47) & body)
    c.paint(1, c.disc(-0.68, -0.1, 0.11))
    c.paint(5, c.disc(-0.69, -0.1, 0.06))


def house(c, rng):
    """House: brick wall, tiled roof with a chimney, door and a window with a cross."""
    side, eaves = rng.uniform(0.66, 0.82), rng.uniform(-0.25, -0.05)
    c.paint(2, c.box(0.31, -0.94, 0.53, -0.26))
    c.paint(1, c.box(-side, eaves, side, 0.97), 2, c.texture("bricks", rng.uniform(0.3, 0.42)))
    roof = c.polygon((-0.98, eaves), (0.0, -0.96), (0.98, eaves))
    c.paint(3, roof, 4, c.texture("scales", rng.uniform(0.2, 0.3)))
    x, door = rng.permutation([-0.36, 0.36])
    c.paint(4, c.box(door - 0.19, 0.26, door + 0.19, 0.97) | c.box(x - 0.23, 0.12, x + 0.23, 0.58))
    c.paint(5, c.disc(door + 0.1, 0.64, 0.05) | c.box(x - 0.17, 0.18, x + 0.17, 0.52))
    c.paint(4, c.box(x - 0.03, 0.12, x + 0.03, 0.58) | c.box(x - 0.23, 0.32, x + 0.23, 0.38))


def flower(c, rng):
    """Flower on a stem: five to eight striped petals around a dotted centre, one leaf."""
    x, y, count = 0.0, -0.34, rng.integers(5, 9)
    c.paint(5, c.line((x, y), (0.0, 0.94), 0.12) | c.ellipse(0.3, 0.62, 0.34, 0.13, -30.0))
    for degrees in rng.uniform(0.0, 360.0) + 360.0 / count * np.arange(count):
        c.paint(1, c.ellipse(*ray(x, y, degrees, 0.4), 0.27, 1.7 / count, degrees))
        c.paint(2, c.line((x, y), ray(x, y, degrees, 0.62), 0.09))
    c.paint(3, c.disc(x, y, rng.uniform(0.2, 0.27)), 4, c.texture("dots", 0.15))


def car(c, rng):
    """Car from the side, front to the left: cabin with two windows, wheels with hubs, lamp."""
    roof, back = rng.uniform(-0.62, -0.45), rng.uniform(0.55, 0.85)
    c.paint(1, c.polygon((-0.3, roof), (back - 0.25, roof), (back, 0.0), (-0.62, 0.0)))
    c.paint(1, c.polygon((-0.96, 0.0), (-0.86, -0.1), (0.92, -0.1), (0.96, 0.4), (-0.96, 0.4)))
    top, low = roof + 0.1, -0.08
    c.paint(2, c.polygon((-0.26, top), (back - 0.3, top), (back - 0.15, low), (-0.44, low)))
    c.paint(1, c.box(0.04, roof, 0.14, 0.0))
    c.paint(4, c.box(-0.9, 0.1, 0.9, 0.17))
    c.paint(5, c.ellipse(-0.86, 0.05, 0.1, 0.08))
    radius = rng.uniform(0.24, 0.31)
    for x in (-0.52, 0.51):
        for number, share in ((3, 1.0), (4, 0.55), (3, 0.2)):
            c.paint(number, c.disc(x, 0.5, share * radius))


def butterfly(c, rng):
    """Butterfly with open wings: an eye spot and a hem on each, thin body and feelers."""
    lines = mirrored(c.texture("stripes", rng.uniform(0.14, 0.22), 60.0) & (c.x > 0.0))
    tilt = rng.uniform(-50.0, -25.0)
    for x, y, a, b, degrees in ((0.4, 0.42, 0.4, 0.4, 0.0), (0.5, -0.36, 0.54, 0.38, tilt)):
        c.paint(2, mirrored(c.ellipse(x, y, a, b, degrees)))
        c.paint(1, mirrored(c.ellipse(x, y, a - 0.09, b - 0.09, degrees)), 2, lines)
        c.paint(3, mirrored(c.disc(x + 0.06, y, 0.16)))
        c.paint(4, mirrored(c.disc(x + 0.06, y, 0.08)))
    c.paint(5, mirrored(c.line((0.05, -0.5), (0.3, -0.95), 0.07)))
    c.paint(5, c.line((0.0, -0.5), (0.0, 0.65), 0.17))


def cup(c, rng):
    """Cup: open top, zigzag decoration between two bands, handle to the right."""
    c.paint(3, c.ellipse(0.5, 0.0, 0.45, 0.49) & ~c.ellipse(0.5, 0.0, 0.3, 0.34))
    bottom = rng.uniform(0.36, 0.56)
    side = c.polygon((-0.82, -0.62), (0.42, -0.62), (bottom - 0.2, 0.9), (-bottom - 0.2, 0.9))
    c.paint(1, side, 2, c.texture("zigzag", rng.uniform(0.28, 0.4)))
    c.paint(3, side & (c.box(-1.0, -0.43, 1.0, -0.28) | c.box(-1.0, 0.62, 1.0, 0.77)))
    c.paint(4, c.ellipse(-0.2, -0.64, 0.62, 0.22))
    c.paint(5, c.ellipse(-0.2, -0.6, 0.52, 0.14))


def clock(c, rng):
    """Alarm clock: rim, dial with twelve ticks, two hands, two bells and feet."""
    x, y, radius = 0.0, 0.1, rng.uniform(0.6, 0.72)
    c.paint(5, mirrored(c.line((0.3, 0.6), (0.62, 0.93), 0.16) | c.disc(0.5, -0.62, 0.3)))
    c.paint(1, c.disc(x, y, 0.8))
    c.paint(2, c.disc(x, y, radius))
    for degrees in range(0, 360, 30):
        ends = ray(x, y, degrees, radius - 0.17), ray(x, y, degrees, radius - 0.06)
        c.paint(3, c.line(*ends, 0.07))
    for length, width in ((0.45, 0.08), (0.3, 0.12)):
        c.paint(4, c.line((x, y), ray(x, y, rng.uniform(0.0, 360.0), length), width))
    c.paint(5, c.disc(x, y, 0.08))


def tree(c, rng):
    """Tree: a round crown of several balls of leaves, fruits, and a trunk with bark."""
    trunk = c.polygon((-0.16, 0.1), (0.16, 0.1), (0.26, 0.98), (-0.26, 0.98))
    c.paint(3, trunk, 4, c.texture("stripes", 0.12))
    crown = c.disc(0.0, -0.3, 0.5)
    for degrees in rng.uniform(0.0, 60.0) + 60.0 * np.arange(6):
        crown |= c.disc(*ray(0.0, -0.32, degrees, 0.4), rng.uniform(0.24, 0.34))
    c.paint(1, crown, 2, c.texture("dots", rng.uniform(0.15, 0.22), 20.0))
    for x, y in rng.uniform((-0.5, -0.65), (0.5, 0.05), (rng.integers(2, 5), 2)):
        c.paint(5, c.disc(x, y, 0.11) & crown)


def mushroom(c, rng):
    """Mushroom: half-round spotted cap over a band of gills, stem with a ring."""
    width, brim = rng.uniform(0.17, 0.27), rng.uniform(0.02, 0.14)
    foot = width + 0.08
    c.paint(4, c.polygon((-width, 0.1), (width, 0.1), (foot, 0.97), (-foot, 0.97)))
    c.paint(5, c.ellipse(0.0, 0.5, width + 0.13, 0.07))
    c.paint(3, c.ellipse(0.0, brim, 0.86, 0.16), 5, c.texture("stripes", 0.13))
    cap = c.ellipse(0.0, brim, 0.95, 0.95) & (c.y < brim)
    c.paint(1, cap)
    for x, y in ((-0.58, -0.14), (-0.2, -0.5), (0.12, -0.16), (0.38, -0.45), (0.68, -0.1)):
        c.paint(2, c.disc(x, y, rng.uniform(0.09, 0.19)) & cap)


def face(c, rng):
    """Head from the front: striped hair, ears, eyes with pupils, nose and mouth."""
    width, lips = rng.uniform(0.66, 0.78), rng.uniform(0.05, 0.08)
    c.paint(1, mirrored(c.disc(width + 0.04, 0.1, 0.18)) | c.ellipse(0.0, 0.05, width, 0.92))
    hair = c.ellipse(0.0, -0.08, width + 0.12, 0.9)
    hair &= c.y < rng.uniform(-0.45, -0.25) + rng.uniform(-0.3, 0.4) * abs(c.x)
    c.paint(2, hair, 5, c.texture("stripes", rng.uniform(0.1, 0.18)))
    c.paint(3, mirrored(c.ellipse(0.31, 0.02, 0.17, 0.13)))
    c.paint(4, mirrored(c.disc(0.29, 0.03, 0.08)))
    c.paint(4, c.polygon((0.0, 0.1), (0.1, 0.38), (-0.1, 0.38)))
    c.paint(4, c.disc(0.0, 0.3, 0.36 + lips) & ~c.disc(0.0, 0.3, 0.36 - lips) & (c.y > 0.48))


def snail(c, rng):
    """Snail that creeps to the left: ringed shell, flat foot, neck with two horns."""
    for x in (-0.9, -0.6):
        c.paint(3, c.line((-0.72, -0.05), (x, -0.55), 0.1))
        c.paint(5, c.disc(x, -0.58, 0.085))
    c.paint(3, c.line((-0.72, 0.02), (-0.5, 0.6), 0.36))
    c.paint(3, c.line((-0.76, 0.72), (0.76, 0.72), 0.38))
    c.paint(4, c.box(-0.88, 0.78, 0.88, 0.94), 3, c.texture("stripes", 0.16))
    radius = rng.uniform(0.58, 0.7)
    rings = c.texture("rings", rng.uniform(0.26, 0.36), x=0.2, y=0.68 - radius)
    c.paint(1, c.disc(0.2, 0.68 - radius, radius), 2, rings)


def ice_cream(c, rng):
    """Ice cream: waffle cone, two or three scoops of which one kind has sprinkles, a cherry."""
    width = rng.uniform(0.42, 0.54)
    cone = c.polygon((-width, 0.0), (width, 0.0), (0.0, 0.98))
    c.paint(1, cone, 2, c.texture("waffle", rng.uniform(0.17, 0.25), 45.0))
    sprinkles = c.texture("dots", rng.uniform(0.16, 0.22), 30.0)
    if rng.random() < 0.5:
        c.paint(4, c.disc(0.0, -0.5, 0.42), 5, sprinkles)
        c.paint(3, c.ellipse(0.0, -0.08, width + 0.1, 0.32))
    else:
        c.paint(4, c.disc(0.0, -0.55, 0.36))
        c.paint(3, mirrored(c.disc(0.32, -0.15, 0.38)), 5, sprinkles)
    c.paint(5, c.disc(0.0, -0.84, 0.13))


# In the order in which data sets of fewer classes take them.
PAINTERS = (
    ladybird, fish, house, flower, car, butterfly, cup,
    clock, tree, mushroom, face, snail, ice_cream,
)  # fmt: skip
CLASS_NAMES = tuple(painter.__name__.replace("_", " ") for painter in PAINTERS)
MAX_CLASSES = len(CLASS_NAMES)
