"""What the jobs on demand share: the lake's history as they read it, the release in service, and a line on what goes on.

In: settings, options. Out: a `History`; a release; or one sentence on what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd
import typer

from inventorybot.adapters.registry import ModelRegistry, Release
from inventorybot.errors import SetupError
from inventorybot.settings import Settings
from ml.history.lake import Lake, read, read_demand
from ml.jobs import NotYet

MODEL = "demand"
"""The name of the model in the registry."""
KINDS = {"day": "daily", "week": "weekly"}
DAYS = {"daily": 1, "weekly": 7}
LEAST = {"daily": 28, "weekly": 8}
"""Whole periods below which nothing is learnt: a quarter is held back, and four weeks are the least to see weekdays in."""
REACH = timedelta(days=3 * 364)
"""How far back the jobs read: models look a year back and compare with the year before; older days cost memory and tell little."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class History:
    """The lake's days. Args: daily: what was sold, by day (`read_demand`); covariates: rows of `covariates`, None where there are none; first, last: days."""

    lake: Lake
    daily: pd.DataFrame
    covariates: pd.DataFrame | None
    first: date
    last: date


def lake_of(settings: Settings, url: str) -> Lake:
    """The lake of an option, else of the settings. Raises: SetupError: neither names one."""
    return Lake(url or settings.lake)


def read_history(lake: Lake, kind: str, *, reach: timedelta = REACH, least: int = 1) -> History:
    """The newest days of the lake. Args: kind: daily or weekly; least: whole periods that are needed.

    Raises: NotYet: there are none, or fewer; says how many there are and are needed. SetupError, TryLater: it cannot be read.
    """
    days = sorted({*lake.days("daily"), *lake.days("sales")})
    if not days:
        raise NotYet(
            f"the lake {lake.url} has no history yet: `inventorybot jobs run build-history` writes it, `import-sales` brings older sales"
        )
    last = days[-1]
    first = max(days[0], last - reach)
    have = whole_periods(first, last, kind)
    if have < least:
        word = {"daily": "days", "weekly": "weeks, Monday to Sunday"}[kind]
        raise NotYet(
            f"the history is too short: the lake has {len(days)} {'day' if len(days) == 1 else 'days'}, {first} to {last}, which make "
            f"{have} whole {word}; at least {least} are needed"
        )
    daily = read_demand(lake, first, last)
    if daily.empty:
        raise NotYet(f"the lake {lake.url} has no row of a slot between {first} and {last}: nothing has moved yet")
    covariates = read(lake, "covariates")
    return History(lake, daily, None if covariates.empty else covariates, first, last)


def whole_periods(first: date, last: date, kind: str) -> int:
    """How many days or weeks (Monday to Sunday) have ended between two days, both included; the first may have begun before."""
    if kind == "weekly":
        first -= timedelta(days=first.weekday())
    return ((last - first).days + 1) // DAYS[kind]


def need_registry(settings: Settings) -> Settings:
    """The settings, which name a registry. Raises: SetupError: they do not."""
    if not settings.models:
        raise SetupError("there is no model registry: set INVENTORYBOT_MODELS; `inventorybot up` sets it")
    return settings


def kind_of(every: str) -> str:
    """daily or weekly. Raises: SetupError: it is neither day nor week."""
    if every not in KINDS:
        raise SetupError(f"--every {every!r} is none of {', '.join(KINDS)}")
    return KINDS[every]


def in_service(registry: ModelRegistry) -> Release | None:
    """The demand model in service; None: nothing was ever promoted. Raises: SetupError: it is gone. TryLater."""
    return registry.current(MODEL) if registry.promoted(MODEL) else None


def name_of(release: Release) -> str:
    """Who says so, as it is stored with each row."""
    return f"{MODEL}@{release.version}"


@contextmanager
def telling(title: str) -> Iterator[Say]:
    """A spinner with the step at hand on a terminal; a line a step elsewhere, such as in a log."""
    if not sys.stderr.isatty():
        yield lambda line: typer.echo(f"{title}: {line}", err=True)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda line: progress.update(task, description=f"{title}: {line}")
