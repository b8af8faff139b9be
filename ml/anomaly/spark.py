"""Suspect records over Spark: from the lake's daily table to scores with their reasons, and to the outcomes of cycle counts.

In: daily rows (ml/history's table `daily`), an item table with families where there is one, a detector. Out: DataFrames, a row a slot,
or a row a count. Slots are worked on in chunks of whole families of a site, by the very code that the simulator is measured with:

    daily --stories--> a row a slot, a column an array of days --with_shared--> and what features need of other chunks
          --scores--> probabilities of the last evenings, units, words      --outcomes--> what each cycle count found, to learn from

Features look beyond the family at a SKU's other sites and at a site's other SKUs. Those sums and maxima are made in a round of their
own, so a chunk never holds more than its own slots. Run: `inventorybot jobs run find-suspects`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from inventorybot.errors import SetupError
from ml.anomaly.alarms import STEADY
from ml.anomaly.daily import NEEDED, sold_in, story_of, weekdays
from ml.anomaly.explain import explained
from ml.anomaly.features import SHARED, features, shares, stacked
from ml.anomaly.model import Detector
from ml.anomaly.simulate import WARM
from ml.anomaly.story import FLOWS, Flags, Matrix, Story
from ml.anomaly.train import labelled

SLOTS = 1000
"""About so many slots a chunk: their features of 15 months are 0.5 GB while they are made."""

BUCKETS = 64
"""Groups in which SKUs are summed over sites; one call of Python each."""

SLOT = "site string, sku string, family string, chunk int, first boolean, " + ", ".join(
    f"{flow} array<double>" for flow in FLOWS
)
PART = "grouping string, name string, amounts array<double>"
SCORE = (
    "site string, sku string, day date, evenings array<double>, probability double, recorded double, units double, why string, "
    "doubts array<string>, counted date, most_sold array<double>, least_sold array<double>"
)
"""evenings: probabilities of the last STEADY days, oldest first. units: on the record too many. why: empty below half the threshold.
counted: the last cycle count. most_sold, least_sold: in any stretch of each of some lengths, for the limits of `absurd`."""

OUTCOME = "site string, sku string, day date, x array<float>, wrong boolean, units double"

_OF: dict[str, list[str]] = {g: [n for n, (group, _) in SHARED.items() if group == g] for g in ("sku", "site")}


def stories(
    daily: DataFrame, since: date, until: date, items: DataFrame | None = None, *, slots: int = SLOTS
) -> DataFrame:
    """The daily table, a row a slot: SLOT. `chunk` numbers the chunks of a site, a family lies in one; `first`: of its chunk.

    Args:
        daily: NEEDED; days of `since` to `until` are taken.
        items: sku, family; a SKU without is a family of its own.
        slots: about so many a chunk.
    Raises: SetupError: no row of these days.
    """
    rows = daily.select(*NEEDED).where(F.col("day").cast("date").between(F.lit(since), F.lit(until)))
    if items is None:
        rows = rows.withColumn("family", F.col("sku"))
    else:
        rows = rows.join(items.select("sku", "family").dropDuplicates(["sku"]), "sku", "left")
        rows = rows.withColumn("family", F.coalesce("family", "sku"))
    rhythms, chunks = _sites(rows, since, until, slots)
    known = rows.sparkSession.createDataFrame(list(chunks.items()), "site string, chunks int")
    rows = rows.join(F.broadcast(known), "site").withColumn(
        "chunk", F.pmod(F.hash("family"), F.col("chunks")).cast("int")
    )

    def told(key: tuple[Any, ...], frame: pd.DataFrame) -> pd.DataFrame:
        story = story_of(frame, since, until, rhythms)
        names = {"site": story.site, "sku": story.sku, "family": story.family}
        names |= {"chunk": key[1], "first": np.arange(story.slots) == 0}
        return pd.DataFrame(names | {flow: list(getattr(story, flow)) for flow in FLOWS})

    return rows.groupBy("site", "chunk").applyInPandas(told, SLOT)


def _sites(rows: DataFrame, since: date, until: date, slots: int) -> tuple[dict[str, Matrix], dict[str, int]]:
    """Site to (D,) of `weekdays`, and to how many chunks it makes: a number a site and day, so it fits the driver.

    Raises: SetupError: there is no row.
    """
    sums = rows.groupBy("site", "day").agg(F.sum("sold").cast("double").alias("sold"), F.count("sku").alias("slots"))
    found = pd.DataFrame(sums.toPandas())
    if found.empty:
        raise SetupError(f"the daily table has no row from {since} to {until}: run build-history for these days")
    wide = found.assign(day=pd.to_datetime(found["day"])).pivot(index="site", columns="day", values="sold")
    wide = wide.reindex(columns=pd.date_range(since, until)).fillna(0.0)
    rhythms = dict(zip(wide.index.tolist(), weekdays(wide.to_numpy(dtype=np.float64)), strict=True))
    most = found.groupby("site")["slots"].max()
    return rhythms, {str(site): -(-int(n) // slots) for site, n in most.items()}


def with_shared(told: DataFrame, since: date) -> DataFrame:
    """Stories, with what SHARED says of their SKU and (in the first row of a chunk) their site: SLOT, of_sku, of_site (K · D each)."""

    def parts(frame: pd.DataFrame) -> pd.DataFrame:
        story = _story(frame, since)
        own = shares(story)
        skus = np.stack([own[name] for name in _OF["sku"]], axis=1)  # (S, K, D)
        site = np.stack([own[n].sum(0) if SHARED[n][1] == "total" else own[n].max(0) for n in _OF["site"]])  # (K, D)
        mine = pd.DataFrame({"grouping": "sku", "name": story.sku, "amounts": list(skus.reshape(story.slots, -1))})
        whole = pd.DataFrame({"grouping": "site", "name": [str(story.site[0])], "amounts": [site.ravel()]})
        return pd.concat([mine, whole], ignore_index=True)

    split = told.groupBy("site", "chunk").applyInPandas(parts, PART)
    whole = split.groupBy("grouping", F.pmod(F.hash("name"), F.lit(BUCKETS))).applyInPandas(_merged, PART)
    whole = whole.persist()  # read twice; it goes with the session
    sku = whole.where("grouping = 'sku'").select(F.col("name").alias("sku"), F.col("amounts").alias("of_sku"))
    site = whole.where("grouping = 'site'").select(F.col("name").alias("site"), F.col("amounts").alias("of_site"))
    return (
        told.join(sku, "sku")
        .join(F.broadcast(site), "site")
        .withColumn("of_site", F.when(F.col("first"), F.col("of_site")))
    )


def _merged(frame: pd.DataFrame) -> pd.DataFrame:
    """The parts of each name as one: totals added up, the largest of the others."""
    grouping = str(frame["grouping"].iloc[0])
    totals = np.array([SHARED[name][1] == "total" for name in _OF[grouping]])[:, None]
    names, which = np.unique(frame["name"].to_numpy(dtype=np.str_), return_inverse=True)
    amounts = np.stack(frame["amounts"].tolist()).reshape(len(frame), len(totals), -1)  # (N, K, D)
    sums, tops = np.zeros((len(names), *amounts.shape[1:])), np.full((len(names), *amounts.shape[1:]), -np.inf)
    np.add.at(sums, which, amounts)
    np.maximum.at(tops, which, amounts)
    merged = np.where(totals, sums, tops).reshape(len(names), -1)
    return pd.DataFrame({"grouping": grouping, "name": names, "amounts": list(merged)})


def scores(ready: DataFrame, detector: Detector, since: date, lengths: Sequence[int] = ()) -> DataFrame:
    """SCORE of the newest day, a row a slot.

    Args:
        ready: of `with_shared`.
        lengths: days of the stretches that most_sold and least_sold are of, in this order.
    """

    def scored(story: Story, shared: dict[str, Matrix]) -> pd.DataFrame:
        x, last = stacked(features(story, shared)), story.days - 1
        evenings = range(max(0, story.days - STEADY), story.days)
        p = np.stack([detector.score(x[:, at]) for at in evenings], axis=1)
        told = np.flatnonzero(p[:, -1] >= detector.threshold / 2)
        words = {str(s.sku): s for s in explained(detector, story, x, told, p[:, -1], last)}
        doubts = [[d.reason for d in words[sku].doubts] if sku in words else [] for sku in story.sku.tolist()]
        return pd.DataFrame({
            "site": story.site, "sku": story.sku, "day": story.day(last), "evenings": list(p), "probability": p[:, -1],
            "recorded": story.recorded[:, -1], "units": detector.units_wrong(x[:, last]),
            "why": [words[sku].told() if sku in words else "" for sku in story.sku.tolist()], "doubts": doubts,
            "counted": pd.Series([_last(story, c) for c in np.isfinite(story.counted)], dtype=object),
            **{name: list(extremes) for name, extremes in zip(("most_sold", "least_sold"), sold_in(story, lengths), strict=True)},
        })  # fmt: skip

    return _by_chunk(ready, since, scored, SCORE)


def _last(story: Story, when: Flags) -> date | None:
    """The last day on which it held; when: (D,)."""
    days = np.flatnonzero(when)
    return story.day(int(days[-1])) if len(days) else None


def outcomes(ready: DataFrame, since: date, closed: pd.DataFrame | None = None, *, warm: int = WARM) -> DataFrame:
    """OUTCOME: what was found, a row a cycle count: features of the evening before, the error corrected. Any order.

    Args:
        closed: suspect records that people closed (`train.labelled`).
        warm: days at first of which no count is taken.
    """

    def found(story: Story, shared: dict[str, Matrix]) -> pd.DataFrame:
        slot, day, wrong, units = labelled(story, warm, closed)
        x = stacked(features(story, shared))[slot, day - 1] if len(slot) else np.zeros((0, 0), dtype=np.float32)
        return pd.DataFrame({
            "site": story.site[slot], "sku": story.sku[slot], "day": pd.Series([story.day(int(d)) for d in day], dtype=object),
            "x": pd.Series(list(x), dtype=object), "wrong": wrong, "units": units,
        })  # fmt: skip

    return _by_chunk(ready, since, found, OUTCOME)


def _by_chunk(
    ready: DataFrame, since: date, make: Callable[[Story, dict[str, Matrix]], pd.DataFrame], schema: str
) -> DataFrame:
    def made(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.sort_values("sku", ignore_index=True)
        story = _story(frame, since)
        shared: dict[str, Matrix] = {}
        for group, names in _OF.items():
            told = np.stack(frame[f"of_{group}"].dropna().tolist())
            amounts = told.reshape(-1, len(names), story.days)  # (S or 1, K, D)
            shared |= {name: np.broadcast_to(amounts[:, k], (story.slots, story.days)) for k, name in enumerate(names)}
        return make(story, shared)

    return ready.groupBy("site", "chunk").applyInPandas(made, schema)


def _story(frame: pd.DataFrame, since: date) -> Story:
    """The story of rows SLOT."""
    names = {key: frame[key].to_numpy(dtype=np.str_) for key in ("site", "sku", "family")}
    return Story(first_day=since, **names, **{flow: np.stack(frame[flow].tolist()) for flow in FLOWS})
