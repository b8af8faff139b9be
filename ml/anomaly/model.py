"""The detector of suspect records: gradient-boosted trees, calibrated, with an estimate of the units and reasons.

In: features (features.py). Out: the probability that a record is materially wrong, by how many units, and what each feature added.
On disk: `suspect.txt` and `units.txt` (LightGBM's text format) and `card.json`; nothing that could run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from inventorybot.errors import SetupError
from ml.anomaly.features import NAMES

Rows = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]

FORM = 1
"""Of a card; another is refused."""

SHIPPED = Path(__file__).parent / "releases" / "suspect-v1"
"""The release that comes with the product, pre-trained on simulated warehouses."""


@dataclass(frozen=True, slots=True)
class Detector:
    """Trees and their calibration.

    Args:
        suspect: trees whose sum is the log-odds of a wrong record, before calibration.
        units: trees for the signed error, as a share of `scale`.
        slope, shift: calibrated log-odds = slope · sum + shift (Platt 1999).
        threshold: probability from which on a record is called suspect.
        card: everything else worth knowing; JSON.
    """

    suspect: lgb.Booster
    units: lgb.Booster
    slope: float = 1.0
    shift: float = 0.0
    threshold: float = 0.5
    card: dict[str, Any] = field(default_factory=dict)

    def raw(self, x: Rows) -> Vector:
        """(N, F) to (N,): the sum of the trees."""
        return np.asarray(self.suspect.predict(x, raw_score=True), dtype=np.float64)

    def score(self, x: Rows) -> Vector:
        """(N, F) to (N,): the calibrated probability that the record is materially wrong."""
        return probability(self.slope * self.raw(x) + self.shift)

    def units_wrong(self, x: Rows) -> Vector:
        """(N, F) to (N,): units on the record too many (too few: negative), should it be wrong; never more than it shows."""
        share = np.asarray(self.units.predict(x), dtype=np.float64)
        recorded = np.expm1(x[:, NAMES.index("recorded")].astype(np.float64))
        return np.minimum(share * scale(x), recorded)

    def contributions(self, x: Rows) -> Vector:
        """(N, F) to (N, F + 1): calibrated log-odds that each feature added, and the base; rows sum to the log-odds.

        Source: TreeSHAP, Lundberg et al. (2020), "From local explanations to global understanding", as LightGBM has it.
        """
        added = np.asarray(self.suspect.predict(x, pred_contrib=True), dtype=np.float64) * self.slope
        added[:, -1] += self.shift
        return added

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the release; returns its card."""
        folder.mkdir(parents=True, exist_ok=True)
        hashes = {}
        for name, trees in (("suspect.txt", self.suspect), ("units.txt", self.units)):
            text = trees.model_to_string()
            (folder / name).write_text(text, encoding="utf-8")
            hashes[name] = hashlib.sha256(text.encode()).hexdigest()
        card = self.card | {
            "form": FORM, "features": list(NAMES), "slope": self.slope, "shift": self.shift, "threshold": self.threshold, "files": hashes,
        }  # fmt: skip
        (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return card


def load(folder: Path) -> Detector:
    """The detector of a release folder. Raises: SetupError: it is not whole, damaged, or of other features."""
    try:
        card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("suspect.txt", "units.txt")}
        if card["form"] != FORM or card["features"] != list(NAMES):
            raise SetupError(f"{folder} was trained on other features than this version computes: train it anew")
        damaged = [n for n, text in texts.items() if hashlib.sha256(text.encode()).hexdigest() != card["files"][n]]
        numbers = {key: float(card[key]) for key in ("slope", "shift", "threshold")}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SetupError(f"{folder} is not a whole release of the suspect-record detector: {e}") from e
    if damaged:
        raise SetupError(f"{folder} is damaged: {', '.join(damaged)} is not what its card names")
    trees = {name: lgb.Booster(model_str=text) for name, text in texts.items()}
    return Detector(trees["suspect.txt"], trees["units.txt"], **numbers, card=card)


def probability(log_odds: Vector) -> Vector:
    """The logistic function."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))


def scale(x: Rows) -> Vector:
    """(N,) units that an error of a slot is measured by: what the record shows and what a week sells, and one."""
    recorded = np.expm1(x[:, NAMES.index("recorded")].astype(np.float64))
    return np.asarray(1 + recorded + 7 * np.exp(x[:, NAMES.index("rate")].astype(np.float64)))


def calibrate(raw: Vector, wrong: npt.NDArray[np.bool_], weight: Vector | None = None) -> tuple[float, float]:
    """(slope, shift) of the logistic curve with the greatest likelihood, by Newton's method, kept finite by a little ridge.

    Args: raw (N,) sums of trees; wrong (N,) what was found; weight (N,) of each row, 1 if not given.
    Source: Platt (1999), with his targets (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) against overconfidence.
    """
    w = np.ones(len(raw)) if weight is None else weight
    yes, no = float(w[wrong].sum()), float(w[~wrong].sum())
    y = np.where(wrong, (yes + 1) / (yes + 2), 1 / (no + 2))
    design = np.stack([raw, np.ones(len(raw))], 1)  # (N, 2)
    theta, before = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    for _ in range(50):
        p = probability(design @ theta)
        gradient = design.T @ (w * (p - y)) + 1e-3 * (theta - before)
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(theta[0]), float(theta[1])
