"""The life of an anomaly: raised and updated by evidence, acknowledged and assigned by people, resolved or closed.

In: the steps of inventory.anomalies, in order. Out: the anomaly as it stands. A step that cannot follow is refused.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from inventorybot.errors import BadEvent, Code

_NAMESPACE = uuid.UUID("5f2c2f0e-8a52-5d3b-9d43-7c8a3e1c6d10")


class Status(StrEnum):
    """Open and acknowledged anomalies ask for work; resolved (by evidence) and closed (by a person) ones do not."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    CLOSED = "closed"


LIVE = frozenset({Status.OPEN, Status.ACKNOWLEDGED})
BY_AGENTS = frozenset({"raised", "updated", "resolved"})
_MUST_SAY = {"acknowledged": "actor", "assigned": "assignee", "closed": "reason"}
BY_PEOPLE = frozenset(_MUST_SAY)
OF_A_BIN = frozenset({"bin-variance", "negative-on-hand"})
"""Kinds that are about one bin."""
OF_A_SKU = frozenset({"projected-stock-out", "excess-stock", "suspect-record", "implausible-forecast"})
"""Kinds that are about a SKU at a whole site: they name no bin."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the newest evidence says. `p` is the last picture's count; `estimate` is drawn from all of them.

    Of a SKU at a site: `recorded` is the sum of its slots; `days_of_cover` how long that lasts; `expected_at` when it is
    expected to be gone, ms; `model` whose forecast or opinion it is, name@version.
    """

    probability: float | None = None
    recorded: int | None = None
    estimate: int | None = None
    looks: int | None = None
    p: tuple[float, ...] | None = None
    image_id: str | None = None
    image_at: str | None = None
    image_url: str | None = None
    model: str | None = None
    why: str | None = None
    days_of_cover: float | None = None
    expected_at: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step in an anomaly's life.

    Args:
        at: when, ms.
        bin: None for the kinds that are about a SKU at a whole site.
        actor: the person, for steps that people take.
    """

    event_id: str
    anomaly_id: str
    kind: str
    action: str
    at: int
    site: str
    bin: str | None
    sku: str | None = None
    knowledge: Knowledge = Knowledge()
    actor: str | None = None
    assignee: str | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A disagreement between the record and the world, as it stands. Times in ms.

    Args:
        revision: place in inventory.anomalies of the step it was stored after (domain/ledger.py); -1: not stored.
    """

    id: str
    kind: str
    site: str
    bin: str | None
    sku: str | None
    status: Status
    raised_at: int
    updated_at: int
    knowledge: Knowledge
    assignee: str | None = None
    acknowledged_by: str | None = None
    closed_by: str | None = None
    close_reason: str | None = None
    note: str | None = None
    revision: int = -1

    @property
    def cursor(self) -> str:
        """Its place in a list, newest first: what was raised later, and of one moment the greater id, comes first."""
        return f"{self.raised_at}.{self.id}"

    @property
    def live(self) -> bool:
        """Whether it still asks for work."""
        return self.status in LIVE

    def matches(self, *, site: str | None, status: str | None, kind: str | None, assignee: str | None) -> bool:
        """Whether it passes a list's filters; None: any."""
        asked = ((site, self.site), (status, str(self.status)), (kind, self.kind), (assignee, self.assignee))
        return all(want is None or want == have for want, have in asked)


def anomaly_id(kind: str, site: str, spot: str, opened_by: str) -> str:
    """The same disagreement, found again after a crash, has the same id. `opened_by`: tells it from its successors.

    Args:
        spot: where in the site (`spot_of`).
    """
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join((kind, site, spot, opened_by))))


def spot_of(bin_id: str | None, sku: str | None) -> str:
    """Where in its site an anomaly is: the bin or, for a SKU at the whole site, "/SKU". No bin's name holds a slash."""
    return f"/{sku or ''}" if bin_id is None else bin_id


def check_spot(kind: str, bin_id: str | None, sku: str | None) -> None:
    """Raises: BadEvent: a kind about a bin names none, or one about a SKU at a site names no SKU, or a bin."""
    if kind in OF_A_BIN and bin_id is None:
        raise BadEvent(Code.MISSING_FIELD, "/data/bin", f"an anomaly of kind {kind} is about a bin: bin is missing")
    if kind in OF_A_SKU and sku is None:
        raise BadEvent(Code.MISSING_FIELD, "/data/sku", f"an anomaly of kind {kind} is about a SKU: sku is missing")
    if kind in OF_A_SKU and bin_id is not None:
        reason = f"an anomaly of kind {kind} is about the whole site: it must not name a bin"
        raise BadEvent(Code.CONTRADICTION, "/data/bin", reason)


def place(cursor: str) -> tuple[int, str]:
    """(raised_at, id) of a cursor. Raises: BadEvent: it is not one."""
    at, dot, name = cursor.partition(".")
    if not dot or not name or not at.isascii() or not at.isdigit() or len(at) > 15:
        raise BadEvent(Code.OUT_OF_RANGE, "/before", "before must be the cursor of an anomaly that a list returned")
    return int(at), name


def advance(anomaly: Anomaly | None, step: Step) -> Anomaly | None:
    """The anomaly after one more step; the same object where the step changes nothing (a repeat, or evidence too late).

    Raises: BadEvent: a person's step that lacks what it must say, or on an anomaly that is not there, has ended, or is
        another bin's.
    """
    if step.action in BY_PEOPLE:
        _check_person(anomaly, step)
    elif step.action not in BY_AGENTS:
        raise BadEvent(Code.UNKNOWN_TYPE, "/data/action", f"there is no step {step.action!r}")
    if anomaly is None:
        return _opened(step) if step.action == "raised" else None
    if not anomaly.live or step.action == "raised":
        return anomaly
    changed = replace(anomaly, updated_at=max(anomaly.updated_at, step.at), **_effect(anomaly, step))
    return anomaly if changed == anomaly else changed


def _opened(step: Step) -> Anomaly:
    return Anomaly(
        step.anomaly_id, step.kind, step.site, step.bin, step.sku, Status.OPEN, step.at, step.at, step.knowledge
    )


def _check_person(anomaly: Anomaly | None, step: Step) -> None:
    """Raises: BadEvent: this step cannot follow."""
    field = _MUST_SAY[step.action]
    if not getattr(step, field):
        raise BadEvent(Code.MISSING_FIELD, f"/data/{field}", f"who has {step.action} it must say: {field} is missing")
    if anomaly is None:
        reason = f"there is no anomaly {step.anomaly_id} to be {step.action}"
        raise BadEvent(Code.CONTRADICTION, "/data/anomaly_id", reason)
    said, known = (f"{x.site}/{spot_of(x.bin, x.sku)}" for x in (step, anomaly))
    if said != known:
        raise BadEvent(Code.CONTRADICTION, "/data/bin", f"anomaly {anomaly.id} is of {known}, not of {said}")
    if not anomaly.live and step.action != str(anomaly.status):
        reason = f"anomaly {anomaly.id} is {anomaly.status}; it can no longer be {step.action}"
        raise BadEvent(Code.CONTRADICTION, "/data/action", reason)


def _effect(anomaly: Anomaly, step: Step) -> dict[str, Any]:
    """The fields of an anomaly that a step sets."""
    note = {"note": step.note} if step.note else {}
    match step.action:
        case "updated":
            return {"knowledge": step.knowledge}
        case "resolved":
            return {"status": Status.RESOLVED, "knowledge": _last_known(anomaly.knowledge, step.knowledge)}
        case "acknowledged":
            return {"status": Status.ACKNOWLEDGED, "acknowledged_by": step.actor, **note}
        case "assigned":
            return {"assignee": step.assignee, **note}
    return {"status": Status.CLOSED, "closed_by": step.actor, "close_reason": step.reason, **note}


def _last_known(before: Knowledge, now: Knowledge) -> Knowledge:
    """What is said now, and where it says nothing (a count settled it, no picture did) what was known before."""
    said = {f.name: value for f in fields(now) if (value := getattr(now, f.name)) is not None}
    return replace(before, **said)
