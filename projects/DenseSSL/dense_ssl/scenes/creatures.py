"""Living things: each function paints one object of its class onto a sprite.

Coordinates are the sprite's: the object fills about [-1, 1] x [-1, 1], x right and y down.
``colours`` are five colours in random order (see :mod:`.palette`), so no part has its own colour.
"""

import numpy as np

from . import textures
from .shapes import box, disc, ellipse, outline, polygon, segment, union


def fine(stream, sprite, low, high):
    """A texture period in [low, high), but no finer than the image can show."""
    return max(stream.uniform(low, high), 3.6 * sprite.grid.pixel)


def ladybird(sprite, stream, colours):
    """Beetle from above: spotted wing cases, head, feelers and six legs."""
    shell, marks, head, limbs, eyes = colours
    grid = sprite.grid.folded()
    for y, end in ((-0.25, -0.5), (0.15, 0.2), (0.5, 0.85)):
        end += stream.uniform(-0.08, 0.08)
        sprite.paint(segment(grid, (0.4, y), (0.95, end), 0.055), limbs)
    feeler = (stream.uniform(0.2, 0.45), -0.97)
    sprite.paint(segment(grid, (0.1, -0.7), feeler, 0.045), limbs)
    sprite.paint(ellipse(grid, 0.0, -0.6, stream.uniform(0.3, 0.42), 0.27), head)
    sprite.paint(disc(grid, 0.2, -0.7, 0.075), eyes)
    body = ellipse(grid, 0.0, 0.18, stream.uniform(0.62, 0.76), 0.76)
    sprite.paint(body, shell)
    size = stream.uniform(0.11, 0.17)
    places = stream.shuffled([(0.3, -0.2), (0.45, 0.2), (0.2, 0.22), (0.3, 0.6)])
    for x, y in places[: stream.integer(2, 4)]:
        spot = disc(grid, x + stream.uniform(-0.04, 0.04), y, size)
        sprite.paint(np.maximum(spot, body), marks)
    sprite.paint(np.maximum(segment(grid, (0.0, -0.5), (0.0, 0.9), 0.035), body), marks)


def fish(sprite, stream, colours):
    """Fish that swims to the left: scaly body, rayed tail and fins, eye and gill."""
    body_colour, scale_colour, fins, face, pupil = colours
    grid = sprite.grid
    rays = textures.stripes(grid.turned(80.0), fine(stream, sprite, 0.12, 0.2), 0.4)
    spread = stream.uniform(0.38, 0.6)
    tail = polygon(grid._replace(y=np.abs(grid.y)), [(0.35, 0.0), (0.82, 0.0), (0.98, spread)])
    height = stream.uniform(0.4, 0.56)
    peak = stream.uniform(-0.2, 0.1)
    fin = polygon(grid, [(-0.4, -0.2), (peak, -height - 0.3), (0.35, -0.15)])
    belly = polygon(grid, [(-0.2, 0.2), (0.2, 0.2), (0.25, height + 0.2)])
    sprite.paint(union(tail, fin, belly), fins, face, rays)
    body = ellipse(grid, -0.15, 0.0, 0.8, height)
    mail = textures.scales(grid.turned(-90.0), fine(stream, sprite, 0.24, 0.36))
    sprite.paint(body, body_colour, scale_colour, mail)
    gill = disc(grid, -1.0, 0.0, stream.uniform(0.46, 0.56))
    sprite.paint(np.maximum(body, gill), face)
    sprite.paint(np.maximum(outline(gill, 0.07), body), pupil)
    sprite.paint(disc(grid, -0.68, -0.1, 0.11), body_colour)
    sprite.paint(disc(grid, -0.69, -0.1, 0.06), pupil)


def butterfly(sprite, stream, colours):
    """Butterfly with open wings: an eye spot and a hem on each, thin body and feelers."""
    wings, hem, spot, core, body = colours
    grid = sprite.grid.folded()
    tilt = stream.uniform(-50.0, -25.0)
    upper = ellipse(grid, 0.5, -0.36, 0.54, stream.uniform(0.34, 0.42), tilt)
    lower = ellipse(grid, 0.4, 0.42, stream.uniform(0.34, 0.44), 0.4, 40.0)
    lines = textures.stripes(grid.turned(60.0), fine(stream, sprite, 0.14, 0.22), 0.35)
    for wing in (lower, upper):
        sprite.paint(wing, wings, hem, lines)
        sprite.paint(np.maximum(wing, -wing - 0.09), hem)
    size = stream.uniform(0.13, 0.19)
    for x, y in ((0.6, -0.42), (0.44, 0.44)):
        sprite.paint(disc(grid, x, y, size), spot)
        sprite.paint(disc(grid, x, y, size * 0.5), core)
    sprite.paint(segment(grid, (0.05, -0.5), (0.3, -0.95), 0.035), body)
    sprite.paint(segment(grid, (0.0, -0.5), (0.0, 0.65), 0.085), body)


def face(sprite, stream, colours):
    """Head from the front: striped hair, ears, eyes with pupils, nose and mouth."""
    skin, hair, white, dark, lock = colours
    grid = sprite.grid.folded()
    width = stream.uniform(0.66, 0.78)
    sprite.paint(disc(grid, width + 0.04, 0.1, 0.18), skin)
    head = ellipse(grid, 0.0, 0.05, width, 0.92)
    sprite.paint(head, skin)
    fringe = stream.uniform(-0.45, -0.25) + stream.uniform(-0.3, 0.4) * grid.x
    strands = textures.stripes(sprite.grid, fine(stream, sprite, 0.1, 0.18))
    top = np.maximum(ellipse(grid, 0.0, -0.08, width + 0.12, 0.9), grid.y - fringe)
    sprite.paint(top, hair, lock, strands)
    apart = stream.uniform(0.26, 0.36)
    sprite.paint(ellipse(grid, apart, 0.02, 0.17, 0.13), white)
    sprite.paint(disc(grid, apart - 0.02, 0.03, 0.08), dark)
    nose = polygon(grid, [(0.0, 0.1), (0.1, 0.38), (-0.1, 0.38)])
    sprite.paint(np.maximum(nose, -nose - 0.07), dark)
    bend = disc(grid, 0.0, 0.3, 0.36)
    mouth = np.maximum(outline(bend, stream.uniform(0.09, 0.16)), 0.48 - grid.y)
    sprite.paint(mouth, dark)


def snail(sprite, stream, colours):
    """Snail that creeps to the left: ringed shell, flat foot, neck with two horns."""
    shell, ring, flesh, sole, eye = colours
    grid = sprite.grid
    for x in (-0.92, -0.62):
        x += stream.uniform(-0.05, 0.05)
        sprite.paint(segment(grid, (-0.72, -0.05), (x, -0.55), 0.05), flesh)
        sprite.paint(disc(grid, x, -0.58, 0.085), eye)
    neck = segment(grid, (-0.72, 0.02), (-0.5, 0.6), 0.18)
    foot = box(grid, 0.0, 0.72, 0.95, 0.2, 0.18)
    sprite.paint(np.minimum(neck, foot), flesh)
    ribs = textures.stripes(grid, fine(stream, sprite, 0.12, 0.2), 0.4)
    sprite.paint(box(grid, 0.0, 0.86, 0.9, 0.08, 0.05), sole, flesh, ribs)
    radius = stream.uniform(0.58, 0.7)
    place = (0.2, 0.68 - radius)
    turns = textures.rings(grid.turned(0.0, *place), fine(stream, sprite, 0.26, 0.36), 0.45)
    sprite.paint(disc(grid, *place, radius), shell, ring, turns)
