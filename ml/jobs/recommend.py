"""`inventorybot jobs run recommend`: what to order, from the stored forecasts and the stock of the moment.

In: forecasts (`ForecastStore`), levels (`LevelReader`), approved orders under way, a table of item parameters.
Out: recommendations in the `RestockStore`, one for each item that needs an order; a line on what was left out, and why.
Of one day the first run stands: running it again changes nothing, and never what people decided. An approved order whose
event no broker has acknowledged (a crash in between) is published first.
Exit code: 0; 1 where items or rows of the table were refused; 2: nothing was done. Tests: tests/unit/restock/test_recommend.py.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress

from inventorybot import telemetry, wiring
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.restock import CassandraRestock
from inventorybot.clock import now_ms
from inventorybot.domain.days import DAY_MS, WEEK_MS, day_of
from inventorybot.domain.forecast import NAMES, Forecast
from inventorybot.domain.restock import Arithmetic, Recommendation, on_order, sentence
from inventorybot.errors import BadEvent, SetupError
from inventorybot.ports import ForecastStore, LevelReader, Publisher, RestockStore
from inventorybot.settings import load
from inventorybot.wire.restock import order_message
from ml.jobs import NotYet, SomeRefused
from ml.restock.horizon import Horizon
from ml.restock.items import Items, Refusal, read_items
from ml.restock.policy import Terms, work_out

REACH_MS = 62 * DAY_MS
"""How long ago the period that now belongs to may have begun."""
PAGE = 1000
CHUNK = 500
"""Recommendations that are written together."""
SHOWN = 10
DEPENDENCE = 0.2
"""Between the demands of an item's periods: a moderate value; `inventorybot evaluate restock` measures it on sales."""


@dataclass
class Outcome:
    """What a run did.

    Args: refused: items that could not be worked out; left: (site, SKU, reason) of all that need an order and get none.
    """

    items: int = 0
    needed: int = 0
    new: int = 0
    units: int = 0
    repaired: int = 0
    refused: int = 0
    left: list[tuple[str, str, str]] = field(default_factory=list)
    worked_out: list[tuple[str, str, Arithmetic]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One run. Args: now: ms. keep: whether `Outcome.worked_out` shall hold every item."""

    forecasts: ForecastStore
    levels: LevelReader
    store: RestockStore
    publisher: Publisher
    items: Items
    now: int
    dependence: float = DEPENDENCE
    keep: bool = False

    async def sites(self, wanted: str = "") -> list[str]:
        """The sites that have stock or ever had. Raises: SetupError: the wanted one is none of them."""
        found: list[str] = []
        while page := await self.levels.catalogue("site", after=found[-1] if found else "", limit=PAGE):
            found += [seen.name for seen in page]
        if wanted and wanted not in found and not await self.forecasts.periods(wanted, self.now - REACH_MS):
            raise SetupError(
                f"no event has named the site {wanted}, and it has no forecasts; known: {', '.join(found[:20])}"
            )
        return [wanted] if wanted else found

    async def site(self, site: str, done: Outcome, advance: Callable[[str, int, int], None]) -> None:
        """All items of a site that have forecasts. Args: advance: told the site, items done, items in all."""
        under_way = await self.store.under_way(site)
        done.repaired += await self._send(under_way)
        edges, demand = await self._demand(site)
        if not demand:
            done.left.append((site, "*", "the site has no forecasts from now on"))
            return
        stock, coming = await self.levels.site_stock(site), on_order(under_way, self.now)
        for low in range(0, len(demand), CHUNK):
            skus = list(demand)[low : low + CHUNK]
            made = await asyncio.to_thread(self._work_out, site, skus, edges, demand, stock, coming, done)
            done.new += await self.store.put(made)
            advance(site, low + len(skus), len(demand))

    def _work_out(
        self, site: str, skus: Sequence[str], edges: Any, demand: dict[str, dict[int, Forecast]],
        stock: dict[str, int], coming: dict[str, int], done: Outcome,
    ) -> list[Recommendation]:  # fmt: skip
        made = []
        for sku in skus:
            done.items += 1
            try:
                terms = self.items.of(site, sku)
                a = self._one(edges, demand[sku], terms, stock.get(sku, 0), coming.get(sku, 0))
            except BadEvent as error:
                done.refused += 1
                done.left.append((site, sku, error.reason))
                continue
            if self.keep:
                done.worked_out.append((site, sku, a))
            if a.quantity:
                done.needed += 1
                done.units += a.quantity
                expires = self.now + terms.review_days * DAY_MS
                made.append(Recommendation(site, sku, day_of(self.now), self.now, expires, a))
            elif a.raw:
                done.left.append((site, sku, " ".join(a.notes) or "no quantity that can be ordered is worth it"))
        return made

    def _one(self, edges: Any, known: dict[int, Forecast], terms: Terms, on_hand: int, coming: int) -> Arithmetic:
        rows = np.zeros((len(edges) - 1, 1 + len(NAMES)))
        for number, x in known.items():
            rows[number] = (x.mean, *x.quantiles)
        horizon = Horizon(edges, rows[:, 0], rows[:, 1:], terms.reach_days, self.dependence)
        newest = max(known.values(), key=lambda x: x.made_at)
        return work_out(
            horizon,
            terms,
            on_hand,
            coming,
            forecast=newest.model,
            forecast_at=newest.made_at,
            dependence=self.dependence,
        )

    async def _demand(self, site: str) -> tuple[Any, dict[str, dict[int, Forecast]]]:
        """Edges of the periods in days from now, and each SKU's forecasts by number of period; a missing one is 0."""
        begins = await self.forecasts.periods(site, self.now - REACH_MS)
        length = begins[-1] - begins[-2] if len(begins) > 1 else WEEK_MS
        ends = [*begins[1:], begins[-1] + length] if begins else []
        kept = [begin for begin, end in zip(begins, ends, strict=True) if end > self.now]
        answers = await asyncio.gather(*(self.forecasts.of_site(site, begin) for begin in kept))
        found: dict[str, dict[int, Forecast]] = {}
        for number, rows in enumerate(answers):
            for x in rows:
                found.setdefault(x.sku, {})[number] = x
        edges = np.array([*kept, *ends[-1:]], np.float64)
        return (edges - self.now) / DAY_MS, dict(sorted(found.items()))

    async def _send(self, under_way: Sequence[Recommendation]) -> int:
        """Publish what was approved and not acknowledged; returns how many."""
        unsent = [r for r in under_way if r.sent_at is None]
        if unsent:
            await self.publisher.publish([order_message(r) for r in unsent])
            for r in unsent:
                await self.store.mark_sent(r, self.now)
        return len(unsent)


def recommend(
    items: Annotated[
        Path | None, typer.Option(help="Table of item parameters, Parquet or CSV (docs/restock.md).")
    ] = None,
    site: Annotated[str, typer.Option(help="One site only; empty: every site.")] = "",
    lead_time: Annotated[
        str, typer.Option(help="Where no row says: days, or days and weights: 5:0.2 7:0.6 10:0.2.")
    ] = "7",
    review_days: Annotated[int, typer.Option(help="Where no row says: days from one chance to order to the next.")] = 7,
    service_level: Annotated[
        float, typer.Option(help="Where no row says: probability of not running out a cycle.")
    ] = 0.95,
    dependence: Annotated[float, typer.Option(help="Between the demands of an item's periods, 0 to 0.7.")] = DEPENDENCE,
    report: Annotated[Path | None, typer.Option(help="Write every item's arithmetic here, as JSON lines.")] = None,
) -> str:
    """Recommend what to order, for people to approve: from the stored forecasts and the stock of the moment."""
    from ml.restock.items import parse_lead_time

    telemetry.configure_logging("warning", process="jobs")
    default = Terms(lead_days=parse_lead_time(lead_time), review_days=review_days, service_level=service_level)
    table, refusals = (Items(default), []) if items is None else read_items(items, default)
    done = asyncio.run(_run(table, site, dependence, keep=report is not None))
    if report is not None:
        report.write_text("".join(_line(*row) for row in done.worked_out), encoding="utf-8")
    said = _tell(done, refusals)
    if not done.items:
        raise NotYet("no site has forecasts from now on: `inventorybot jobs run load-forecasts FILE` loads some")
    if done.refused or refusals:
        raise SomeRefused(said)
    return said


async def _run(items: Items, site: str, dependence: float, *, keep: bool) -> Outcome:
    settings = load()
    database, done = wiring.database(settings), Outcome()
    try:
        async with wiring.publisher(settings) as publisher:
            store = CassandraRestock(database, now_ms)
            run = Run(
                CassandraForecasts(database), CassandraLedger(database), store, publisher, items, now_ms(), dependence, keep
            )  # fmt: skip
            with Progress(transient=True) as progress:
                task = progress.add_task("Sites", total=None)
                for name in await run.sites(site):
                    await run.site(
                        name, done, lambda s, n, of: progress.update(task, description=s, completed=n, total=of)
                    )
    finally:
        database.close()
    return done


def _line(site: str, sku: str, a: Arithmetic) -> str:
    row = {"site": site, "sku": sku, **asdict(a), "why": sentence(a)}
    row["forecast_at"] = datetime.fromtimestamp(a.forecast_at / 1000, UTC).isoformat()
    return json.dumps(row, ensure_ascii=False) + "\n"


def _tell(done: Outcome, refusals: Sequence[Refusal]) -> str:
    """Says what was done; returns the last line."""
    for r in refusals[:SHOWN]:
        typer.echo(f"refused row {r.row} of the items: {r.code} in {r.column}: {r.reason}", err=True)
    for reason, n in Counter(reason for _, _, reason in done.left).most_common(SHOWN):
        some = next(f"{s}/{k}" for s, k, why in done.left if why == reason)
        typer.echo(f"{n:,} without a recommendation ({some}{', …' if n > 1 else ''}): {reason}", err=True)
    if done.repaired:
        typer.echo(f"{done.repaired:,} approved orders were sent that no broker had acknowledged.")
    said = (
        f"{done.items:,} items: {done.needed:,} need an order, {done.units:,} units in all; {done.new:,} recommendations are new, "
        f"{done.needed - done.new:,} were there. {len(refusals):,} rows of the items refused."
    )
    typer.echo(said)
    return said
