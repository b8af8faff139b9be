"""From what was found of slots to the steps of their anomalies: raised once, updated when it matters, resolved when it is over.

In: `Finding`s of one day, a row a slot; the anomalies that there are (ports.AnomalyStore). Out: `Step`s for inventory.anomalies.
Everything follows from the day and the store: the same day looked at again says the same steps with the same ids, or nothing more.

A slot has one open anomaly of a kind at most. Its id is made of the slot and of the last cycle count (a count ends the disagreement), and
where that id has been used and is over, of that one: so a store that lags behind never makes two of one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from inventorybot.domain.alerts import LIVE, Anomaly, Knowledge, Step, anomaly_id, spot_of
from inventorybot.domain.days import DAY_MS
from inventorybot.ports import AnomalyStore
from inventorybot.wire.codec import from_ms, to_ms
from ml.anomaly.alarms import QUIET, STEADY
from ml.anomaly.explain import LONGEST

SUSPECT, FORECAST = "suspect-record", "implausible-forecast"

MOVED = 0.05
"""Change of the probability from which on a person is told."""

SHARE, UNITS = 0.2, 2
"""Change of the estimated error from which on a person is told: a fifth of it, and two units."""

BACK_DAYS = 180
"""Anomalies raised before are not asked whether they ended lately; nobody leaves one open so long and closes it then."""

EVERYTHING = 10_000_000
"""A list without an end."""

Slot = tuple[str, str]
"""(site, SKU)"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a day says of a slot.

    Args:
        raise_it: there is cause for an anomaly, should none be open.
        over: why an open one is to be resolved; None: it stays.
        told: what is known; as an update, if an open one stays and it matters.
        counted: the last cycle count of the slot; None: never.
    """

    site: str
    sku: str
    raise_it: bool
    over: str | None
    told: Knowledge
    counted: date | None = None


def evening(day: date) -> int:
    """The end of a day, ms: the time of all steps that follow from what was known then."""
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1))


async def steps(kind: str, findings: Sequence[Finding], store: AnomalyStore, day: date) -> list[Step]:
    """The steps that follow. Raises: TryLater: the store does not answer.

    An anomaly that is open and of which nothing is found, because its slot is no longer in the table, stays as it is.
    """
    open_now, ended = await _known(kind, store, evening(day))
    found: list[Step] = []
    asked: list[Finding] = []
    for finding in findings:
        slot = (finding.site, finding.sku)
        if (anomaly := open_now.get(slot)) is not None:
            found += _of_open(anomaly, finding, day)
        elif finding.raise_it and ended.get(slot, 0) <= evening(day) - QUIET * DAY_MS:
            asked.append(finding)
    ids = await _ids(kind, asked, store)
    found += [_step(name, kind, "raised", f, f.told, day) for name, f in zip(ids, asked, strict=True)]
    return found


async def _known(kind: str, store: AnomalyStore, at: int) -> tuple[dict[Slot, Anomaly], dict[Slot, int]]:
    """The open anomaly of each slot, and when its last one ended, ms."""
    open_now: dict[Slot, Anomaly] = {}
    ended: dict[Slot, int] = {}
    for status in sorted(LIVE):
        async for a in store.list(kind=kind, status=status, limit=EVERYTHING):
            open_now[a.site, a.sku or ""] = a
    async for a in store.list(kind=kind, limit=EVERYTHING):
        if a.raised_at < at - BACK_DAYS * DAY_MS:
            break
        if not a.live:
            slot = (a.site, a.sku or "")
            ended[slot] = max(ended.get(slot, 0), a.updated_at)
    return open_now, ended


async def _ids(kind: str, asked: Sequence[Finding], store: AnomalyStore) -> list[str]:
    """An id for each that no ended anomaly has."""
    spots = [(f.site, spot_of(None, f.sku)) for f in asked]
    ids = [anomaly_id(kind, *spot, str(f.counted or "never")) for spot, f in zip(spots, asked, strict=True)]
    while used := {name for name, a in (await store.get(ids)).items() if not a.live}:
        ids = [anomaly_id(kind, *spots[i], name) if name in used else name for i, name in enumerate(ids)]
    return ids


def _of_open(anomaly: Anomaly, finding: Finding, day: date) -> list[Step]:
    settled = finding.counted is not None and finding.counted >= from_ms(anomaly.raised_at).date()
    if settled or finding.over is not None:
        why = f"counted on {finding.counted}: the count has settled it" if settled else finding.over
        return [_step(anomaly.id, anomaly.kind, "resolved", finding, Knowledge(why=why), day)]
    if not material(anomaly.knowledge, finding.told):
        return []
    return [_step(anomaly.id, anomaly.kind, "updated", finding, finding.told, day)]


def material(before: Knowledge, now: Knowledge) -> bool:
    """Whether a person should hear of the change; of what has no probability, whether its words are others."""
    if now.probability is None:
        return now.why != before.why
    was, error = _error(before), _error(now)
    moved = abs(now.probability - (before.probability or 0.0)) >= MOVED
    return moved or abs(error - was) >= max(UNITS, SHARE * abs(was))


def _error(known: Knowledge) -> int:
    return (known.recorded or 0) - (known.estimate or 0)


def _step(name: str, kind: str, action: str, of: Finding, told: Knowledge, day: date) -> Step:
    event = str(uuid.uuid5(uuid.UUID(name), f"{action}\x1f{day}"))
    return Step(event, name, kind, action, evening(day), of.site, None, of.sku, told)


def suspects(rows: Sequence[Mapping[str, Any]], threshold: float, model: str) -> list[Finding]:
    """Scored slots as findings.

    Args:
        rows: spark.SCORE, a mapping a slot.
        threshold: of the detector; an open anomaly is over when the score was below half of it on every evening.
        model: name@version.
    """
    return [_suspect(row, threshold, model) for row in rows]


def _suspect(row: Mapping[str, Any], threshold: float, model: str) -> Finding:
    evenings = np.asarray(row["evenings"], dtype=np.float64)
    p, recorded = float(row["probability"]), round(row["recorded"])
    told = Knowledge(
        probability=round(p, 4), recorded=recorded, estimate=max(0, recorded - round(row["units"])), model=model,
        why=row["why"] or f"{p:.0%} that the record is wrong",
    )  # fmt: skip
    flagged = len(evenings) >= STEADY and bool((evenings >= threshold).all())
    over = f"the probability has fallen to {p:.0%}" if (evenings < threshold / 2).all() else None
    return Finding(row["site"], row["sku"], flagged and not len(row["doubts"]), over, told, row["counted"])


def doubtful(reasons: Mapping[Slot, Sequence[str]], slots: Sequence[Slot]) -> list[Finding]:
    """Predictions that cannot be true as findings. Args: reasons: why, of those; slots: all that were looked at."""
    return [
        Finding(
            *slot, slot in reasons, None if slot in reasons else "the predictions of the slot can be true again",
            Knowledge(why=_short(". ".join(reasons.get(slot, ())))),
        )
        for slot in slots
    ]  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
