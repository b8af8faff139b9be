"""The things that lie in a rendered bin: boxes, books, bottles, bags, discs.

In: an `Item` (what, where, how large) and a drawing surface. Out: its picture on that surface. Used by `render.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

KINDS = ("box", "box", "book", "bottle", "bag", "disc")
"""A box is drawn twice as often as the rest: so it is in a warehouse."""

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Item:
    """One item to draw: standing on (x, y), the middle of its foot, `w` by `h` pixels; tilt in degrees."""

    kind: str
    colour: Colour
    look: int
    x: float
    y: float
    w: float
    h: float
    tilt: float


def draw_item(draw: ImageDraw.ImageDraw, item: Item) -> None:
    """Draws one item over what is there already. `item.look` seeds its print, so that one SKU looks the same twice."""
    rng = np.random.default_rng(item.look)
    shadow = item.w * 0.06
    draw.ellipse(
        (item.x - item.w / 2 - shadow, item.y - shadow, item.x + item.w / 2 + shadow, item.y + shadow),
        fill=(0, 0, 0, 70),
    )
    {"box": _box, "book": _book, "bottle": _bottle, "bag": _bag, "disc": _disc}[item.kind](draw, item, rng)


def _shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (max(0, min(255, int(c * factor))) for c in colour)
    return r, g, b


def _at(item: Item, u: float, v: float) -> Point:
    """Item coordinates (u across in -0.5..0.5, v up in 0..1) to pixels, tilted about the foot."""
    a = math.radians(item.tilt)
    dx, dy = u * item.w, -v * item.h
    return item.x + dx * math.cos(a) - dy * math.sin(a), item.y + dx * math.sin(a) + dy * math.cos(a)


def _quad(draw: ImageDraw.ImageDraw, item: Item, u0: float, v0: float, u1: float, v1: float, fill: Colour) -> None:
    corners = [_at(item, u0, v0), _at(item, u1, v0), _at(item, u1, v1), _at(item, u0, v1)]
    draw.polygon(corners, fill=fill, outline=_shade(fill, 0.55))


def _print(draw: ImageDraw.ImageDraw, item: Item, rng: np.random.Generator, u: float, v0: float, v1: float) -> None:
    """A label between v0 and v1, half-width u: a light field with lines of text or a bar code."""
    _quad(draw, item, -u, v0, u, v1, _shade((235, 232, 222), rng.uniform(0.85, 1.05)))
    for k in range(int(rng.integers(2, 6))):
        v = v0 + (v1 - v0) * (k + 0.7) / 6.5
        draw.line(
            [_at(item, -u * 0.8, v), _at(item, u * rng.uniform(0.1, 0.8), v)],
            fill=(45, 45, 50),
            width=max(1, int(item.h * 0.012)),
        )


def _box(draw: ImageDraw.ImageDraw, item: Item, rng: np.random.Generator) -> None:
    side = rng.uniform(0.06, 0.2)  # the visible flank, as a part of the width
    top = rng.uniform(0.05, 0.12)
    face, flank, lid = item.colour, _shade(item.colour, 0.68), _shade(item.colour, 1.25)
    right = 0.5 - side
    _quad(draw, item, -0.5, 0, right, 1 - top, face)
    points = [_at(item, right, 0), _at(item, 0.5, top * 0.8), _at(item, 0.5, 1), _at(item, right, 1 - top)]
    draw.polygon(points, fill=flank, outline=_shade(flank, 0.6))
    points = [_at(item, -0.5, 1 - top), _at(item, right, 1 - top), _at(item, 0.5, 1), _at(item, -0.5 + side, 1)]
    draw.polygon(points, fill=lid, outline=_shade(face, 0.5))
    if rng.random() < 0.75:
        low = rng.uniform(0.1, 0.5)
        inner = Item(
            item.kind, item.colour, item.look, *_at(item, -side / 2, 0), item.w * (1 - side), item.h, item.tilt
        )
        _print(draw, inner, rng, rng.uniform(0.18, 0.4), low, min(0.85, low + rng.uniform(0.15, 0.4)))


def _book(draw: ImageDraw.ImageDraw, item: Item, rng: np.random.Generator) -> None:
    _quad(draw, item, -0.5, 0, 0.5, 1, item.colour)
    trim = _shade(tuple(int(c) for c in 255 - np.array(item.colour)), 0.9)  # type: ignore[arg-type]
    for v in (0.08, 0.88):
        _quad(draw, item, -0.5, v, 0.5, v + 0.04, trim)
    for u in np.linspace(-0.22, 0.22, int(rng.integers(1, 4))):
        draw.line([_at(item, u, 0.2), _at(item, u, rng.uniform(0.5, 0.8))], fill=trim, width=max(1, int(item.w * 0.09)))
    draw.line([_at(item, 0.46, 0), _at(item, 0.46, 1)], fill=_shade(item.colour, 0.5), width=max(1, int(item.w * 0.06)))


def _bottle(draw: ImageDraw.ImageDraw, item: Item, rng: np.random.Generator) -> None:
    cap = rng.uniform(0.1, 0.2)
    neck = rng.uniform(0.14, 0.34)
    for k in range(8):  # light from the left: stripes from bright to dark
        u0, u1 = -0.42 + 0.84 * k / 8, -0.42 + 0.84 * (k + 1) / 8
        colour = _shade(item.colour, 1.25 - 0.75 * abs(k - 2.2) / 5.8)
        draw.polygon(
            [_at(item, u0, 0), _at(item, u1, 0), _at(item, u1, 1 - cap - 0.08), _at(item, u0, 1 - cap - 0.08)],
            fill=colour,
        )
    shoulder = [
        _at(item, -0.42, 0.92 - cap),
        _at(item, 0.42, 0.92 - cap),
        _at(item, neck, 1 - cap),
        _at(item, -neck, 1 - cap),
    ]
    draw.polygon(shoulder, fill=_shade(item.colour, 0.9))
    _quad(draw, item, -neck, 1 - cap, neck, 1, _shade((230, 230, 230), rng.uniform(0.2, 1.0)))
    _print(draw, item, rng, 0.42, 0.18, rng.uniform(0.45, 0.65))
    draw.line([_at(item, -0.42, 0), _at(item, -0.42, 0.92 - cap)], fill=_shade(item.colour, 0.45), width=1)
    draw.line([_at(item, 0.42, 0), _at(item, 0.42, 0.92 - cap)], fill=_shade(item.colour, 0.4), width=2)


def _bag(draw: ImageDraw.ImageDraw, item: Item, rng: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radii = rng.uniform(0.82, 1.0, 14)
    outline = [
        _at(item, 0.5 * r * math.cos(a), 0.5 + 0.5 * r * math.sin(a)) for a, r in zip(angles, radii, strict=True)
    ]
    draw.polygon(outline, fill=(*item.colour, 235), outline=_shade(item.colour, 0.5))
    for _ in range(9):  # creases that catch the light
        u, v = rng.uniform(-0.3, 0.2), rng.uniform(0.2, 0.75)
        end = _at(item, u + rng.uniform(-0.1, 0.15), v + rng.uniform(-0.12, 0.18))
        draw.line(
            [_at(item, u, v), end], fill=(250, 250, 250, int(rng.integers(60, 170))), width=max(1, int(item.w * 0.02))
        )
    if rng.random() < 0.5:
        _print(draw, item, rng, 0.2, 0.35, 0.6)


def _disc(draw: ImageDraw.ImageDraw, item: Item, rng: np.random.Generator) -> None:
    rim = rng.uniform(0.6, 0.85)
    for scale, tone in ((1.0, 0.65), (0.93, 1.0), (rim, 0.85), (rim - 0.06, 1.1)):
        ring = [
            _at(item, 0.5 * scale * math.cos(a), 0.5 + 0.5 * scale * math.sin(a)) for a in np.linspace(0, 2 * np.pi, 30)
        ]
        draw.polygon(ring, fill=_shade(item.colour, tone))
    if rng.random() < 0.6:
        _print(draw, item, rng, 0.22, 0.4, 0.6)
