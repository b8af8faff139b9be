"""Turns a training checkpoint into a release: weights, a card with honest metrics, and a page for people.

In: `checkpoint.pt` of `train.py` and the bins it was trained on. Out: `OUT/model.safetensors` (half precision),
`OUT/card.json`, `OUT/README.md`. Temperature is fitted on one half of the validation pair groups and measured on the
other; `crossfit_` figures are of both halves, each under the temperature fitted on the other. All go through the same
loader that serves.

Run: inventorybot train count --bins BINS.zip --out runs/count --release OUT      (it ends with this)
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import inventorybot
from inventorybot.adapters import count_model, efficientnet
from inventorybot.adapters.jpeg import MEAN, STD, decode
from inventorybot.domain.counting import MAX_COUNT
from ml.vision.card import LICENCE, LIMITS, readme
from ml.vision.data import Bin, read_bins
from ml.vision.evaluate import Floats, fit_temperature, intervals, of_guesses, restrict
from ml.vision.render import render_bins

HELD_OUT_SEED = 77_000
"""Rendered pictures are measured on this seed; training draws from another."""


def write_release(
    checkpoint: Path, out: Path, *, version: str, created: datetime, rendered: int = 400, note: str = ""
) -> dict[str, Any]:
    """Writes a release folder and returns its card.

    Args:
        checkpoint: from `train.py`; read as weights only.
        out: folder, made if missing.
        version: e.g. "v1".
        created: now, UTC.
        rendered: number of rendered pictures to measure on.
        note: what else whoever reads the card must know of this run.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = json.loads(state["config"])
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: _half(v) for k, v in state["ema"].items()}, out / "model.safetensors", metadata={"arch": efficientnet.ARCH}
    )
    card: dict[str, Any] = {
        "name": "count",
        "version": version,
        "created": created.isoformat(timespec="seconds"),
        "task": "count the items in one picture of a bin: p(0), p(1), ..., p(20 or more)",
        "arch": efficientnet.ARCH,
        "classes": [*(str(k) for k in range(MAX_COUNT)), f"{MAX_COUNT}+"],
        "input": {
            "px": config["eval_px"],
            "mean": MEAN,
            "std": STD,
            "colour": "RGB",
            "resize": "to a square, bilinear",
        },
        "temperature": 1.0,
        "class_prior": [1 / (MAX_COUNT + 1)] * (MAX_COUNT + 1),
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "data_sha256": state["data"],
        "config": config | {"bins": [Path(b).name for b in config["bins"]], "epochs_done": state["epoch"]},
        "code_version": inventorybot.__version__,
        "licence": LICENCE,
        "limits": LIMITS,
        "note": note,
    }
    _write(out, card)
    bins = read_bins(config["bins"])
    card |= _measure(out, card, bins, rendered)
    _write(out, card)
    (out / "README.md").write_text(readme(card))
    return card


def _half(value: Tensor) -> Tensor:
    """Convolutions in half precision; norms and biases (1-D, 2 % of the size) as they are: their range is wider."""
    return value.half().contiguous() if value.ndim > 1 else value.contiguous()


def _write(out: Path, card: dict[str, Any]) -> None:
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def in_fit_half(group: str) -> bool:
    """Whether a validation pair group is used to fit the temperature; the others are reported on."""
    return hashlib.sha256(b"half:" + group.encode()).digest()[0] < 128


def _measure(out: Path, card: dict[str, Any], bins: list[Bin], rendered: int) -> dict[str, Any]:
    """Fits the temperature, then measures; the keys are those of the card."""
    train, val = ([b for b in bins if b.split == s] for s in ("train", "val"))
    fit, report = [b for b in val if in_fit_half(b.pair_group)], [b for b in val if not in_fit_half(b.pair_group)]
    model = count_model.load(out, "cpu")
    drawn = [it for _, it in render_bins(rendered, HELD_OUT_SEED)]
    logits = {name: _logits(model, jpegs) for name, jpegs in (
        ("fit", [b.jpeg() for b in fit]), ("report", [b.jpeg() for b in report]), ("rendered", [r.jpeg for r in drawn])
    )}  # fmt: skip
    temperature = _temperature(logits["fit"], fit)
    p = {name: (x / temperature).softmax(1).numpy() for name, x in logits.items()}
    found: dict[str, Any] = {}
    if fit and report:
        other = (logits["fit"] / _temperature(logits["report"], report)).softmax(1).numpy()
        found = _on_real(p["report"], report)
        both = _on_real(np.concatenate([other, p["report"]]), fit + report)
        found |= {f"crossfit_{name}": value for name, value in both.items()}
    y = np.array([min(r.quantity, MAX_COUNT) for r in drawn])
    found["rendered"] = intervals(p["rendered"], y, [str(i) for i in range(len(y))])
    counts = {"train": len(train), "fit": len(fit), "report": len(report), "rendered_report": len(drawn)}
    counts["report_0to5"] = sum(b.label <= 5 for b in report)
    return {
        "temperature": round(temperature, 4),
        "class_prior": class_prior([b.label for b in train]),
        "images": counts,
        "metrics": found,
        "baselines": _baselines(train, report, "") | _baselines(train, fit + report, "crossfit_"),
    } | _held_out(found)


def class_prior(labels: list[int]) -> list[float]:
    """Frequencies of the 21 counts among training bins, half a bin added to each, so that none is 0."""
    n = Counter(labels)
    total = len(labels) + 0.5 * (MAX_COUNT + 1)
    return [round((n[k] + 0.5) / total, 6) for k in range(MAX_COUNT + 1)]


def _held_out(found: dict[str, Any]) -> dict[str, Any]:
    """The one figure by which the registry compares releases: a proper score, so that calibration counts too."""
    if "crossfit_all" not in found:
        return {}
    value = found["crossfit_all"]["nll"]["value"]
    return {"held_out": {"metric": "nll of all counts", "value": value, "better": "lower"}}


def _temperature(logits: Tensor, bins: list[Bin]) -> float:
    return fit_temperature(logits, torch.tensor([b.label for b in bins])) if bins else 1.0


def _on_real(p: Floats, report: list[Bin]) -> dict[str, Any]:
    y = np.array([b.label for b in report])
    groups = [b.pair_group for b in report]
    few = y <= 5
    found = {"all": intervals(p, y, groups)}
    if few.any():
        of_few = [g for g, f in zip(groups, few, strict=True) if f]
        found["0to5_plain"] = intervals(p[few], y[few], of_few)
        found["0to5_restricted"] = intervals(restrict(p[few]), y[few], of_few)
    return found


def _baselines(train: list[Bin], report: list[Bin], prefix: str) -> dict[str, Any]:
    """What needs no picture: always the largest class of the training bins; the number of distinct ASINs on record."""
    if not report or not train:
        return {}
    found = {}
    for name, kept in (("all", report), ("0to5", [b for b in report if b.label <= 5])):
        if not kept:
            continue
        y = np.array([b.label for b in kept])
        classes = Counter(b.label for b in train if name == "all" or b.label <= 5)
        largest = np.full(len(y), classes.most_common(1)[0][0])
        asins = np.array([min(b.asins, MAX_COUNT) for b in kept])
        for guess_name, guess in (("largest_class", largest), ("distinct_asins", asins)):
            found[f"{prefix}{name}_{guess_name}"] = {k: round(v, 4) for k, v in of_guesses(guess, y).items()}
    return found


def _logits(model: count_model.CountModel, jpegs: list[bytes]) -> Tensor:
    """(N, 21) float64, through the loader that serves."""
    px = model.card.input.px
    chunks = [jpegs[i : i + 64] for i in range(0, len(jpegs), 64)]
    return torch.cat(
        [torch.empty(0, MAX_COUNT + 1), *(model.logits(np.stack([decode(j, px) for j in c])) for c in chunks)]
    )
