"""Things that people make: each function paints one object of its class; see :mod:`.creatures`."""

import numpy as np

from . import textures
from .creatures import fine
from .shapes import box, direction, disc, ellipse, outline, polygon, segment


def house(sprite, stream, colours):
    """House: brick wall, tiled roof with a chimney, door and a window with a cross."""
    wall, mortar, roof, frame, glass = colours
    grid = sprite.grid
    side = stream.uniform(0.66, 0.82)
    eaves = stream.uniform(-0.25, -0.05)
    sprite.paint(box(grid, stream.uniform(0.35, 0.5), -0.6, 0.11, 0.34), mortar)
    rows = textures.bricks(grid, fine(stream, sprite, 0.3, 0.42), 0.14)
    middle, half = (eaves + 0.97) / 2, (0.97 - eaves) / 2
    sprite.paint(box(grid, 0.0, middle, side, half), wall, mortar, rows)
    tiles = textures.scales(grid, fine(stream, sprite, 0.2, 0.3), 0.16)
    top = polygon(grid, [(-0.98, eaves), (0.0, -0.96), (0.98, eaves)])
    sprite.paint(top, roof, frame, tiles)
    door, window = stream.shuffled((-0.36, 0.36))
    sprite.paint(box(grid, door, 0.62, 0.19, 0.36), frame)
    sprite.paint(disc(grid, door + 0.1, 0.64, 0.05), glass)
    pane = box(grid, window, 0.35, 0.23, 0.23)
    sprite.paint(pane, glass)
    cross = np.minimum(np.abs(grid.x - window), np.abs(grid.y - 0.35)) - 0.03
    sprite.paint(np.maximum(np.minimum(cross, -pane - 0.06), pane), frame)


def car(sprite, stream, colours):
    """Car from the side, front to the left: cabin with two windows, wheels with hubs, lamp."""
    body, glass, tyre, hub, lamp = colours
    grid = sprite.grid
    roof, back = stream.uniform(-0.62, -0.45), stream.uniform(0.55, 0.85)
    cabin = polygon(grid, [(-0.3, roof), (back - 0.25, roof), (back, 0.0), (-0.62, 0.0)])
    hull = box(grid, 0.0, 0.18, 0.96, 0.29, 0.12)
    sprite.paint(np.minimum(cabin, hull), body)
    window = np.maximum(cabin + 0.1, grid.y + 0.08)
    post = np.abs(grid.x - stream.uniform(0.02, 0.16)) - 0.05
    sprite.paint(np.maximum(window, -post), glass)
    line = np.maximum(np.abs(grid.y - 0.14) - 0.035, np.abs(grid.x) - 0.9)
    sprite.paint(line, hub)
    sprite.paint(ellipse(grid, -0.86, 0.05, 0.1, 0.08), lamp)
    radius = stream.uniform(0.24, 0.31)
    for x in (-0.52, stream.uniform(0.46, 0.56)):
        sprite.paint(disc(grid, x, 0.5, radius), tyre)
        sprite.paint(disc(grid, x, 0.5, radius * 0.55), hub)
        sprite.paint(disc(grid, x, 0.5, radius * 0.2), tyre)


def cup(sprite, stream, colours):
    """Cup: open top, zigzag decoration between two bands, handle to the right."""
    body, decoration, band, inside, drink = colours
    grid = sprite.grid
    handle = outline(ellipse(grid, 0.5, stream.uniform(-0.1, 0.1), 0.38, 0.42), 0.15)
    sprite.paint(handle, band)
    top, bottom = 0.62, stream.uniform(0.36, 0.56)
    corners = [(-top, -0.62), (top, -0.62), (bottom, 0.9), (-bottom, 0.9)]
    shift = -0.2
    side = polygon(grid, [(x + shift, y) for x, y in corners])
    period = fine(stream, sprite, 0.28, 0.4)
    sprite.paint(side, body, decoration, textures.zigzag(grid, period, 0.45))
    for y in (-0.36, stream.uniform(0.62, 0.78)):
        sprite.paint(np.maximum(np.abs(grid.y - y) - 0.075, side), band)
    sprite.paint(ellipse(grid, shift, -0.64, top, 0.22), inside)
    sprite.paint(ellipse(grid, shift, -0.6, top - 0.1, 0.14), drink)


def clock(sprite, stream, colours):
    """Alarm clock: rim, dial with twelve ticks, two hands, two bells and feet."""
    rim, dial, ticks, hands, bells = colours
    grid = sprite.grid
    folded = grid.folded()
    sprite.paint(segment(folded, (0.3, 0.6), (0.62, 0.95), 0.08), bells)
    sprite.paint(disc(folded, 0.5, -0.62, stream.uniform(0.26, 0.34)), bells)
    radius = stream.uniform(0.74, 0.84)
    sprite.paint(disc(grid, 0.0, 0.1, radius), rim)
    inner = radius - stream.uniform(0.1, 0.17)
    sprite.paint(disc(grid, 0.0, 0.1, inner), dial)
    quarter = folded._replace(y=np.abs(grid.y - 0.1))
    for hour in range(4):
        cos, sin = direction(30.0 * hour)
        start, end = [(reach * cos, reach * sin) for reach in (inner - 0.17, inner - 0.06)]
        sprite.paint(segment(quarter, start, end, 0.035), ticks)
    for reach, width in ((0.7 * inner, 0.04), (0.45 * inner, 0.06)):
        cos, sin = direction(stream.uniform(0.0, 360.0))
        sprite.paint(segment(grid, (0.0, 0.1), (reach * cos, 0.1 + reach * sin), width), hands)
    sprite.paint(disc(grid, 0.0, 0.1, 0.08), bells)


def ice_cream(sprite, stream, colours):
    """Ice cream: waffle cone, two or three scoops of which one has sprinkles, a cherry."""
    cone, lines, lower, upper, cherry = colours
    grid = sprite.grid
    crust = textures.waffle(grid.turned(45.0), fine(stream, sprite, 0.17, 0.25), 0.3)
    mouth = stream.uniform(0.42, 0.54)
    sprite.paint(polygon(grid, [(-mouth, 0.0), (mouth, 0.0), (0.0, 0.98)]), cone, lines, crust)
    sprinkles = textures.dots(grid.turned(30.0), fine(stream, sprite, 0.16, 0.22), 0.22)
    if stream.chance(0.5):
        sprite.paint(disc(grid, 0.0, -0.5, stream.uniform(0.38, 0.46)), upper, cherry, sprinkles)
        sprite.paint(ellipse(grid, 0.0, -0.08, mouth + 0.1, 0.32), lower)
    else:
        sprite.paint(disc(grid, 0.0, -0.55, 0.36), cone)
        sprite.paint(disc(grid.folded(), 0.32, -0.15, 0.38), lower, cherry, sprinkles)
    sprite.paint(disc(grid, stream.uniform(-0.1, 0.1), -0.86, 0.13), cherry)
