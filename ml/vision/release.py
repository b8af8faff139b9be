"""Turns training checkpoints into a release: weights, a graph, a card with honest metrics, and a page for people.

In: `checkpoint.pt` of `train.py`, one or, for an ensemble, several, and the bins they were trained on. Out:
`OUT/model.safetensors` (half precision), `OUT/graph.onnx` (no weights), `OUT/card.json`, `OUT/README.md`. Temperature and
prediction sets are fitted on the part of the training bins that was kept back, figures are of the validation split;
all go through the same loader that serves.

Run: inventorybot train count --bins BINS.zip --out runs/count --release OUT      (it ends with this)
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import inventorybot
from inventorybot.adapters import backbones, count_model
from inventorybot.adapters.count_graph import Floats
from inventorybot.adapters.jpeg import MEAN, STD, decode
from inventorybot.domain.counting import MAX_COUNT
from inventorybot.errors import SetupError
from ml.vision import conformal
from ml.vision.alerts import alert_view, suspicion
from ml.vision.card import LICENCE, LIMITS, readme
from ml.vision.config import TrainConfig, changed
from ml.vision.data import Bin, read_bins, read_jpegs
from ml.vision.evaluate import Ints, fit_temperature, intervals, of_guesses, restrict
from ml.vision.graph import write_graph
from ml.vision.render import render_bins
from ml.vision.train import kept_back, together

HELD_OUT_SEED = 77_000
"""Rendered pictures are measured on this seed; training draws from another."""

_SHARED = ("arch", "loss", "eval_px", "bins", "calibration")
"""What the members of an ensemble must have in common."""


def write_release(
    checkpoints: Path | Sequence[Path],
    out: Path,
    *,
    version: str,
    created: datetime,
    rendered: int = 400,
    note: str = "",
) -> dict[str, Any]:
    """Writes a release folder and returns its card.

    Args:
        checkpoints: from `train.py`, one or several that were trained alike; read as weights only.
        out: folder, made if missing.
        version: e.g. "v1".
        created: now, UTC.
        rendered: number of rendered pictures to measure on.
        note: what else whoever reads the card must know of this run.
    Raises: SetupError: the checkpoints do not go together.
    """
    states, configs = _read_checkpoints([checkpoints] if isinstance(checkpoints, Path) else list(checkpoints))
    config = configs[0]
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: _half(value) for name, value in together([s["ema"] for s in states], config).items()}
    save_file(weights, out / "model.safetensors", metadata={"arch": config.arch})
    shape: dict[str, Any] = {"arch": config.arch, "members": len(states), "flip": config.flip}
    net = backbones.count_net(load_file(out / "model.safetensors"), count_model.CLASSES, **shape)
    card: dict[str, Any] = {
        "name": "count",
        "version": version,
        "created": created.isoformat(timespec="seconds"),
        "task": "count the items in one picture of a bin: p(0), p(1), ..., p(20 or more)",
        **shape,
        "classes": [*(str(k) for k in range(MAX_COUNT)), f"{MAX_COUNT}+"],
        "input": {"px": config.eval_px, "mean": MEAN, "std": STD, "colour": "RGB", "resize": "to a square, bilinear"},
        "temperature": 1.0,
        "class_prior": [1 / (MAX_COUNT + 1)] * (MAX_COUNT + 1),
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "graph": write_graph(net, config.eval_px, out / "graph.onnx"),
        "data_sha256": states[0]["data"],
        "config": json.loads(states[0]["config"]) | {"bins": [Path(b).name for b in config.bins]},
        "epochs_done": [s["epoch"] for s in states],
        "seeds": [c.seed for c in configs],
        "code_version": inventorybot.__version__,
        "licence": LICENCE,
        "limits": LIMITS,
        "note": note,
    }
    _write(out, card)
    card |= _measure(out, config, rendered)
    _write(out, card)
    (out / "README.md").write_text(readme(card))
    return card


def _read_checkpoints(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[TrainConfig]]:
    """The members of a release. Raises: SetupError: they do not go together."""
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    configs = [
        changed(TrainConfig(), json.loads(s["config"]), str(path)) for s, path in zip(states, paths, strict=True)
    ]
    for other, path in zip(configs, paths, strict=True):
        if unlike := [name for name in _SHARED if getattr(other, name) != getattr(configs[0], name)]:
            raise SetupError(f"{path} and {paths[0]} differ in {', '.join(unlike)}: they cannot be one ensemble")
    return states, configs


def _half(value: Tensor) -> Tensor:
    """Convolutions in half precision; norms and biases (1-D, 2 % of the size) as they are: their range is wider."""
    return value.half().contiguous() if value.ndim > 1 else value.contiguous()


def _write(out: Path, card: dict[str, Any]) -> None:
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def _measure(out: Path, config: TrainConfig, rendered: int) -> dict[str, Any]:
    """Fits temperature and prediction sets, then measures; the keys are those of the card."""
    bins = read_bins(config.bins) if config.bins else []
    train, val = ([b for b in bins if b.split == s] for s in ("train", "val"))
    fit = [b for b in train if kept_back(b.pair_group, config.calibration)]
    model = count_model.load(out, "cpu")
    drawn = [it for _, it in render_bins(rendered, HELD_OUT_SEED)]
    prior = class_prior([b.label for b in train])
    logits, y_fit = _logits(model, read_jpegs(fit)), _labels(fit)
    temperature = fit_temperature(torch.from_numpy(logits), torch.from_numpy(y_fit)) if fit else 1.0
    found = _on_real(_p(_logits(model, read_jpegs(val)), temperature), val, prior) if val else {}
    y = np.array([min(r.quantity, MAX_COUNT) for r in drawn])
    p = _p(_logits(model, [r.jpeg for r in drawn]), temperature)
    found["rendered"] = intervals(p, y, [str(i) for i in range(len(y))])
    counts = {"train": len(train) - len(fit), "calibration": len(fit), "val": len(val)}
    counts |= {"val_0to5": sum(b.label <= 5 for b in val), "rendered_report": len(drawn)}
    return {
        "temperature": round(temperature, 4),
        "class_prior": prior,
        "conformal": conformal.thresholds(_p(logits, temperature), y_fit) if fit else {},
        "images": counts,
        "metrics": found,
        "baselines": _baselines(train, val),
    } | _held_out(found)


def _labels(bins: Sequence[Bin]) -> Ints:
    return np.array([b.label for b in bins], np.int64)


def _p(logits: Floats, temperature: float) -> Floats:
    p: Floats = (torch.from_numpy(logits) / temperature).softmax(1).numpy()
    return p


def in_fit_half(group: str) -> bool:
    """Which half of some bins a pair group is in, where each half is measured under what the other fitted."""
    return hashlib.sha256(b"half:" + group.encode()).digest()[0] < 128


def class_prior(labels: list[int]) -> list[float]:
    """Frequencies of the 21 counts among training bins, half a bin added to each, so that none is 0."""
    n = Counter(labels)
    total = len(labels) + 0.5 * (MAX_COUNT + 1)
    return [round((n[k] + 0.5) / total, 9) for k in range(MAX_COUNT + 1)]


def _held_out(found: dict[str, Any]) -> dict[str, Any]:
    """The one figure by which the registry compares releases: a proper score, so that calibration counts too."""
    if "all" not in found:
        return {}
    return {"held_out": {"metric": "nll of all counts", "value": found["all"]["nll"]["value"], "better": "lower"}}


def _on_real(p: Floats, report: list[Bin], prior: list[float]) -> dict[str, Any]:
    y, groups = _labels(report), [b.pair_group for b in report]
    few = y <= 5
    found: dict[str, Any] = {"all": intervals(p, y, groups)}
    if few.any():
        of_few = [g for g, f in zip(groups, few, strict=True) if f]
        found["0to5_plain"] = intervals(p[few], y[few], of_few)
        found["0to5_restricted"] = intervals(restrict(p[few]), y[few], of_few)
    recorded = np.array([b.quantity for b in report])
    return found | {"alerts": alert_view(suspicion(p, prior, recorded), groups)}


def _baselines(train: list[Bin], report: list[Bin]) -> dict[str, Any]:
    """What needs no picture: always the largest class of the training bins; the number of distinct ASINs on record."""
    if not report or not train:
        return {}
    found = {}
    for name, kept in (("all", report), ("0to5", [b for b in report if b.label <= 5])):
        if not kept:
            continue
        y = _labels(kept)
        classes = Counter(b.label for b in train if name == "all" or b.label <= 5)
        largest = np.full(len(y), classes.most_common(1)[0][0])
        asins = np.array([min(b.asins, MAX_COUNT) for b in kept])
        for guess_name, guess in (("largest_class", largest), ("distinct_asins", asins)):
            found[f"{name}_{guess_name}"] = {k: round(v, 4) for k, v in of_guesses(guess, y).items()}
    return found


def _logits(model: count_model.CountModel, jpegs: list[bytes]) -> Floats:
    """(N, 21) float64, through the loader that serves."""
    px = model.card.input.px
    chunks = [jpegs[i : i + 64] for i in range(0, len(jpegs), 64)]
    return np.concatenate(
        [np.empty((0, MAX_COUNT + 1)), *(model.logits(np.stack([decode(j, px) for j in c])) for c in chunks)]
    )
