"""Which site serves an order: cases worked out by hand, and the exact negative binomial for the approximations.

Run: pytest tests/unit/planning/test_fulfilment.py
"""

from __future__ import annotations

import pytest
import torch
from scipy.stats import nbinom
from torch import Tensor

from ml.planning.fulfilment import Remaining, gains, kept, opportunity, protection, serve, still_to_come, survival


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def nothing_to_come(sites: int, rows: int = 1) -> Remaining:
    zero = torch.zeros(rows, sites, dtype=torch.float64)
    return Remaining(mean=zero, variance=zero, earns=zero + 10.0, worth=zero + 1.0)


def order(stock: Tensor, gain: Tensor, rest: Remaining, units: float = 1.0, home: int = 0) -> dict[int, float]:
    """Serve `units` of one cell; base 10. Returns units by site."""
    served = serve(stock[None], t(units)[None], t(10.0), gain[None], torch.tensor([home]), rest)
    return {int(j): float(u) for j, u in zip(served.site, served.units, strict=True) if u > 0}


def test_an_order_comes_from_the_site_that_earns_most() -> None:
    assert order(t(5, 5, 5), t(-3, -1, -2), nothing_to_come(3)) == {1: 1.0}


def test_what_the_best_site_lacks_comes_from_the_next_and_the_rest_is_lost() -> None:
    assert order(t(2, 1), t(-1, -3), nothing_to_come(2), units=5.0) == {0: 2.0, 1: 1.0}


def test_a_promise_is_missed_after_the_cut_off_and_the_later_site_serves() -> None:
    # delivery takes 10 h of 24 promised; a: cut-off 12, last mile 1; b: cut-off 18, last mile 2; a kept promise is worth 5
    hours, cost, cutoff = torch.full((2, 1), 10.0, dtype=torch.float64), t(1, 2)[:, None], t(12, 18)
    chosen = {}
    for hour in (11.0, 13.0, 19.0):
        gain = gains(hours, cost, t(24.0), t(5.0), cutoff, hour)[0]
        chosen[hour] = (gain.tolist(), order(t(9, 9), gain, nothing_to_come(2)))
    assert chosen[11.0] == ([4.0, 3.0], {0: 1.0})
    assert chosen[13.0] == ([-1.0, 3.0], {1: 1.0})
    assert chosen[19.0] == ([-1.0, -2.0], {0: 1.0})  # late from either: the cheaper


def test_two_days_promised_are_kept_even_after_the_cut_off() -> None:
    hours = t(10.0)[:, None]
    assert kept(hours, t(24.0, 48.0), t(12.0), 13.0).tolist() == [[[False, True]]]  # 34 h


def test_a_site_that_does_not_deliver_there_never_serves() -> None:
    gain = gains(t(5, 5)[:, None], t(float("inf"), 9)[:, None], t(24.0), t(0.0), t(24, 24), 9.0)[0]
    assert order(t(5, 0), gain, nothing_to_come(2), home=1) == {}


def test_an_order_that_earns_less_than_a_unit_left_over_is_lost() -> None:
    assert order(t(5), t(-9.5), nothing_to_come(1)) == {}  # 10 - 9.5 < 1


def test_the_last_units_are_kept_for_home_orders_that_are_sure_to_come() -> None:
    # 100 home orders to come, 10 units: the last is worth 10; an order from elsewhere earns 8, one at home 9
    rest = Remaining(t(0, 100)[None], t(0, 100)[None], t(10, 10)[None], t(1, 1)[None])
    assert order(t(0, 10), t(-2, -2), rest, home=0) == {}
    assert order(t(0, 10), t(-2, -1), rest, home=1) == {1: 1.0}
    assert order(t(0, 10), t(-2, -2), nothing_to_come(2), home=0) == {1: 1.0}


def test_an_order_may_take_units_down_to_the_protection_level() -> None:
    # mean 100, variance 100 (Poisson-like): P(D >= s) <= 0.5 first at s = 101 or next to it; ratio (5.5 - 1) / (10 - 1) = 0.5
    rest = Remaining(t(0, 100)[None], t(0, 100)[None], t(10, 10)[None], t(1, 1)[None])
    taken = order(t(0, 150), t(-4.5, -4.5), rest, units=1_000.0, home=0)[1]
    assert taken == pytest.approx(150 - 100, abs=1)


def test_home_orders_go_first_on_a_short_shelf() -> None:
    # cell 0 comes first in the list, but site 0 is home to cell 1
    gain = torch.tensor([[-2.0, -9.9], [-1.0, -9.9]], dtype=torch.float64)
    served = serve(t(3, 0)[None], t(3, 3)[None], t(10.0), gain, torch.tensor([1, 0]), nothing_to_come(2))
    assert {int(c): float(u) for c, u in zip(served.cell, served.units, strict=True) if u > 0} == {1: 3.0}


@pytest.mark.parametrize("seed", range(5))
def test_no_site_gives_more_than_it_has_and_no_cell_gets_more_than_it_ordered(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    stock = torch.randint(0, 6, (50, 4), generator=draw).double()
    orders = torch.randint(0, 4, (50, 6), generator=draw).double()
    gain = -5 * torch.rand(6, 4, generator=draw).double()
    mean = 5 * torch.rand(50, 4, generator=draw).double()
    rest = Remaining(mean, 2 * mean, torch.full((50, 4), 9.0).double(), torch.full((50, 4), 2.0).double())
    served = serve(stock, orders, torch.full((50,), 10.0).double(), gain, torch.arange(6) % 4, rest)
    given = torch.zeros(50, 6, 4, dtype=torch.float64)
    given.index_put_((served.row, served.cell, served.site), served.units, accumulate=True)
    assert bool((given.sum(1) <= stock).all())
    assert bool((given.sum(2) <= orders).all())
    assert bool((served.units == served.units.floor()).all())
    assert float(given.sum()) > 0


@pytest.mark.parametrize(("mean", "variance"), [(2.0, 5.0), (10.0, 30.0), (100.0, 900.0), (1_000.0, 1e5)])
def test_survival_and_protection_are_near_the_negative_binomials(mean: float, variance: float) -> None:
    shape = mean * mean / (variance - mean)
    chance = shape / (shape + mean)
    for units in (1, round(mean), round(mean + variance**0.5)):
        exact = nbinom.sf(units - 1, shape, chance)
        assert float(survival(t(units), t(mean), t(variance))) == pytest.approx(exact, abs=0.03)
    for ratio in (0.1, 0.5, 0.9):
        exact = nbinom.isf(ratio, shape, chance)  # smallest s with P(D >= s + 1) <= ratio
        assert float(protection(t(ratio), t(mean), t(variance))) == pytest.approx(exact, abs=1.0)


def test_a_unit_with_half_a_chance_to_sell_is_worth_the_middle() -> None:
    # 1 + P(D >= s) (11 - 1), P = 1 without stock and 0 with nothing to come
    rest = Remaining(t(50, 0)[None], t(50, 0)[None], t(11, 11)[None], t(1, 1)[None])
    assert opportunity(t(0, 5)[None], rest).tolist() == [[11.0, 1.0]]
    assert float(opportunity(t(50, 5)[None], rest)[0, 0]) == pytest.approx(6.0, abs=0.5)


def test_what_is_still_to_come_follows_what_came() -> None:
    # k = 8² / (24 - 8) = 4; rate (4 + 10) / (4 / 8 + 0.5) = 14; half of it is to come: 7, variance 7 + 7² / 14
    mean, variance = still_to_come(t(8.0), t(24.0), 0.5, t(10.0))
    assert (float(mean), float(variance)) == (pytest.approx(7.0), pytest.approx(10.5))
