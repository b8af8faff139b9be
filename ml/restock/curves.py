"""From a mean and five quantiles of a period's demand to a distribution.

In: mean, q05 … q95, units. Out: its quantile function at fixed levels ("atoms", each with its probability); whole units.

Between the quantiles the function is drawn straight, from `2 q05 - q25` (at least 0) below the first; above the last the
tail is exponential. The tail's mean is what the forecast's mean asks for, between half and twice what q75 and q95
suggest; what is then still missing bends the stretches between the quantiles, which themselves stay as they are.
Every part grows in proportion with the forecast, so more of everything is never less of anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inventorybot.domain.demand import LEVELS

Floats = NDArray[np.float64]

PER_STRETCH = 32
"""Atoms between two quantiles."""
TAIL_CELLS = 48
"""Atoms beyond q95, equally spaced in the logarithm of the probability that is left, down to TAIL_END."""
TAIL_END = 1e-7
NOTHING = 1e-9
"""Units below which there is no room to bend a quantile function: a billionth of an item moves no order."""
LEAST_TAIL, MOST_TAIL = 0.5, 2.0
"""The tail's mean, as a multiple of what q75 and q95 suggest."""
RARE_TAIL = 20.0
"""... as a multiple of the mean, where q75 = q95 suggest nothing: sold less than once in twenty periods."""
BEND = 8
"""Exponent of the most bent stretch."""

_STARTS = np.array([0.0, *LEVELS[:-1]])
_WIDTHS = np.diff([0.0, *LEVELS])
_T = (np.arange(PER_STRETCH) + 0.5) / PER_STRETCH
_LATE = _T**BEND
_EARLY = 1 - _LATE[::-1]
_LN5 = float(np.log(5.0))


def _tail() -> tuple[Floats, Floats]:
    """Probabilities of the tail's cells, and the mean of a standard exponential in each; (TAIL_CELLS,) each."""
    left = np.append(np.geomspace(1 - LEVELS[-1], TAIL_END, TAIL_CELLS), 0.0)
    weight = -np.diff(left)
    inner = left[:-1]
    above = np.append(inner[1:] * (np.log(inner[0] / inner[1:]) + 1), 0.0)
    return weight, (inner * (np.log(inner[0] / inner) + 1) - above) / weight


_TAIL_WEIGHT, _TAIL_AT = _tail()
WEIGHTS: Floats = np.concatenate([np.repeat(_WIDTHS / PER_STRETCH, PER_STRETCH), _TAIL_WEIGHT])
"""(J,) probabilities of the atoms; they sum to 1."""


def atoms(mean: Floats | None, quantiles: Floats) -> Floats:
    """Demand at fixed levels, rising, with the probabilities WEIGHTS; (P, J), units.

    Args: mean: (P,), None: the one that the quantiles suggest; quantiles: (P, 5) at LEVELS, never falling, >= 0.
    """
    q = np.asarray(quantiles, np.float64)
    low = np.maximum(0.0, 2 * q[:, 0] - q[:, 1])
    starts = np.column_stack([low, q[:, :-1]])  # (P, 5)
    rise = q - starts
    straight = (starts + rise / 2) @ _WIDTHS
    over = 1 - LEVELS[-1]
    suggested = (q[:, -1] - q[:, -2]) / _LN5
    if mean is None:
        mean = straight + over * (q[:, -1] + suggested)
    wanted = (np.asarray(mean, np.float64) - straight) / over - q[:, -1]
    least = np.where(suggested > 0, LEAST_TAIL * suggested, 0.0)
    most = np.where(suggested > 0, MOST_TAIL * suggested, RARE_TAIL * np.asarray(mean, np.float64))
    tail = np.clip(wanted, least, most)
    missing = over * (wanted - tail)
    room = (rise @ _WIDTHS) * (0.5 - float(_LATE.mean()))
    bend = np.clip(np.divide(missing, room, out=np.zeros_like(room), where=room > NOTHING), -1, 1)[:, None]
    shape = (1 - abs(bend)) * _T + np.where(bend < 0, -bend, 0.0) * _LATE + np.where(bend > 0, bend, 0.0) * _EARLY
    body = starts[:, :, None] + rise[:, :, None] * shape[:, None, :]
    above = q[:, -1:] + tail[:, None] * _TAIL_AT
    return np.concatenate([body.reshape(len(q), -1), above], axis=1)


def whole(x_PJ: Floats, step: int, size: int) -> Floats:
    """Atoms as probabilities of 0, 1, … `size` - 1 steps of `step` units; (P, size).

    An atom between two steps is split between them so that its mean stays: no rounding up, no rounding down.
    Args: size: above the largest atom / step + 1.
    """
    scaled = x_PJ / step
    below = np.floor(scaled).astype(np.int64)
    share = scaled - below
    rows = np.arange(len(x_PJ))[:, None] * size
    weights = np.broadcast_to(WEIGHTS, x_PJ.shape)
    flat = np.bincount((rows + below).ravel(), (weights * (1 - share)).ravel(), len(x_PJ) * size)
    flat += np.bincount((rows + below + 1).ravel(), (weights * share).ravel(), len(x_PJ) * size)
    return np.asarray(flat.reshape(len(x_PJ), size), np.float64)
