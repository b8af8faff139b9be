"""Levels, history and counts: what the record says, and said.

In: ports.LevelReader, ports.EvidenceStore. Out: JSON. A bin, site or SKU that no event has named is a 404.
SKUs may hold slashes, so `{sku:path}`; anything odd in a name is sent percent-encoded. Try: GET /v1/sites/BER1/bins
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from inventorybot.domain.days import DAY_MS
from inventorybot.ports import LedgerEntry, Level
from inventorybot.wire.codec import rfc3339
from services.api import views
from services.api.params import AsOf, Bin, BinPage, Limit, Page, Site, Sku, Span, ms
from services.api.parts import Has
from services.api.problems import Refuse, responses

router = APIRouter(prefix="/v1/sites", tags=["levels"])
DEFAULT_SPAN_MS = 30 * DAY_MS
MAX_SPAN_MS = 400 * 86_400_000
"""Each month of history is a partition to read; an event cannot be older than this when it arrives."""
BINS_AT_ONCE = 16
"""Reads in flight for one page: enough to hide the database's latency, few enough to leave it to others."""


@router.get("", operation_id="listSites", summary="Sites that an event has named", responses=responses())
async def sites(parts: Has, page: Annotated[Page, Query()]) -> views.Catalogue:
    """By name."""
    return await _catalogue(parts, "site", "", page)


@router.get("/{site}/bins", operation_id="listBins", summary="Bins of a site", responses=responses())
async def bins(parts: Has, site: Site, page: Annotated[Page, Query()]) -> views.Catalogue:
    """By name; empty for a site that no event has named."""
    return await _catalogue(parts, "bin", site, page)


@router.get("/{site}/skus", operation_id="listSkus", summary="SKUs of a site", responses=responses())
async def skus(parts: Has, site: Site, page: Annotated[Page, Query()]) -> views.Catalogue:
    """By name; empty for a site that no event has named."""
    return await _catalogue(parts, "sku", site, page)


@router.get("/{site}/levels", operation_id="siteLevels", summary="Levels of a site", responses=responses())
async def site_levels(parts: Has, site: Site, page: Annotated[BinPage, Query()]) -> views.SiteLevels:
    """Bin by bin; every page has whole bins, and may have fewer than `limit` only at the end."""
    found = await parts.levels.catalogue("bin", site, page.after, page.limit + 1)
    names = [seen.name for seen in found[: page.limit]]
    turn = asyncio.Semaphore(BINS_AT_ONCE)

    async def one(name: str) -> list[Level]:
        async with turn:
            return await parts.levels.bin_levels((site, name))

    slots = [slot for of_bin in await asyncio.gather(*map(one, names)) for slot in of_bin]
    return views.SiteLevels(items=[views.level(s) for s in slots], next=names[-1] if len(found) > page.limit else None)


@router.get("/{site}/bins/{bin}/levels", operation_id="binLevels", summary="Levels of a bin", responses=responses(404))
async def bin_levels(parts: Has, site: Site, bin: Bin, query: Annotated[AsOf, Query()]) -> views.BinLevels:
    """Now or, with `as_of`, as of any moment."""
    slots = await parts.levels.bin_levels((site, bin))
    if not slots:
        raise Refuse(404, f"no event has named the bin {bin!r} of site {site!r}")
    if query.as_of is None:
        levels = {slot.sku: slot.on_hand for slot in slots}
        rows = [views.level(s) for s in slots]
        return views.BinLevels(site=site, bin=bin, as_of=None, on_hand=sum(levels.values()), skus=levels, slots=rows)
    at = ms(query.as_of)
    levels = await parts.levels.bin_levels_as_of((site, bin), at)
    return views.BinLevels(
        site=site,
        bin=bin,
        as_of=rfc3339(at),
        on_hand=sum(levels.values()),
        skus=dict(sorted(levels.items())),
        slots=None,
    )


@router.get(
    "/{site}/skus/{sku:path}/levels", operation_id="skuLevels", summary="Levels of a SKU", responses=responses(404)
)
async def sku_levels(parts: Has, site: Site, sku: Sku) -> views.SkuLevels:
    """In sum and by bin."""
    slots = await parts.levels.sku_levels(site, sku)
    if not slots:
        raise Refuse(404, f"no event has named the SKU {sku!r} at site {site!r}")
    rows = [views.level(s) for s in slots]
    return views.SkuLevels(site=site, sku=sku, on_hand=sum(s.on_hand for s in slots), bins=rows)


@router.get(
    "/{site}/bins/{bin}/history", operation_id="binHistory", summary="History of a bin", responses=responses(404)
)
async def history(parts: Has, site: Site, bin: Bin, span: Annotated[Span, Query()]) -> views.History:
    """Every fact about a bin, or one slot of it, newest first."""
    until = parts.clock() + parts.times.future_ms if span.until is None else ms(span.until)
    since = until - DEFAULT_SPAN_MS if span.since is None else ms(span.since)
    if not since < until <= since + MAX_SPAN_MS:
        days = MAX_SPAN_MS // 86_400_000
        raise Refuse(422, f"since must lie before until, and at most {days} days; ask for less at a time")
    found = await parts.levels.history((site, bin), span.sku, since=since, until=until, limit=span.limit + 1)
    if not found and not await parts.levels.bin_levels((site, bin)):
        raise Refuse(404, f"no event has named the bin {bin!r} of site {site!r}")
    kept, after = _cut(found, span.limit)
    return views.History(items=[views.entry(e) for e in kept], next=after)


@router.get(
    "/{site}/bins/{bin}/counts", operation_id="binCounts", summary="Camera counts of a bin", responses=responses()
)
async def counts(parts: Has, site: Site, bin: Bin, query: Annotated[Limit, Query()]) -> views.Counts:
    """Newest first; empty for a bin that no camera has seen."""
    rows = await parts.evidence.counts((site, bin), limit=query.limit)
    return views.Counts(items=[views.count(r) for r in rows])


def _cut(found: list[LedgerEntry], limit: int) -> tuple[list[LedgerEntry], str | None]:
    """A page, and where the next begins. Facts of one moment stay on one page, so that none is lost in between."""
    if len(found) <= limit:
        return found, None
    last = found[limit].row.occurred_at
    kept = [e for e in found[:limit] if e.row.occurred_at > last]
    if kept:
        return kept, rfc3339(kept[-1].row.occurred_at - 1)
    raise Refuse(422, f"more than {limit} facts occurred at {rfc3339(last)}; raise limit")


async def _catalogue(parts: Has, kind: str, site: str, page: Page) -> views.Catalogue:
    found = await parts.levels.catalogue(kind, site, page.after, page.limit + 1)
    items = [
        views.SeenView(name=s.name, first_event_id=s.first_event_id, first_seen_at=rfc3339(s.first_seen_at))
        for s in found[: page.limit]
    ]
    return views.Catalogue(items=items, next=items[-1].name if len(found) > page.limit else None)
