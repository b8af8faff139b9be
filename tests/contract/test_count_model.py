"""What every count model must do, run over the released one and over the fake."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inventorybot.adapters.count_model import load
from inventorybot.adapters.memory.vision import MemoryCountModel
from inventorybot.adapters.registry import packaged
from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import BadEvent, Code
from ml.vision.render import render_bin

Picture = Callable[[int], bytes]


@pytest.fixture(params=["memory", "released"], scope="module")
def model(request: pytest.FixtureRequest) -> tuple[Any, Picture]:
    """A model, and how to make a picture of so many items for it."""
    if request.param == "memory":
        return MemoryCountModel("v1"), lambda n: str(n).encode()
    return load(packaged("count").path, "cpu"), lambda n: render_bin(n, np.random.default_rng([7, n])).jpeg


def test_every_picture_gets_one_distribution_in_order(model: tuple[Any, Picture]) -> None:
    counter, picture = model
    empty, full = counter.score([picture(0), picture(20)])
    assert isinstance(empty, CountDistribution)
    assert isinstance(full, CountDistribution)
    assert empty.count < full.count


def test_a_bad_picture_is_refused_and_its_neighbours_are_counted_as_without_it(model: tuple[Any, Picture]) -> None:
    counter, picture = model
    alone = counter.score([picture(3)])[0]
    before, empty, broken, after = counter.score([picture(3), b"", b"no picture at all", picture(3)])
    assert before.p == pytest.approx(alone.p, abs=1e-4)
    assert after.p == pytest.approx(alone.p, abs=1e-4)
    for refused, code in ((empty, Code.IMAGE_EMPTY), (broken, Code.IMAGE_CORRUPT)):
        assert isinstance(refused, BadEvent)
        assert (refused.code, refused.path) == (code, "/image")


def test_no_pictures_get_no_answers(model: tuple[Any, Picture]) -> None:
    assert model[0].score([]) == []


def test_it_says_which_release_it_is_and_under_which_class_frequencies_it_is_calibrated(
    model: tuple[Any, Picture],
) -> None:
    counter = model[0]
    assert (counter.name, bool(counter.version)) == ("count", True)
    assert len(counter.class_prior) == MAX_COUNT + 1
    assert math.isclose(math.fsum(counter.class_prior), 1, abs_tol=1e-6)
    assert min(counter.class_prior) > 0, "the likelihood of a count is p divided by this"
