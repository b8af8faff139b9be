"""The time axis: what a period is, inferred from the values of one column.

In: dates, text such as 2024-W05 or 2024-01, or whole numbers. Out: a Periods (kind, first, count) and each row's index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from inventorybot.errors import SetupError

KINDS = ("daily", "weekly", "monthly")
YEAR = {"daily": 364, "weekly": 52, "monthly": 12}
"""Periods a year; 364 keeps the weekday of a day a year ago."""
SEASON = {"daily": 7, "weekly": 52, "monthly": 12}
"""The season that simple methods repeat, in periods."""
WINDOWS = {"daily": (7, 14, 28, 91, 182), "weekly": (2, 4, 13, 26, 52), "monthly": (2, 3, 6, 12, 24)}
"""Periods of the moving averages that models see."""
NEVER = "NaT"
MAX_PERIODS = 20_000
"""More periods than 54 years of days: a wrong date, not a history."""


@dataclass(frozen=True, slots=True)
class Periods:
    """A regular time axis.

    Args:
        kind: daily, weekly or monthly.
        first: first period, as a date (weekly: its first day), or as a whole number where the data only numbers periods.
        count: number of periods.
        dated: whether the data holds dates.
    """

    kind: str
    first: int | pd.Timestamp
    count: int
    dated: bool

    def labels(self, start: int, stop: int) -> list[str]:
        """The names of periods start .. stop-1, which may lie beyond the history: ISO dates, or whole numbers."""
        if not self.dated:
            return [str(int(self.first) + i) for i in range(start, stop)]
        return [d.date().isoformat() for d in self.dates(start, stop)]

    def dates(self, start: int, stop: int) -> pd.DatetimeIndex:
        """The first days of periods start .. stop-1. Raises: SetupError: the data holds no dates."""
        if not self.dated:
            raise SetupError("the periods are only numbered: give dates to use a calendar")
        steps = range(start, stop)
        first = pd.Timestamp(self.first)
        if self.kind == "monthly":
            return pd.DatetimeIndex([first + pd.DateOffset(months=i) for i in steps])
        days = 7 if self.kind == "weekly" else 1
        return pd.DatetimeIndex([first + pd.Timedelta(days=days * i) for i in steps])

    def index_of(self, values: pd.Series) -> NDArray[np.int64]:
        """The period number of each value, counted from `first`; -1 where the value is no period."""
        if not self.dated:
            number = pd.to_numeric(values, errors="coerce")
            found = (number - int(self.first)).to_numpy(np.float64, na_value=np.nan)
            return np.where(np.isfinite(found), found, -1).astype(np.int64)
        days = parse_dates(values)
        first = pd.Timestamp(self.first)
        if self.kind == "monthly":
            found = (days.dt.year - first.year) * 12 + days.dt.month - first.month
        else:
            found = (days - first).dt.days // (7 if self.kind == "weekly" else 1)
        return np.asarray(found.fillna(-1), np.int64)

    def position(self, start: int, stop: int) -> NDArray[np.float32]:
        """Where in the year periods start .. stop-1 lie, as a share of it; (stop - start,), 0 <= share < 1."""
        if self.dated:
            days = self.dates(start, stop)
            return np.asarray((days.dayofyear.to_numpy() - 1) / 366, np.float32)
        year = YEAR[self.kind]
        return (np.arange(start, stop) % year / year).astype(np.float32)


def parse_dates(values: pd.Series) -> pd.Series:
    """Days of any dates, ISO weeks (2024-W05) or months (2024-01, 202401); NaT where a value is none of them."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz_localize(None).dt.normalize() if values.dt.tz else values.dt.normalize()
    unique = pd.Series(values.dropna().unique())
    text = unique.astype(str).str.strip().str.removesuffix(".0")
    week = text.str.fullmatch(r"\d{4}-?W\d{1,2}")
    if bool(week.any()):
        padded = text[week].str.replace(r"-?W(\d{1,2})", lambda m: f"-W{int(m[1]):02d}-1", regex=True)
        days = pd.to_datetime(padded, format="%G-W%V-%u", errors="coerce").reindex(text.index)
    elif bool(text.str.fullmatch(r"(19|20)\d{2}(0[1-9]|1[0-2])").all()):
        days = pd.to_datetime(text, format="%Y%m", errors="coerce")
    elif bool(text.str.fullmatch(r"\d{8}").all()):
        days = pd.to_datetime(text, format="%Y%m%d", errors="coerce")
    else:
        days = _mixed(text)
    return values.map(dict(zip(unique, days, strict=True))).astype("datetime64[ns]").dt.normalize()


def _mixed(text: pd.Series) -> pd.Series:
    """ISO dates first; what is left as the format that reads most of it, day or month first."""
    days = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    left = days.isna()
    if bool(left.any()):
        rest = text[left]
        ways = [
            pd.to_datetime(rest, format=f, errors="coerce")
            for f in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%b %Y", "%d %b %Y")
        ]
        best = max(ways, key=lambda w: int(w.notna().sum()))
        days = days.copy()
        days[left] = best
    return days


def infer(values: pd.Series, name: str, kind: str | None = None) -> Periods:
    """The time axis of a column.

    Args:
        values: the column, as read.
        name: its name; `week` and `month` decide what whole numbers and odd dates mean.
        kind: daily, weekly or monthly, where a person has said so.
    Raises: SetupError: no value is a period, `kind` is unknown, or the span is absurd.
    """
    if kind is not None and kind not in KINDS:
        raise SetupError(f"period {kind!r} is none of {', '.join(KINDS)}")
    hint = kind or next((k for word, k in _HINTS if word in name.lower()), None)
    if numbered(values):
        number = pd.to_numeric(values, errors="coerce").dropna()
        low, high = int(number.min()), int(number.max())
        return _checked(Periods(hint or "weekly", low, high - low + 1, False))
    days = parse_dates(values).dropna()
    if days.empty:
        raise SetupError(f"column {name!r} holds no date, ISO week, month or whole number: name another with --period")
    unique = pd.DatetimeIndex(np.sort(days.unique()))
    kind = kind or (hint if hint and len(unique) < 3 else None) or _kind_of(unique)
    if hint in ("weekly", "monthly") and kind == "daily":
        kind = str(hint)
    return _checked(_axis(unique, kind))


_HINTS = (("week", "weekly"), ("wk", "weekly"), ("month", "monthly"), ("day", "daily"))


def numbered(values: pd.Series) -> bool:
    """Whether a column only numbers its periods: whole numbers that are not dates such as 20240131 or 202401."""
    number = pd.to_numeric(values, errors="coerce")
    if pd.api.types.is_datetime64_any_dtype(values) or number.notna().mean() < 0.5:
        return False
    number = number.dropna()
    dates = number.between(19_000_101, 21_001_231) | (number.between(190_001, 210_012) & (number % 100).between(1, 12))
    return bool((number % 1 == 0).all() and not dates.all())


def _kind_of(unique: pd.DatetimeIndex) -> str:
    """Weekly if all days lie whole weeks apart, monthly if all are the same (or the last) day of a month, else daily."""
    if len(unique) < 2:
        return "weekly"
    gaps = np.diff(unique.to_numpy()).astype("timedelta64[D]").astype(int)
    if (gaps % 7 == 0).all():
        return "weekly"
    if len(set(unique.day)) == 1 or bool(unique.is_month_end.all()) or bool((gaps >= 28).all()):
        return "monthly"
    return "daily" if np.median(gaps) < 5 else "weekly"


def _axis(unique: pd.DatetimeIndex, kind: str) -> Periods:
    first, last = unique[0], unique[-1]
    if kind == "monthly":
        first = first.replace(day=1)
        count = (last.year - first.year) * 12 + last.month - first.month + 1
    else:
        count = (last - first).days // (7 if kind == "weekly" else 1) + 1
    return Periods(kind, first, int(count), True)


def _checked(periods: Periods) -> Periods:
    if periods.count > MAX_PERIODS:
        raise SetupError(
            f"the periods span {periods.count:,}; at most {MAX_PERIODS:,} are allowed: correct the earliest or latest"
        )
    return periods
