"""The few column operations that features are made of, on matrices (slot, day). Every one looks at today and before only.

In, out: matrices (S, D), float64; conditions are bool. Each method names the Spark column expression it stands for, where `w` is
Window.partitionBy("site", "sku").orderBy("day"); an object with the same methods over Spark columns computes the same features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml.anomaly.story import Flags, Matrix, Story, codes

FOREVER = 400.0
"""Days since something that never happened."""


class Windows:
    """The operations over one story: site, sku and family are its own."""

    def __init__(self, story: Story) -> None:
        site, sites = codes(story.site)
        sku, skus = codes(story.sku)
        family, families = codes(np.char.add(np.char.add(story.site, "\x1f"), story.family))
        self._groups = {"site": (site, sites), "sku": (sku, skus), "family": (family, families)}

    def lag(self, x: Matrix, n: int) -> Matrix:
        """Its value n days ago; 0 before the first day. Spark: lag(x, n, 0).over(w)."""
        out = np.zeros_like(x)
        out[:, n:] = x[:, : x.shape[1] - n]
        return out

    def running(self, x: Matrix) -> Matrix:
        """The sum of all days so far. Spark: sum(x).over(w.rowsBetween(unboundedPreceding, 0))."""
        return np.cumsum(x, axis=1)

    def total(self, x: Matrix, n: int) -> Matrix:
        """The sum of the last n days, today's included. Spark: sum(x).over(w.rowsBetween(1 - n, 0))."""
        sums = self.running(x)
        return sums - self.lag(sums, n) if n < x.shape[1] else sums

    def largest(self, x: Matrix, n: int) -> Matrix:
        """The maximum of the last n days. Spark: max(x).over(w.rowsBetween(1 - n, 0))."""
        out, width = x.copy(), 1
        while width < n:  # a window of 2w is two windows of w
            step = min(width, n - width)
            out[:, step:] = np.maximum(out[:, step:], out[:, :-step])
            width += step
        return out

    def latest(self, x: Matrix, when: Flags) -> Matrix:
        """Its value on the last day on which `when` held; 0 before. Spark: last(F.when(when, x), True).over(w), coalesced with 0."""
        day = np.where(when, np.arange(x.shape[1]), -1)
        at = np.maximum.accumulate(day, axis=1)
        values = np.take_along_axis(x, np.maximum(at, 0), axis=1)
        return np.where(at >= 0, values, 0.0)

    def days_since(self, when: Flags) -> Matrix:
        """Days since `when` last held, 0 on the day itself, FOREVER before. Spark: day − last(F.when(when, day), True).over(w)."""
        day = np.arange(when.shape[1])
        at = np.maximum.accumulate(np.where(when, day, -1), axis=1)
        return np.where(at >= 0, np.minimum(day - at, FOREVER), FOREVER).astype(np.float64)

    def total_since(self, x: Matrix, when: Flags) -> Matrix:
        """The sum of the days after `when` last held (of all, before). Spark: running − last(F.when(when, running), True).over(w)."""
        sums = self.running(x)
        return sums - self.latest(sums, when)

    def largest_since(self, x: Matrix, when: Flags) -> Matrix:
        """The maximum of the days after `when` last held, at least 0; 0 on the day itself.

        Spark: max(F.when(~when, x)) over partitionBy("site", "sku", stretch).orderBy("day"), stretch = sum(when).over(w).
        """
        out, so_far = np.zeros_like(x), np.zeros(x.shape[0])
        for day in range(x.shape[1]):
            so_far = np.where(when[:, day], 0.0, np.maximum(so_far, x[:, day]))
            out[:, day] = so_far
        return out

    def total_of(self, group: str, x: Matrix) -> Matrix:
        """The sum over all slots of a "site", "sku" or (site) "family" that day. Spark: sum(x).over(partitionBy(group, "day"))."""
        which, n = self._groups[group]
        sums = np.zeros((n, x.shape[1]))
        np.add.at(sums, which, x)
        return np.asarray(sums[which])

    def largest_of(self, group: str, x: Matrix) -> Matrix:
        """The maximum over all slots of a group that day. Spark: max(x).over(partitionBy(group, "day"))."""
        which, n = self._groups[group]
        tops = np.full((n, x.shape[1]), -np.inf)
        np.maximum.at(tops, which, x)
        return np.asarray(tops[which])


def number(when: Flags) -> Matrix:
    """1 where it holds. Spark: when.cast("double")."""
    return when.astype(np.float64)


def either(when: Flags, x: npt.ArrayLike, y: npt.ArrayLike) -> Matrix:
    """x where it holds, else y. Spark: F.when(when, x).otherwise(y)."""
    return np.where(when, x, y).astype(np.float64)
