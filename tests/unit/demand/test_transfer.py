"""What transfer does to a network, and the table that says what it is worth. Run: pytest tests/unit/demand/test_transfer.py"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from inventorybot.errors import SetupError
from ml.demand import classical, transfer
from ml.demand.mlp import INPUTS, Mlp, MlpConfig
from tests.unit.demand.makers import panel, poisson, promoted

NET = MlpConfig(width=32, steps=80, rows=3000, batch=256)
PROMOTION = INPUTS.index("promotion_last")


def test_an_input_that_the_base_never_knew_starts_without_effect_and_is_learnt() -> None:
    base = Mlp.fit(panel(poisson(20, 40)), 1, NET)
    units, flag = promoted(80)
    here = panel(units, promo=flag)
    quick = replace(NET, batch=128, lr=0.02)
    untouched, moved = base.transfer(here, 1, steps=0), base.transfer(here, 1, quick, steps=300)
    plain = base.predict(panel(units), 1)
    np.testing.assert_allclose(untouched.predict(here, 1), plain, rtol=1e-4)
    first, before = moved.net.lower[0].weight, base.net.lower[0].weight
    columns = torch.zeros(first.shape[1], dtype=torch.bool)
    columns[[PROMOTION, PROMOTION + len(INPUTS)]] = True
    assert torch.equal(first[:, ~columns], before[:, ~columns])
    assert first[:, columns].abs().sum() > 0
    last = flag[:, -1] > 0
    gain = moved.predict(here, 1)[:, 0] / plain[:, 0]
    assert gain[last].mean() > 1.5 * gain[~last].mean()


def test_fine_tuning_stops_where_it_does_not_help() -> None:
    # white noise about levels that the base has seen the like of: there is nothing to learn from eight more weeks of it
    base = Mlp.fit(panel(poisson(60, 60)), 2, MlpConfig(width=32, steps=300, rows=8000, batch=256))
    few = panel(poisson(4, 10, seed=9))
    chosen = base.transfer(few, 2).quantiles(few, 2)
    each = [base.transfer(few, 2, steps=n).quantiles(few, 2) for n in (0, 50, 150, 400)]
    assert any(np.array_equal(chosen, q) for q in each)


def test_only_the_given_periods_before_the_held_back_ones_are_seen() -> None:
    units = np.arange(30.0)[None].repeat(2, axis=0)
    units[1, :21] = np.nan  # known in four of ten given periods: too few
    past, actual = transfer.few(panel(units), 10, 5)
    assert past.units.tolist() == [[15.0, 16, 17, 18, 19, 20, 21, 22, 23, 24]]
    assert actual.tolist() == [[25.0, 26, 27, 28, 29]]
    assert past.periods.labels(0, 1) == ["15"]
    with pytest.raises(SetupError, match="too few for 28 given and 5 held back"):
        transfer.few(panel(units), 28, 5)


def test_the_table_has_every_way_and_the_verdict_says_who_lost() -> None:
    base = Mlp.fit(panel(poisson(20, 40)), 3, NET)
    found = transfer.table(panel(poisson(10, 30, seed=3)), base, 12, 3, seeds=(1,))
    assert set(found.index) >= {*classical.NAMES, transfer.TRANSFERRED, transfer.SCRATCH, transfer.UNTOUCHED}
    assert found["WAPE"].is_monotonic_increasing
    made = pd.DataFrame(
        {
            "WAPE": {
                **dict.fromkeys(classical.NAMES, 0.5),
                transfer.TRANSFERRED: 0.3,
                transfer.SCRATCH: 0.4,
                "moving average": 0.2,
            }
        }
    )
    said = transfer.verdict(made)
    assert "(WAPE 0.3000) beats the same MLP from scratch" in said
    assert "it does NOT beat the moving average" in said
