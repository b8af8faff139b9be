"""The simulation by hand, and the back-test on made sales: no future, common demand, honest intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inventorybot.errors import SetupError
from ml.demand.forecaster import Config
from ml.restock import accounts, backtest, report
from ml.restock.backtest import Setting, estimated_dependence
from ml.restock.policy import Terms
from ml.restock.simulate import Store
from tests.unit.demand import makers

QUICK = Config(use_trees=False, use_mlp=False, folds=2)
TERMS = Terms(((7, 0.5), (14, 0.5)), shortage_cost=0.5)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_lost_sales_and_arrivals_by_hand() -> None:
    """5 on hand; 4 ordered, due in 2 periods; demand 3, 3, 3: 2 left, then 1 lost, then 4 arrive and 1 is left."""
    store = Store(ints(5), 3, 2, None)
    store.order(0, ints(4), ints(2), scored=True)
    assert store.position(0).tolist() == [9]
    for t in range(3):
        store.arrive(t)
        store.serve(ints(3), scored=True)
    sums = {k: int(v[0]) for k, v in store.tally.sums.items()}
    assert sums == {"demand": 9, "lost": 1, "held": 3, "wasted": 0, "ordered": 4, "orders": 1, "out": 1, "periods": 3}


def test_the_oldest_units_are_sold_first_and_what_is_too_old_is_thrown_away() -> None:
    """Units keep 2 periods: 5 fresh, 1 sold; 3 more come at once, 2 old ones are sold, the other 2 are thrown away."""
    store = Store(ints(5), 3, 0, 2)
    store.serve(ints(1), scored=True)
    store.order(1, ints(3), ints(0), scored=True)
    store.serve(ints(2), scored=True)
    assert (int(store.tally.sums["wasted"][0]), store.position(1).tolist()) == (2, [3])


def test_dependence_is_found_again_in_what_was_drawn_with_it() -> None:
    rng = np.random.default_rng(3)
    quantiles = np.tile([60.0, 86.0, 100.0, 114.0, 140.0], (800, 4, 1))
    for r in (0.0, 0.4):
        z = np.sqrt(r) * rng.standard_normal((800, 1)) + np.sqrt(1 - r) * rng.standard_normal((800, 4))
        assert estimated_dependence(quantiles, np.round(100 + 24 * z)) == pytest.approx(r, abs=0.08)


@pytest.fixture(scope="module")
def result() -> backtest.Result:
    """60 series of 80 weeks whose level doubles in the last third: what was fixed long ago no longer fits."""
    units = makers.poisson(60, 80, seed=5, mean=8.0)
    units[:, 50:] = np.random.default_rng(6).poisson(2 * units[:, 50:])
    panel = makers.panel(units)
    return backtest.run(panel, Setting(TERMS, 14, (0.8, 0.95), 0.5), config=QUICK)


def test_every_policy_meets_the_same_demand(result: backtest.Result) -> None:
    first, *others = [sums["demand"] for sums in result.sums.values()]
    assert first.sum() > 0
    for other in others:
        assert (other == first).all()


def test_a_higher_target_serves_more_and_holds_more(result: backtest.Result) -> None:
    for policy in backtest.POLICIES:
        low, high = (accounts.table(result, t)[policy] for t in (0.8, 0.95))
        assert high["fill rate"] >= low["fill rate"]
        assert high["stock held"] > low["stock held"]


def test_a_forecast_that_saw_the_rise_serves_better_than_parameters_from_before(result: backtest.Result) -> None:
    middle, low, high = accounts.differences(result, 0.95)["fixed, normal"]["fill rate"]
    assert low <= middle <= high
    assert low > 0


def test_at_equal_service_stocks_are_compared_where_both_were_tried(result: backtest.Result) -> None:
    for policy, share in accounts.equal_stock(result, 0.95).items():
        fills = [accounts.table(result, t)["forecast"]["fill rate"] for t in (0.8, 0.95)]
        inside = fills[0] <= accounts.table(result, 0.95)[policy]["fill rate"] <= fills[1]
        assert (0.2 < share < 5) if inside else np.isnan(share)


def test_the_report_shows_every_figure_and_its_interval(result: backtest.Result, tmp_path: Path) -> None:
    page = report.write(result, tmp_path, "Made sales").read_text(encoding="utf-8")
    for words in ("<svg", *accounts.FIGURES, *backtest.POLICIES, "95 % intervals", "60 series"):
        assert words in page
    assert len((tmp_path / "figures.csv").read_text().splitlines()) == 1 + 2 * 3
    assert report.lines(result)[0].startswith("policy")


@pytest.mark.parametrize(
    ("horizon", "terms", "words"),
    [(36, TERMS, "too few to hold 36 back"), (5, TERMS, "too short for these lead times"), (12, Terms(((10, 1.0),)), "whole periods")],
)  # fmt: skip
def test_a_back_test_that_cannot_be_is_refused(horizon: int, terms: Terms, words: str) -> None:
    panel = makers.panel(makers.poisson(4, 40))
    with pytest.raises(SetupError, match=words):
        backtest.run(panel, Setting(terms, horizon, (0.95,), 0.5), config=QUICK)
