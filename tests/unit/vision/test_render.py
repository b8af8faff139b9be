"""Drawn bins. Run: pytest tests/unit/vision/test_render.py"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.vision.data import read_bins
from ml.vision.render import FIRST_ID, render_bin, render_bins, write_bins


def test_the_same_seed_draws_the_same_bytes_and_another_seed_draws_others() -> None:
    first, again, other = (render_bin(4, np.random.default_rng(s)).jpeg for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("count", [0, 1, 7, 20, 40])
def test_the_record_of_a_drawn_bin_sums_to_the_items_drawn(count: int) -> None:
    it = render_bin(count, np.random.default_rng(count))
    assert it.quantity == count
    assert sum(line["quantity"] for line in it.metadata()["BIN_FCSKU_DATA"].values()) == count  # type: ignore[attr-defined]
    assert Image.open(io.BytesIO(it.jpeg)).size == (320, 320)


@pytest.mark.parametrize("count", [-1, 41])
def test_a_bin_that_cannot_be_drawn_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.40"):
        render_bin(count, np.random.default_rng(1))


def test_an_empty_bin_and_a_full_one_look_different() -> None:
    def edges(count: int) -> float:
        pixels = np.asarray(
            Image.open(io.BytesIO(render_bin(count, np.random.default_rng(5)).jpeg)).convert("L"), float
        )
        inside = pixels[130:230, 60:260]
        return float(np.abs(np.diff(inside, axis=1)).mean())

    assert edges(18) > 1.5 * edges(0)


def test_each_drawn_bin_depends_on_the_seed_and_its_own_number_only() -> None:
    three, five = list(render_bins(3, seed=9, px=64)), list(render_bins(5, seed=9, px=64))
    assert three == five[:3]


@pytest.mark.parametrize("name", ["bins.zip", "bins"])
def test_drawn_bins_are_written_in_the_layout_that_is_read(tmp_path: Path, name: str) -> None:
    bins = read_bins([write_bins(tmp_path / name, 4, seed=1, counts=[0, 2, 20, 33], px=64)])
    assert [b.id for b in bins] == [str(FIRST_ID + i) for i in range(4)]
    assert [b.quantity for b in bins] == [0, 2, 20, 33]
    assert [b.label for b in bins] == [0, 2, 20, 20]
    assert all(b.jpeg().startswith(b"\xff\xd8") for b in bins)
