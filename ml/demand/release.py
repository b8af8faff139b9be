"""A forecaster as a folder, and back: card.json, trees.txt, size.txt (LightGBM's own text), model.safetensors. No pickle.

In: a Forecaster, or a folder. Out: the other. Every file's SHA-256 is in the card and checked on reading.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from inventorybot import __version__
from inventorybot.domain.demand import LEVELS
from inventorybot.errors import SetupError
from ml.demand.distribution import Distribution
from ml.demand.forecaster import Config, Forecaster
from ml.demand.mlp import Mlp, MlpConfig
from ml.demand.panel import Panel
from ml.demand.trees import Trees

CARD = "card.json"
FORMAT = 1


def save(
    model: Forecaster,
    folder: Path,
    *,
    config: Config,
    data_sha256: str,
    created: datetime,
    extra: dict[str, bytes] | None = None,
) -> dict[str, Any]:
    """Writes the folder and returns its card.

    Args: data_sha256: of the panel (`data_hash`); created: the time now, UTC; extra: further files, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    d = model.distribution
    tensors = {f"tables.{i}": torch.from_numpy(np.asarray(t)) for i, t in enumerate(d.tables.values())}
    networks = {"mlp": model.mlp, "transferred": model.transferred}
    for name, mlp in networks.items():
        tensors |= {f"{name}.{k}": v.contiguous() for k, v in mlp.state().items()} if mlp else {}
    parts = {"model.safetensors": save_tensors(tensors), **(extra or {})}
    if model.trees:
        parts["trees.txt"] = model.trees.booster.model_to_string().encode()
    if d.size:
        parts["size.txt"] = d.size.model_to_string().encode()
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    card = {
        "format": FORMAT, "name": "demand", "created": created.isoformat(timespec="seconds"), "code_version": __version__,
        "kind": model.kind, "horizon": model.horizon, "known": list(model.known), "levels": list(LEVELS),
        "held_out": {"metric": "WAPE", "value": model.facts["table"]["chosen"]["WAPE"], "better": "lower"},
        "choice": model.choice, "config": asdict(config), "data_sha256": data_sha256, "facts": model.facts,
        "networks": {n: {"config": asdict(m.config), "horizon": m.horizon, "known": m.known} for n, m in networks.items() if m},
        "distribution": {"edges": list(map(float, d.edges)), "far": d.far, "groups": list(d.tables)},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    return card


def read(folder: Path) -> tuple[Forecaster, dict[str, Any]]:
    """The forecaster of a folder, and its card.

    Raises: SetupError: no card, another format, or a file that is missing or not the one the card names.
    """
    return of_parts(parts(folder), str(folder))


def parts(folder: Path) -> dict[str, bytes]:
    """The files of a release by name, the card among them. Raises: SetupError: no card, or a file is missing."""
    try:
        card = (folder / CARD).read_bytes()
        return {CARD: card} | {name: (folder / name).read_bytes() for name in json.loads(card)["sha256"]}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SetupError(f"{folder} is no demand model: {type(e).__name__}: {e}") from e


def of_parts(files: dict[str, bytes], name: str = "the release") -> tuple[Forecaster, dict[str, Any]]:
    """The same as `read` from the files' contents. Args: name: of what errors speak."""
    try:
        card = json.loads(files[CARD])
        if card["format"] != FORMAT:
            raise SetupError(f"{name} has model format {card['format']}; this version reads {FORMAT}: train it anew")
        for file, digest in card["sha256"].items():
            if hashlib.sha256(files[file]).hexdigest() != digest:
                raise SetupError(
                    f"{name}/{file} is not the file its card names: copy the model again, or train it anew"
                )
        return _assemble(card, files), card
    except (ValueError, KeyError, TypeError) as e:
        raise SetupError(f"{name} is no demand model: {type(e).__name__}: {e}") from e


def _assemble(card: dict[str, Any], parts: dict[str, bytes]) -> Forecaster:
    tensors = load_tensors(parts["model.safetensors"])
    d, known = card["distribution"], tuple(card["known"])
    tables = {g: tensors[f"tables.{i}"].numpy() for i, g in enumerate(d["groups"])}
    size = lgb.Booster(model_str=parts["size.txt"].decode()) if "size.txt" in parts else None
    trees = None
    if "trees.txt" in parts:
        trees = Trees(lgb.Booster(model_str=parts["trees.txt"].decode()), card["horizon"], known)
    networks = {}
    for name, it in card["networks"].items():
        state = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
        networks[name] = Mlp.of_state(state, MlpConfig(**it["config"]), it["horizon"], tuple(it["known"]))
    out = Forecaster(
        card["choice"], Distribution(size, tables, np.array(d["edges"]), d["far"]), card["horizon"], card["kind"], known,
        trees, networks.get("mlp"), card["facts"],
    )  # fmt: skip
    out.transferred = networks.get("transferred")
    return out


def data_hash(panel: Panel) -> str:
    """SHA-256 of names, units and covariates: the same data, the same hash."""
    digest = hashlib.sha256()
    for names in (panel.store, panel.item, panel.category):
        digest.update("\n".join(names).encode())
    digest.update(repr(panel.periods).encode())
    digest.update(np.ascontiguousarray(panel.units).tobytes())
    for name, values in sorted(panel.covariates.items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
