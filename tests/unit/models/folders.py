"""Release folders for tests. In: a figure, bytes of weights. Out: a folder whose card names them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def release(folder: Path, nll: float | None, weights: bytes = b"weights", **card: Any) -> Path:
    """A release folder with safetensors and a card; its held-out figure, lower being better. `card`: more entries."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    held_out = {"held_out": {"metric": "nll", "value": nll, "better": "lower"}} if nll is not None else {}
    (folder / "card.json").write_text(json.dumps({"sha256": digest(weights)} | held_out | card))
    return folder
