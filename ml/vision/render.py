"""Draws pictures of bins whose number of items is known exactly, in the look of the Amazon Bin Image Dataset.

In: how many items of each SKU a bin holds, and a random generator. Out: a JPEG, and the same bin's ABID metadata.
For demonstrations, tests and a small share of the training data, where a true count is needed and a real picture is
not to be had. A person can count most of them; overlap, bands, blur and noise make some hard, as in a warehouse.

Run: python -c "from ml.vision.render import write_bins; write_bins('/tmp/bins.zip', 200, seed=7)"
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ml.vision.render_items import KINDS, Item, draw_item

FIRST_ID = 1_000_001
"""Rendered bins are numbered from here: the public data set ends at 536434, so the two never collide."""

Pixels = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class RenderedBin:
    """One bin: its picture (JPEG) and its record, `(asin, quantity)` for each SKU; the quantities are the truth."""

    jpeg: bytes
    lines: tuple[tuple[str, int], ...]

    @property
    def quantity(self) -> int:
        return sum(n for _, n in self.lines)

    def metadata(self) -> dict[str, object]:
        """The record in the layout of an ABID `metadata/ID.json`."""
        entries = {
            asin: {
                "asin": asin,
                "name": f"Rendered item {asin}",
                "normalizedName": f"Rendered item {asin}",
                "quantity": n,
            }
            for asin, n in self.lines
        }
        return {"BIN_FCSKU_DATA": entries, "EXPECTED_QUANTITY": self.quantity}


def render_bin(count: int, rng: np.random.Generator, *, px: int = 320, quality: int = 88) -> RenderedBin:
    """One bin that holds `count` items, split at random over up to five SKUs.

    Args:
        count: items, 0..40.
        rng: every choice comes from it: the same state gives the same bytes (with the same Pillow).
        px: width and height of the picture.
        quality: JPEG quality, 1..95.
    Raises: ValueError: `count` is outside 0..40.
    """
    if not 0 <= count <= 40:
        raise ValueError(f"a rendered bin holds 0..40 items, not {count}")
    lines: list[tuple[str, int]] = []
    left = count
    while left:
        n = left if len(lines) == 4 else int(rng.integers(1, left + 1))
        lines.append((f"R{int(rng.integers(0, 10**9)):09d}", n))
        left -= n
    return RenderedBin(draw_bin([n for _, n in lines], rng, px=px, quality=quality), tuple(lines))


def draw_bin(quantities: Sequence[int], rng: np.random.Generator, *, px: int = 320, quality: int = 88) -> bytes:
    """The picture, as JPEG, of a bin holding `quantities[i]` items of its i-th SKU (items of one SKU look alike)."""
    big = px * 3 // 2  # drawn larger, then reduced: smooth edges
    picture = _bin(big, rng)
    draw = ImageDraw.Draw(picture, "RGBA")
    for item in _arrange(quantities, big, rng):
        draw_item(draw, item)
    _front(picture, big, rng)
    if rng.random() < 0.9:
        for _ in range(int(rng.integers(1, 4))):
            _band(draw, big, rng)
    picture = _camera(picture.resize((px, px), Image.Resampling.BOX), rng)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _bin(px: int, rng: np.random.Generator) -> Image.Image:
    """An empty bin: yellowish fabric walls going back to a darker rear wall, grey floor."""
    yellow = np.array([205, 180, 105]) + rng.integers(-12, 12, 3)
    rear = (np.array([135, 118, 78]) + rng.integers(-14, 14, 3) + rng.integers(-30, 20)).tolist()
    picture = Image.new("RGB", (px, px), tuple(yellow.tolist()))
    draw = ImageDraw.Draw(picture)
    left, right = px * rng.uniform(0.03, 0.08), px * rng.uniform(0.92, 0.97)
    top, floor = px * rng.uniform(0.10, 0.16), px * rng.uniform(0.66, 0.74)
    draw.rectangle((left, top, right, floor), fill=tuple(rear))
    floor_colour = (np.array([120, 118, 108]) + rng.integers(-20, 20, 3)).tolist()
    draw.polygon([(left, floor), (right, floor), (px, px), (0, px)], fill=tuple(floor_colour))
    for _ in range(int(rng.integers(2, 6))):  # folds of the fabric
        x = float(rng.uniform(left, right))
        shade = tuple(int(c * rng.uniform(0.85, 1.08)) for c in rear)
        draw.line([(x, top), (x + px * rng.uniform(-0.05, 0.05), floor)], fill=shade, width=int(rng.integers(2, 9)))
    return picture


def _paint(rng: np.random.Generator) -> tuple[int, int, int]:
    """The colour of a SKU: mostly muted, as cardboard and print are, now and then bright."""
    colour = rng.uniform(25, 235, 3)
    r, g, b = colour + (colour.mean() - colour) * rng.uniform(0.1, 0.85)  # towards grey
    return int(r), int(g), int(b)


def _arrange(quantities: Sequence[int], px: int, rng: np.random.Generator) -> Iterator[Item]:
    """Places for every item, from the back of the bin to the front: in rows, each with its part left uncovered."""
    skus = [(KINDS[int(rng.integers(len(KINDS)))], _paint(rng), int(rng.integers(2**31))) for _ in quantities]
    items = [i for i, n in enumerate(quantities) for _ in range(n)]
    if rng.random() < 0.35:
        rng.shuffle(items)  # a random stow; otherwise items of one SKU stand together
    rows = max(1, int(np.ceil(len(items) / rng.integers(4, 8))))
    of_row = np.array_split(np.array(items, dtype=int), rows)
    for r, row in enumerate(of_row):
        depth = 0.0 if rows == 1 else 1.0 - r / (rows - 1)  # 1 at the back, 0 in front
        base = px * (0.90 - 0.42 * depth * min(1.0, 0.45 + 0.2 * rows))
        pitch = px * 0.84 / max(len(row), int(rng.integers(2, 5)))
        start = px * 0.08 + (px * 0.84 - pitch * len(row)) * rng.uniform(0, 1)
        tall = px * rng.uniform(0.30, 0.52) / (0.62 + 0.28 * rows)
        for j, sku in enumerate(row):
            kind, colour, look = skus[sku]
            size = np.random.default_rng(look).uniform((0.72, 0.75), (1.0, 1.1))  # the same for the whole SKU
            x = start + pitch * (j + 0.5) + px * rng.normal(0, 0.008)
            y = base + px * rng.normal(0, 0.008)
            yield Item(
                kind, colour, look, x, y, pitch * size[0], max(tall * size[1], px * 0.10), float(rng.normal(0, 2.5))
            )


def _front(picture: Image.Image, px: int, rng: np.random.Generator) -> None:
    """The hem in front of the bin with its name plate, and the hem of the bin above."""
    draw = ImageDraw.Draw(picture)
    hem = (np.array([215, 190, 110]) + rng.integers(-20, 20, 3)).tolist()
    sag = px * rng.uniform(0.0, 0.03)
    edge = [(x, px * 0.93 + sag * np.sin(np.pi * x / px)) for x in np.linspace(0, px, 12)]
    draw.polygon([*edge, (px, px), (0, px)], fill=tuple(hem))
    draw.polygon(
        [(0, 0), (px, 0), *((x, px * 0.07 + sag * np.sin(np.pi * x / px)) for x in np.linspace(px, 0, 12))],
        fill=tuple(hem),
    )
    name = f"{rng.integers(1, 5)}{'ABCDEFGHIJ'[int(rng.integers(10))]}"
    x, y = px * rng.uniform(0.25, 0.55), px * 0.925
    plate = [(214, 92, 88), (235, 140, 60), (60, 70, 120), (240, 240, 235)][int(rng.integers(4))]
    draw.rectangle((x, y, x + px * 0.26, px), fill=plate)
    draw.text((x + px * 0.02, y), name, fill=(20, 20, 20), font=ImageFont.load_default(px * 0.07))
    cell = px * 0.009
    for i, on in enumerate(rng.random(49) < 0.5):  # stands for the QR code
        if on:
            cx, cy = x + px * 0.16 + cell * (i % 7), y + px * 0.008 + cell * (i // 7)
            draw.rectangle((cx, cy, cx + cell, cy + cell), fill=(15, 15, 15))


def _band(draw: ImageDraw.ImageDraw, px: int, rng: np.random.Generator) -> None:
    """One elastic band across the bin: many thin, half transparent, slightly slanted lines."""
    y, height = px * rng.uniform(0.12, 0.78), px * rng.uniform(0.06, 0.2)
    slant = px * rng.normal(0, 0.03)
    alpha = int(rng.integers(50, 150))
    draw.polygon([(0, y), (px, y + slant), (px, y + slant + height), (0, y + height)], fill=(205, 200, 185, alpha // 3))
    step = px * rng.uniform(0.010, 0.016)
    for k in range(int(height / step)):
        grey = int(rng.integers(170, 235))
        top = y + k * step
        draw.line([(0, top), (px, top + slant)], fill=(grey, grey, grey - 12, alpha), width=max(1, int(step * 0.45)))


def _camera(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What the camera adds: uneven light, a colour cast, exposure, blur, sensor noise."""
    radius = abs(rng.normal(0, 0.5)) + (rng.uniform(1.0, 2.2) if rng.random() < 0.06 else 0.0)
    light: Pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255  # (px, px, 3)
    px = light.shape[0]
    y, x = np.mgrid[-1 : 1 : px * 1j, -1 : 1 : px * 1j].astype(np.float32)
    shade = 1 + rng.normal(0, 0.12) * x + rng.normal(0, 0.12) * y - rng.uniform(0, 0.25) * (x * x + y * y) / 2
    cast = rng.normal(1, 0.025, 3).astype(np.float32)
    light = np.clip(light * shade[..., None] * cast * rng.uniform(0.65, 1.15), 0, 1) ** rng.uniform(0.85, 1.2)
    light = light + rng.normal(0, rng.uniform(0.004, 0.025), light.shape)
    return Image.fromarray((np.clip(light, 0, 1) * 255).astype(np.uint8))


def render_bins(
    n: int, seed: int, *, counts: Sequence[int] | None = None, px: int = 320
) -> Iterator[tuple[str, RenderedBin]]:
    """`n` numbered bins, `(id, bin)`; each depends on `seed` and its own number only.

    Args:
        n: how many.
        seed: same seed, same bins; different seeds never share one.
        counts: items of each bin; without it uniform over 0..24.
    """
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        count = int(rng.integers(0, 25)) if counts is None else counts[i]
        yield str(FIRST_ID + i), render_bin(count, rng, px=px)


def write_bins(target: str | Path, n: int, seed: int, *, counts: Sequence[int] | None = None, px: int = 320) -> Path:
    """Writes `n` rendered bins in the ABID layout to a folder, or to a zip where `target` ends in `.zip`."""
    target = Path(target)
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for bin_id, it in render_bins(n, seed, counts=counts, px=px):
                archive.writestr(f"bin-images/{bin_id}.jpg", it.jpeg)
                archive.writestr(f"metadata/{bin_id}.json", json.dumps(it.metadata()))
        return target
    for folder in ("bin-images", "metadata"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for bin_id, it in render_bins(n, seed, counts=counts, px=px):
        (target / "bin-images" / f"{bin_id}.jpg").write_bytes(it.jpeg)
        (target / "metadata" / f"{bin_id}.json").write_text(json.dumps(it.metadata()))
    return target
