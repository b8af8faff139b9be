"""What in the ledger's own story makes a record suspect: one number a slot, day and feature.

In: `Story` (day-level tables), nothing of the truth. Out: {name: matrix (S, D)}; a feature on day t is made of days ≤ t alone.
The definitions are plain column logic over day-level tables: arithmetic, `either`, and the operations of windows.py, each of which is
one Spark column expression; translated line by line they give the same numbers.

"Shown" is the stock that the record showed for a day's sales: the evening before, and what was received. Days without are no
evidence: nobody can sell what is not there. "Usual" looks at the past before the event it judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.anomaly.story import Flags, Matrix, Story
from ml.anomaly.windows import Windows, either, number

TEXT: dict[str, str] = {
    "run_days": "days in a row without a sale while the record showed stock",
    "run_expected": "sales expected in the current run without any (−log of its Poisson probability)",
    "run_lumpy": "sales missed in the current run, allowing for lumpy demand (−log of its negative binomial probability)",
    "run_spread": "−log probability of the run by the slot's own spread of daily sales (negative binomial)",
    "run_before": "sales in the current run by the average of 28 to 118 days ago",
    "run_bernoulli": "−log probability of the run if each day sells as often as before",
    "run_ratio": "current run without sales against the longest of the half year before it",
    "gap_7": "sales of 7 days against expectation, in standard deviations",
    "gap_14": "sales of 14 days against expectation, in standard deviations",
    "gap_28": "sales of 28 days against expectation, in standard deviations",
    "gap_91": "sales of 91 days against expectation, in standard deviations",
    "trend_14": "sales of 14 days against those of 28 to 118 days ago (log ratio)",
    "trend_28": "sales of 28 days against those of 28 to 118 days ago (log ratio)",
    "since_sale": "days since the last sale",
    "since_receipt": "days since the last receipt",
    "since_count": "days since the last cycle count",
    "cover": "days of cover that the record shows (log)",
    "cover_usual": "recorded stock against its average of 182 days (log ratio)",
    "cover_top": "recorded stock against its highest of 182 days before the last 28",
    "above_point": "recorded stock against the level at which it was usually replenished (log ratio)",
    "overdue": "days below the usual replenishment level without a receipt",
    "receipt_late": "days since the last receipt against the usual interval",
    "receipt_large": "largest receipt since the last count against the usual size (log ratio)",
    "receipt_small": "smallest receipt since the last count against the usual size (log ratio)",
    "receipt_last": "last receipt against the usual size (log ratio)",
    "receipt_case": "how far a receipt since the last count was below the smallest before (log ratio)",
    "receipt_repeat": "receipts within 7 days, above what is usual",
    "receipt_early": "how far the record stood above its replenishment level when a receipt came, since the last count",
    "receipt_needless": "how far the record stood above that level when the last receipt came, by the share of it still there",
    "resumed": "sales missed in a run that ended only when a receipt came, since the last count",
    "resumed_stock": "units that the record showed in such a run",
    "resumed_often": "receipts that ended such a run, since the last count",
    "below_zero": "units by which the record was below zero, since the last count",
    "oversold": "units sold that the record did not have, since the last count",
    "oversold_share": "units sold that the record did not have, against the sales expected in a week",
    "drift": "sales against expectation since the last count, in standard deviations",
    "drift_down": "largest shortfall of sales within 56 days since the last count, in standard deviations",
    "counts_wrong": "corrections booked in the year before",
    "counts_short": "units corrected away in the year, against those sold",
    "count_last": "units that the last cycle count corrected, against a week's sales",
    "written_off": "units written off in 91 days, against those expected to sell",
    "returned": "units returned in 28 days, against those expected to sell",
    "family_over": "most unexpected excess of sales of a SKU of the same family, 28 days",
    "family_under": "most unexpected shortfall of a SKU of the same family, 28 days",
    "pair": "own deviation of 28 days, as far as a SKU of the same family has the opposite one",
    "pair_14": "own deviation of 14 days, as far as a SKU of the same family has the opposite one",
    "pair_got": "receipt that came early while a SKU of the same family got too little, since the last count",
    "pair_got_site": "receipt that came early while a SKU of the site got too little, since the last count",
    "pair_missed": "receipt too small or missing while a SKU of the same family got one early, since the last count",
    "pair_missed_site": "receipt too small or missing while a SKU of the site got one early, since the last count",
    "sku_early": "early receipts of the SKU at the other sites, 7 days, when this one's last came",
    "sku_short": "units corrected away of the SKU at all sites in a year, against those sold",
    "sku_elsewhere": "sales of the SKU at the other sites against expectation, 28 days (log ratio)",
    "site_others": "sales of the site's other SKUs against expectation, 14 days (log ratio)",
    "rate": "sales expected a day (log)",
    "selling_days": "share of days with a sale among those with stock, 91 days",
    "recorded": "units on record (log)",
}
"""Every feature and what it says, in the order in which the model takes them."""

NAMES = tuple(TEXT)

SHARED: dict[str, tuple[str, str]] = {
    "sku_sold": ("sku", "total"),
    "sku_hoped": ("sku", "total"),
    "sku_year": ("sku", "total"),
    "sku_corrected": ("sku", "total"),
    "sku_got": ("sku", "total"),
    "site_sold": ("site", "total"),
    "site_hoped": ("site", "total"),
    "site_lacks": ("site", "largest"),
    "site_early": ("site", "largest"),
}
"""What features need of slots outside the family: name to (group, how its slots' values become one). `shares` makes the values."""


@dataclass(frozen=True, slots=True)
class _Base:
    """Columns that several features share."""

    shown: Matrix  # units that the record showed for the day's sales
    stocked: Flags
    hoped: Matrix  # expected sales, 0 on days without recorded stock
    sale: Flags
    count: Flags
    receipt: Flags
    before: Matrix  # units a day, 28 to 118 days ago, on days with stock
    run: Matrix  # expected sales in the current run without any
    usual: Matrix  # receipts of the 182 days before today
    point: Matrix  # units on record before a receipt, on average of those in 182 days: about where it is replenished
    ratio: Matrix  # of a day's receipt to the usual size, log; 0: as usual, or none
    case: Matrix  # of a day's receipt to the smallest before, log
    early: Matrix  # how high the record stood above its point when a day's receipt came, log; 0: as usual, or none
    waits: Matrix  # days for which the record has stood at its point or below, without a receipt
    lacks: Matrix  # how much too small a day's receipt was, log; or half, where one has been due for at most two weeks


def _base(s: Story, w: Windows) -> _Base:
    shown = w.lag(s.recorded, 1) + s.received
    stocked = shown > 0
    hoped = either(stocked, s.expected, 0)
    sale = s.sold > 0
    receipt, before = s.received > 0, np.maximum(w.lag(s.recorded, 1), 0)
    past = w.lag(w.total(either(stocked, s.sold, 0), 91), 28), w.lag(w.total(number(stocked), 91), 28)
    usual, units = w.lag(w.total(number(receipt), 182), 1), w.lag(w.total(s.received, 182), 1)
    point = w.total(either(receipt, before, 0), 182) / (w.total(number(receipt), 182) + 1e-9)
    least = np.minimum(-w.lag(w.largest(either(receipt, -s.received, -1e6), 365), 1), 1e6)
    known, low = receipt & (usual > 1), np.maximum(s.recorded, 0) <= point
    ratio = either(known, np.log((s.received + 0.5) / (units / (usual + 1e-9) + 0.5)), 0)
    waits = w.total_since(number(low), ~low | receipt)
    waited = w.lag(waits, 1)
    return _Base(
        shown, stocked, hoped, sale, np.isfinite(s.counted), receipt, past[0] / (past[1] + 1), w.total_since(hoped, sale), usual, point,
        ratio=ratio,
        case=either(known, np.log((s.received + 0.1) / (least + 0.1)), 0),
        early=either(known, np.log((before + 1) / (w.lag(point, 1) + 1)), 0),
        waits=waits,
        lacks=either(receipt, np.maximum(-ratio, 0), 0.5 * number((waited >= 1) & (waited <= 14))),
    )  # fmt: skip


def features(story: Story, shared: dict[str, Matrix] | None = None) -> dict[str, Matrix]:
    """All features of TEXT, each (S, D).

    Args:
        story: whole families of a site at least.
        shared: SHARED over all slots there are, (S, D) each; None: the story holds them all.
    """
    w = Windows(story)
    base = _base(story, w)
    if shared is None:
        own = _shares(story, w, base)
        shared = {
            name: w.total_of(group, own[name]) if how == "total" else w.largest_of(group, own[name])
            for name, (group, how) in SHARED.items()
        }
    made = {
        **_runs(story, w, base), **_gaps(story, w, base), **_stock(story, w, base), **_receipts(story, w, base),
        **_surplus(story, w, base), **_corrections(story, w, base), **_others(story, w, base, shared),
        **_astray(w, base, shared), **_size(story, w, base),
    }  # fmt: skip
    return {name: made[name] for name in NAMES}


def shares(story: Story) -> dict[str, Matrix]:
    """What each slot adds to SHARED, (S, D) each: for features of a story that does not hold all slots."""
    w = Windows(story)
    return _shares(story, w, _base(story, w))


def _shares(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    sold = either(b.stocked, s.sold, 0)
    return {
        "sku_sold": w.total(sold, 28), "sku_hoped": w.total(b.hoped, 28), "sku_year": w.total(s.sold, 365),
        "sku_corrected": w.total(np.minimum(s.adjusted, 0), 365), "sku_got": number(b.early > 0.5),
        "site_sold": w.total(sold, 14), "site_hoped": w.total(b.hoped, 14),
        "site_lacks": b.lacks, "site_early": np.maximum(b.early, 0),
    }  # fmt: skip


def stacked(made: dict[str, Matrix]) -> npt.NDArray[np.float32]:
    """(S, D, F) in the order of NAMES, as the model takes them."""
    return np.stack([made[name] for name in NAMES], axis=2, dtype=np.float32, casting="same_kind")


def _runs(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    """Runs of days without a sale while the record showed stock."""
    days = w.total_since(number(b.stocked), b.sale)
    often = (w.total(number(b.sale & b.stocked), 182) + 0.5) / (w.total(number(b.stocked), 182) + 1)
    sold, stocked = either(b.stocked, s.sold, 0), w.total(number(b.stocked), 182) + 1
    mean = w.total(sold, 182) / stocked
    excess = np.maximum(w.total(sold * sold, 182) / stocked - mean * mean - mean, 0.05 * mean)
    shape = np.minimum(np.maximum(mean * mean / (excess + 1e-9), 0.05), 10)
    chance = w.latest(often, b.sale)  # as it was when the run began
    longest = w.latest(w.largest(days, 182), b.sale)
    return {
        "run_days": days,
        "run_expected": b.run,
        "run_lumpy": w.total_since(np.log1p(b.hoped), b.sale),
        "run_spread": days * w.latest(shape * np.log1p(mean / shape), b.sale),
        "run_before": w.total_since(either(b.stocked, b.before, 0), b.sale),
        "run_bernoulli": -days * np.log(1 - np.minimum(chance, 0.98)),
        "run_ratio": days / (1 + longest),
        "since_sale": w.days_since(b.sale),
    }


def _gap(w: Windows, s: Story, b: _Base, n: int) -> Matrix:
    hoped, sold = w.total(b.hoped, n), w.total(either(b.stocked, s.sold, 0), n)
    return (sold - hoped) / np.sqrt(hoped + 1)


def _gaps(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    """Sales against the forecast, and against their own past."""
    off = either(b.stocked, s.sold, 0) - b.hoped
    shortfall = (w.total(b.hoped, 56) - w.total(either(b.stocked, s.sold, 0), 56)) / np.sqrt(w.total(b.hoped, 56) + 1)
    past = {
        f"trend_{n}": np.log(
            (w.total(either(b.stocked, s.sold, 0), n) + 0.5) / (b.before * w.total(number(b.stocked), n) + 0.5)
        )
        for n in (14, 28)
    }
    return past | {f"gap_{n}": _gap(w, s, b, n) for n in (7, 14, 28, 91)} | {
        "drift": w.total_since(off, b.count) / np.sqrt(w.total_since(b.hoped, b.count) + 1),
        "drift_down": w.largest_since(shortfall, b.count),
    }  # fmt: skip


def _stock(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    """Recorded stock against demand and against how it is usually replenished."""
    units, since = np.maximum(s.recorded, 0), w.days_since(b.receipt)
    return {
        "cover": np.log1p(units / (s.expected + 0.02)),
        "cover_usual": np.log((units + 1) / (w.total(units, 182) / 182 + 1)),
        "cover_top": units / (w.lag(w.largest(units, 182), 28) + 1),
        "above_point": np.log((units + 1) / (b.point + 1)),
        "overdue": b.waits,
        "since_receipt": since,
        "receipt_late": since * w.total(number(b.receipt), 182) / 182,
    }


def _receipts(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    """Sizes and times of receipts, and runs that only a receipt ended."""
    missed = either(b.receipt, w.lag(b.run, 1), 0)
    left = np.minimum(1, np.maximum(s.recorded, 0) / (w.latest(s.received, b.receipt) + 1))
    return {
        "receipt_large": w.largest_since(b.ratio, b.count),
        "receipt_small": w.largest_since(-b.ratio, b.count),
        "receipt_last": w.latest(b.ratio, b.receipt),
        "receipt_case": w.largest_since(-b.case, b.count),
        "receipt_repeat": w.total(number(b.receipt), 7) - 7 * b.usual / 182,
        "receipt_early": w.largest_since(b.early, b.count),
        "receipt_needless": w.latest(b.early, b.receipt) * left,
        "resumed": w.largest_since(missed, b.count),
        "resumed_stock": w.largest_since(either(missed > 1.5, w.lag(s.recorded, 1), 0), b.count),
        "resumed_often": w.total_since(number(missed > 1.5), b.count),
    }


def _surplus(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    """More sold than the record had: there is stock that it does not know."""
    beyond = w.total_since(np.maximum(0, s.sold - np.maximum(b.shown, 0)), b.count)
    return {
        "below_zero": w.largest_since(-s.recorded, b.count),
        "oversold": beyond,
        "oversold_share": beyond / (7 * s.expected + 1),
    }


def _corrections(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    """What counts and corrections have found so far."""
    wrong = np.abs(s.adjusted) >= 1
    week = 7 * s.expected + 1
    return {
        "since_count": w.days_since(b.count),
        "counts_wrong": w.total(number(wrong), 365),
        "counts_short": w.total(np.minimum(s.adjusted, 0), 365) / (w.total(s.sold, 365) + 1),
        "count_last": w.latest(s.adjusted / week, b.count),
        "written_off": w.total(s.written_off, 91) / (w.total(s.expected, 91) + 1),
        "returned": w.total(s.returned, 28) / (w.total(s.expected, 28) + 1),
    }


def _opposite(gap: Matrix, over: Matrix, under: Matrix) -> Matrix:
    """A deviation, as far as the strongest opposite one of the family matches it; signed like one's own."""
    short = np.minimum(np.maximum(-gap, 0), np.maximum(over, 0))
    return np.minimum(np.maximum(gap, 0), np.maximum(-under, 0)) - short


def _others(s: Story, w: Windows, b: _Base, shared: dict[str, Matrix]) -> dict[str, Matrix]:
    """What the same family, site and SKU show: pairs with opposite deviations, and lulls that others share."""
    gap, gap_14 = _gap(w, s, b, 28), _gap(w, s, b, 14)
    over, under = w.largest_of("family", gap), -w.largest_of("family", -gap)
    over_14, under_14 = w.largest_of("family", gap_14), -w.largest_of("family", -gap_14)
    sold = either(b.stocked, s.sold, 0)

    def rest(group: str, n: int) -> Matrix:
        ours, hoped = w.total(sold, n), w.total(b.hoped, n)
        return np.log((shared[f"{group}_sold"] - ours + 1) / (shared[f"{group}_hoped"] - hoped + 1))

    return {
        "family_over": over,
        "family_under": under,
        "pair": _opposite(gap, over, under),
        "pair_14": _opposite(gap_14, over_14, under_14),
        "sku_elsewhere": rest("sku", 28),
        "sku_short": shared["sku_corrected"] / (shared["sku_year"] + 1),
        "site_others": rest("site", 14),
    }


def _astray(w: Windows, b: _Base, shared: dict[str, Matrix]) -> dict[str, Matrix]:
    """Deliveries that one SKU got early on the day on which another got too little, or waited for one."""
    early = np.maximum(b.early, 0)
    elsewhere = w.total(shared["sku_got"] - number(early > 0.5), 7)
    return {
        "pair_got": w.largest_since(early * w.largest_of("family", b.lacks), b.count),
        "pair_got_site": w.largest_since(early * shared["site_lacks"], b.count),
        "pair_missed": w.largest_since(b.lacks * w.largest_of("family", early), b.count),
        "pair_missed_site": w.largest_since(b.lacks * shared["site_early"], b.count),
        "sku_early": w.latest(elsewhere, b.receipt),
    }


def _size(s: Story, w: Windows, b: _Base) -> dict[str, Matrix]:
    return {
        "rate": np.log(s.expected + 0.01),
        "selling_days": w.total(number(b.sale & b.stocked), 91) / (w.total(number(b.stocked), 91) + 1),
        "recorded": np.log1p(np.maximum(s.recorded, 0)),
    }
