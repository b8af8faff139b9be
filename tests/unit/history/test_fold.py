"""What a day leaves behind: the ledger's own law for levels, worked examples for the daily row.

Run: pytest tests/unit/history/test_fold.py.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from inventorybot.domain.ledger import fold
from ml.history.fold import DAY_US, FLOWS, fold_days
from tests.unit.history.worlds import DAY, NOTHING, frame, ledger_rows, move, random_moves


@pytest.mark.parametrize("seed", range(8))
def test_levels_at_each_days_end_are_those_of_the_ledgers_own_fold(seed: int) -> None:
    moves = random_moves(np.random.default_rng(seed), 400, days=5)
    levels = fold_days(moves, NOTHING, DAY, DAY + 4).levels.set_index(["site", "bin", "sku", "day"])["on_hand"]
    assert levels.index.is_unique
    for (site, bin_id), rows in ledger_rows(moves).items():
        for day in range(DAY, DAY + 5):
            midnight_ms = (day + 1) * DAY_US // 1000
            for sku, units in fold(rows, until=midnight_ms - 1).items():
                assert levels.get((site, bin_id, sku, day), 0) == units


def test_a_day_after_another_folds_to_what_both_fold_to_at_once() -> None:
    moves = random_moves(np.random.default_rng(3), 300, days=4)
    whole = fold_days(moves, NOTHING, DAY, DAY + 3)
    early = moves["at"] < (DAY + 2) * DAY_US
    begun = fold_days(moves[early], NOTHING, DAY, DAY + 1)
    left = begun.levels[begun.levels["day"] == DAY + 1]
    seen = begun.daily[begun.daily["day"] == DAY + 1][["site", "sku"]].assign(bin="", on_hand=0)
    opening = pd.concat([left, seen])[["site", "bin", "sku", "on_hand"]]
    rest = fold_days(moves[~early], opening, DAY + 2, DAY + 3)
    for name in ("levels", "daily"):
        table = getattr(whole, name)
        pd.testing.assert_frame_equal(
            getattr(rest, name), table[table["day"] >= DAY + 2].reset_index(drop=True), check_dtype=False
        )


def test_the_record_is_the_days_before_plus_all_that_was_booked() -> None:
    moves = random_moves(np.random.default_rng(5), 500, days=6)
    moves = moves[moves["kind"] != "transfer-in"]  # whose other half is not there
    daily = fold_days(moves, NOTHING, DAY, DAY + 5).daily
    booked = daily["received"] + daily["returned"] + daily["adjusted"] - daily["sold"] - daily["written_off"]
    assert (daily["recorded"] == booked.groupby([daily["site"], daily["sku"]]).cumsum()).all()
    assert (daily[["sold", "received", "returned", "written_off"]] >= 0).all().all()


def test_a_stock_out_from_noon_to_six_leaves_the_day_censored_and_three_quarters_in_stock() -> None:
    moves = frame(
        move("receipt", 0, 4), move("sale", 12, -4, revision=1), move("receipt", 18, 10, revision=2),
        move("receipt", 24 + 6, 1, revision=3),
    )  # fmt: skip
    daily = fold_days(moves, NOTHING, DAY, DAY + 1).daily
    assert daily["in_stock"].tolist() == [0.75, 1.0]
    assert daily["censored"].tolist() == [True, False]
    assert daily["sold"].tolist() == [4, 0]
    assert daily["recorded"].tolist() == [10, 11]


def test_nothing_sold_while_nothing_is_there_is_censored_and_so_is_a_record_below_zero() -> None:
    moves = frame(move("receipt", 1, 2), move("sale", 2, -3, revision=1))
    daily = fold_days(moves, NOTHING, DAY, DAY + 1).daily
    assert daily["recorded"].tolist() == [-1, -1]
    assert daily["in_stock"].tolist() == [pytest.approx(1 / 23), 0.0]  # of the 23 hours since it was first seen
    assert daily["censored"].tolist() == [True, True]


def test_a_cycle_count_corrects_and_movements_after_it_count_though_they_arrived_before() -> None:
    moves = frame(
        move("receipt", 8, 20, revision=1), move("sale", 14, -3, revision=2), move("cycle-count", 10, 15, revision=3),
        move("sale", 9, -1, revision=4),
    )  # fmt: skip  # 20 − 1 = 19 recorded at ten, 15 found: −4; then 3 sold
    row = fold_days(moves, NOTHING, DAY, DAY).daily.iloc[0]
    assert (row["sold"], row["adjusted"], row["counted"], row["recorded"]) == (4, -4, 15, 12)


def test_of_two_facts_of_one_moment_the_one_that_arrived_later_counts() -> None:
    count_last = frame(move("receipt", 8, 5, revision=1), move("cycle-count", 8, 2, revision=2))
    count_first = frame(move("receipt", 8, 5, revision=2), move("cycle-count", 8, 2, revision=1))
    assert fold_days(count_last, NOTHING, DAY, DAY).levels["on_hand"].tolist() == [2]
    assert fold_days(count_first, NOTHING, DAY, DAY).levels["on_hand"].tolist() == [7]


def test_what_only_moves_within_the_site_is_no_demand_and_a_pick_that_leaves_it_is() -> None:
    moves = frame(
        move("receipt", 1, 9, bin="DOCK"), move("put-away", 2, -9, bin="DOCK", to_bin="A", revision=1),
        move("transfer-in", 2, 9, bin="A", revision=2), move("pick", 3, -2, to_bin="PACK", revision=3),
        move("transfer-in", 3, 2, bin="PACK", revision=4), move("shipment", 4, -2, bin="PACK", revision=5),
        move("pick", 5, -1, revision=6),
    )  # fmt: skip
    folded = fold_days(moves, NOTHING, DAY, DAY)
    row = folded.daily.iloc[0]
    assert {name: row[name] for name in FLOWS} == {
        "sold": 3,
        "received": 9,
        "returned": 0,
        "written_off": 0,
        "adjusted": 0,
    }
    assert folded.levels[["bin", "on_hand"]].to_numpy().tolist() == [["A", 6], ["DOCK", 0], ["PACK", 0]]
    assert row["in_stock"] == 1.0  # also at the moment between the two halves of a transfer


def test_where_one_of_two_bins_is_counted_the_other_stands_as_recorded() -> None:
    moves = frame(
        move("receipt", 1, 5, bin="A"), move("receipt", 1, 7, bin="B", revision=1), move("cycle-count", 2, 4, bin="A", revision=2)
    )  # fmt: skip
    row = fold_days(moves, NOTHING, DAY, DAY).daily.iloc[0]
    assert (row["counted"], row["adjusted"]) == (11, -1)


def test_a_slot_has_a_row_every_day_since_it_was_first_seen_and_none_before() -> None:
    moves = frame(move("receipt", 1, 5), move("receipt", 49, 5, sku="y", revision=1), move("sale", 2, -5, revision=2))
    folded = fold_days(moves, NOTHING, DAY, DAY + 3)
    days = folded.daily.groupby("sku")["day"].apply(list)
    assert days["x"] == [DAY, DAY + 1, DAY + 2, DAY + 3]
    assert days["y"] == [DAY + 2, DAY + 3]
    assert folded.daily["counted"].isna().all()
    x = folded.levels[folded.levels["sku"] == "x"]
    assert x[["day", "on_hand"]].to_numpy().tolist() == [[DAY, 0]]  # empty, but it moved


def test_no_movement_at_all_folds_to_the_levels_as_they_were() -> None:
    opening = pd.DataFrame({"site": ["S"], "bin": ["A"], "sku": ["x"], "on_hand": [3]})
    folded = fold_days(frame(), opening, DAY, DAY)
    assert folded.levels["on_hand"].tolist() == [3]
    assert folded.daily[["recorded", "in_stock"]].to_numpy().tolist() == [[3, 1.0]]
    assert fold_days(frame(), NOTHING, DAY, DAY).daily.empty
