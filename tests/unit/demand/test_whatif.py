"""What a price would do, on sales made with a known elasticity. Run: pytest tests/unit/demand/test_whatif.py"""

from __future__ import annotations

import numpy as np
import pytest

from inventorybot.errors import SetupError
from ml.demand import hierarchy, whatif
from ml.demand.panel import Panel
from tests.unit.demand.makers import panel


def priced(elasticity: float = -2.0) -> Panel:
    rng = np.random.default_rng(1)
    price = np.where(rng.random((4, 80)) < 0.2, 1.5, 2.0)
    units = 400 * (price / 2) ** elasticity * np.exp(rng.normal(0, 0.05, (4, 80)))
    return panel(units, price=price)


def test_the_elasticity_that_made_the_sales_is_found_again() -> None:
    found = whatif.elasticities(priced())
    for e in found.item.values():
        assert e == pytest.approx(-2.0, abs=0.1)


def test_half_a_price_at_elasticity_minus_two_sells_four_times_as_much_in_its_periods_only() -> None:
    p = priced()
    p.covariates["price"][:, :5] = 1.0  # a half price was once charged
    learnt = whatif.Elasticities({"i1": -2.0}, {"i1": 0.1}, -2.0)
    plan = whatif.parse("item=i1,store=s0,from=81,to=82,price=1")
    found = whatif.change(p, np.full((4, 4), 10.0, np.float32), plan, learnt)
    assert found[1].tolist() == [10.0, 40.0, 40.0, 10.0]
    assert found[0].tolist() == [10.0] * 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("item=i1,from=81,to=82", "'price' is missing"),
        ("item=i1,from=81,to=82,price=free", "not a number above zero"),
        ("item=nix,from=81,to=82,price=2", "there is no item nix"),
        ("item=i1,from=70,to=82,price=2", "not within the forecast"),
        ("item=i1,from=81,to=82,price=40", "far from what item i1 cost"),
    ],
)
def test_a_change_that_cannot_be_judged_is_refused_in_words(text: str, why: str) -> None:
    p = priced()
    with pytest.raises(SetupError, match=why):
        whatif.change(p, np.ones((4, 4), np.float32), whatif.parse(text), whatif.elasticities(p))


def test_where_no_price_varied_nothing_is_claimed() -> None:
    flat = panel(np.full((2, 40), 5.0), price=np.full((2, 40), 3.0))
    with pytest.raises(SetupError, match="no price in the table has varied"):
        whatif.elasticities(flat)
    with pytest.raises(SetupError, match="has no prices"):
        whatif.elasticities(panel(np.full((2, 40), 5.0)))


def test_sums_are_the_sums_of_their_series_after_reconciling() -> None:
    rng = np.random.default_rng(1)
    p = panel(rng.poisson(9, (6, 30)).astype(np.float64))
    p = Panel(np.array(["a"] * 3 + ["b"] * 3), np.array(list("xyz") * 2), p.category, p.periods, p.units)
    h = hierarchy.build(p)
    assert h.level == ["total", "store", "store", "item", "item", "item"]
    bottom, errors = rng.uniform(5, 15, (6, 4)), rng.normal(0, 1, (12, 20))
    sums, series = hierarchy.reconcile(h, bottom, h.sums(bottom) * 1.1, errors)
    np.testing.assert_allclose(sums, h.sums(series), rtol=1e-6)
    # sums that were forecast a tenth higher pull the series up, by less than all of it
    assert bottom.sum() < series.sum() < 1.1 * bottom.sum()
