"""The belief that a record is wrong: by hand and by law. Numbers are from docs/adr/0004 or arithmetic shown here."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.variance import RIGHT, STATES, Costs, Look, MiscountPrior, judge
from inventorybot.errors import BadEvent, Code
from tests.unit.variance.looks import EVEN, THREE, adjusted, counted, look, moved, same, says, shows, sure

PRIOR = MiscountPrior(0.02)


def p_wrong(looks: list[Look], units: int, *changes: object, weight: float = 0.5) -> float:
    return judge(looks, says(units, *changes), PRIOR, weight).probability  # type: ignore[arg-type]


def test_before_looking_a_record_is_wrong_at_the_stated_rate_and_by_one_unit_most_often() -> None:
    belief = PRIOR.belief
    assert math.isclose(belief.sum(), 1.0)
    assert math.isclose(belief[RIGHT], 0.98)
    # 0.02 wrong × 0.9 near × half of them short × half of those by one unit (a geometric series cut off at 20)
    assert math.isclose(belief[RIGHT - 1], 0.0045, rel_tol=1e-5)
    assert math.isclose(belief[RIGHT + 2], 0.00225, rel_tol=1e-5)
    assert math.isclose(belief[0], 0.001)
    assert math.isclose(belief[-1], 0.001)


@pytest.mark.parametrize(("pictures", "by_hand"), [(1, 0.0956), (2, 0.3270), (3, 0.6949)])
def test_the_worked_example_three_pictures_say_3_where_the_record_says_4(pictures: int, by_hand: float) -> None:
    """By hand, to the four most probable states (docs/adr/0004).

    One picture: 0.98 × 0.8416 = 0.82477 right; 0.0045 × 18.721 = 0.08424 one short; 0.00225 × 1.2574 = 0.00283 two
    short; the rest 0.00012. P(wrong) = 0.08719 / 0.91196. Two weigh 1.5: 0.75663, 0.36451, 0.00317. Three weigh 2.
    """
    found = judge(same(THREE, range(pictures)), says(4), PRIOR, 0.5)
    assert found.probability == pytest.approx(by_hand, abs=1e-3)
    assert found.looks == pictures
    assert (found.recorded, found.estimate) == (4, 4 if pictures < 3 else 3)


def test_a_bin_seen_three_times_short_is_more_suspect_than_one_seen_once() -> None:
    assert p_wrong(same(THREE, [1, 2, 3]), 4) > p_wrong(same(THREE, [1]), 4)


def test_a_picture_that_agrees_with_the_record_makes_an_error_less_probable_than_before_looking() -> None:
    assert p_wrong([look(1, sure(4))], 4) < 0.02


def test_a_picture_that_says_nothing_leaves_the_prior_as_it_was() -> None:
    # every count as probable as it is common: likelihood 1 everywhere, but a bin of 4 cannot hold 5 too few or fewer
    impossible = 0.001 + 0.009 * (1 / 2**4 - 1 / 2**20) / (1 - 1 / 2**20)
    by_hand = (0.02 - impossible) / (1 - impossible)
    assert p_wrong([look(1, CountDistribution(EVEN))], 4) == pytest.approx(by_hand, abs=1e-9)


def test_the_frequencies_a_model_was_calibrated_under_are_taken_out() -> None:
    """A model that says 3 as often as 3 occurs has said nothing about 3."""
    common = CountDistribution.normalised([1, 1, 1, 10, *[1] * 17]).p
    assert Look.of(0, "i", CountDistribution(common), common).support == (0.0,) * 21


def test_a_count_that_calibration_never_saw_is_no_evidence_for_or_against_it() -> None:
    never_20 = CountDistribution.normalised([*[1] * 20, 0]).p
    assert Look.of(0, "i", shows(n3=1), never_20).support[20] == 0.0


def test_no_single_picture_claims_more_than_that_it_may_be_of_another_bin() -> None:
    assert min(look(0, shows(n3=1)).support) == pytest.approx(math.log(0.01), abs=1e-3)


def test_class_frequencies_that_are_no_distribution_are_refused() -> None:
    with pytest.raises(BadEvent) as refused:
        Look.of(0, "i", THREE, [0.1] * 21)
    assert (refused.value.code, refused.value.path) == (Code.OUT_OF_RANGE, "/data/prior")


def test_a_record_below_zero_is_certainly_wrong_whatever_the_picture_says() -> None:
    for units in (-1, -7, -25, -1000):
        for n in (0, 3, 20):
            found = judge([look(1, sure(n))], says(units), PRIOR, 0.5)
            assert found.probability == 1.0
            assert 0 <= found.estimate <= 20 or n == 20


def test_the_camera_cannot_tell_25_items_from_24_so_it_does_not_accuse_the_record() -> None:
    found = judge(same(shows(n20=1), [1, 2, 3]), says(25), PRIOR, 0.5)
    assert found.probability < 0.03
    assert found.estimate == 25


def test_a_record_of_50_over_a_bin_that_shows_three_is_found_though_no_near_miscount_explains_it() -> None:
    """Far too few: 0.001 × the mean likelihood of 0 … 20+, which is 1; right: 0.98 × 0.01^1.5. 0.001 / 0.00198."""
    found = judge(same(THREE, [1, 2]), says(50), PRIOR, 0.5)
    assert found.probability == pytest.approx(0.51, abs=0.01)
    assert found.estimate == 3


def test_a_record_of_nothing_over_a_full_bin_is_found() -> None:
    found = judge(same(shows(n20=1), [1, 2]), says(0), PRIOR, 0.5)
    assert found.probability > 0.9
    assert found.estimate >= 20


def test_the_miscount_outlives_a_movement_and_the_belief_in_it_fades_by_one_part_in_fifty() -> None:
    """4 on record and 3 seen, then two picked: 2 on record and 1 seen is the same miscount of one unit.

    By hand: the first look leaves 0.90438 right, 0.09238 one short, 0.00310 two short, 0.00013 elsewhere (see above).
    The movement: × 0.98, + 0.02 × prior: 0.90590, 0.09062, 0.00308. The second look sees the same likelihoods:
    0.76241, 1.69650, 0.00388: P(wrong) = 1.70038 / 2.46279.
    """
    later = look(20, shows(n0=0.06, n1=0.9, n2=0.04))
    assert p_wrong([look(1, THREE), later], 4, moved(10, -2)) == pytest.approx(0.6904, abs=2e-3)


def test_two_looks_with_a_movement_between_weigh_more_than_two_at_an_unchanged_bin() -> None:
    unchanged = p_wrong([look(1, THREE), look(20, THREE)], 4)
    assert p_wrong([look(1, THREE), look(20, THREE)], 4, moved(10, 2), moved(11, -2)) > unchanged


def test_the_record_is_what_it_was_at_capture_with_late_updates_in_their_place() -> None:
    record = says(4, moved(10, -1), moved(5, 3), counted(20, 6), moved(30, 2))
    assert [record.units(at) for at in (0, 5, 9, 10, 20, 29, 30)] == [4, 7, 7, 6, 6, 6, 8]
    assert record.movements(5, 20) == 2
    assert record.corrected_at == 20
    assert says(4, adjusted(7, -1)).corrected_at == 7
    assert says(4, moved(7, -1)).corrected_at is None


def test_a_cycle_count_sets_its_sku_and_leaves_the_others_of_the_bin() -> None:
    record = says(4)
    two = type(record)(0, {"X": 4, "Y": 5}, (counted(3, 1),))
    assert two.units(3) == 6


def test_an_alert_pays_from_the_ratio_of_the_costs_on() -> None:
    assert Costs(1.5, 5.0).threshold == pytest.approx(0.3)
    assert Costs(1.5, 5.0).resolve_below == pytest.approx(0.15)
    with pytest.raises(ValueError, match="recount"):
        Costs(5.0, 5.0)


distributions = (
    st.lists(st.floats(0.0, 1.0), min_size=21, max_size=21)
    .filter(lambda w: sum(w) > 1e-3)
    .map(CountDistribution.normalised)
)
pictures = st.lists(distributions, min_size=1, max_size=6)
units = st.integers(-30, 60)
weights = st.floats(0.05, 1.0)


@given(pictures, units, weights, st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), max_size=4))
def test_the_belief_is_always_a_distribution(
    ps: list[CountDistribution], recorded: int, weight: float, moves: list[tuple[int, int]]
) -> None:
    changes = [moved(10 * at + 5, by) for at, by in moves]
    found = judge([look(10 * i, p) for i, p in enumerate(ps)], says(recorded, *changes), PRIOR, weight)
    assert len(found.belief) == STATES
    assert all(0 <= b <= 1 for b in found.belief)
    assert math.isclose(sum(found.belief), 1.0, rel_tol=1e-9)
    assert found.probability == pytest.approx(1 - found.belief[RIGHT], abs=1e-12)
    assert found.estimate >= 0


@given(st.lists(distributions, min_size=2, max_size=4), units, weights)
def test_the_order_in_which_pictures_arrive_does_not_matter(
    ps: list[CountDistribution], recorded: int, weight: float
) -> None:
    looks = [look(10 * i, p) for i, p in enumerate(ps)]
    record = says(recorded, moved(15, 1))
    beliefs = {judge(list(some), record, PRIOR, weight) for some in itertools.permutations(looks)}
    assert len(beliefs) == 1


@given(distributions, st.integers(0, 30), weights)
def test_seeing_again_what_made_a_record_suspect_never_makes_it_less_so(
    p: CountDistribution, recorded: int, weight: float
) -> None:
    """Holds for a look that raised the belief: the log-odds of "wrong" are convex in the weight of the evidence.

    "Before" is the belief once it is known that a bin holds no fewer than no items.
    """
    before = p_wrong([look(0, CountDistribution(EVEN))], recorded)
    chances = [p_wrong(same(p, range(n)), recorded, weight=weight) for n in range(1, 7)]
    if chances[0] > before + 1e-9:
        assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(chances))


@given(pictures, st.integers(0, 20), st.floats(0.05, 0.95))
def test_at_an_unchanged_bin_looks_never_claim_more_than_if_they_shared_nothing(
    ps: list[CountDistribution], recorded: int, weight: float
) -> None:
    """The same p repeated: tempered belief lies between that of one look and that of all at full weight."""
    one, all_ = (p_wrong(same(ps[0], range(n)), recorded, weight=1.0) for n in (1, len(ps)))
    between = p_wrong(same(ps[0], range(len(ps))), recorded, weight=weight)
    before = p_wrong([look(0, CountDistribution(EVEN))], recorded)
    if one > before + 1e-9:
        assert one - 1e-9 <= between <= all_ + 1e-9
