"""A released model as a folder: which files it may hold, whether it is whole, and whether it is better than another.

In: a folder with card.json and the files that the card names with their SHA-256. Out: a `Release`, or the reason why it
is none. Weights are safetensors, ONNX or LightGBM's text: nothing that could run code. What ships with the product is
found here too (`packaged`).
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventorybot.errors import SetupError

PACKAGED = {"count": ("ml.vision", "releases"), "suspect": ("ml.anomaly", "releases")}
"""Model name to (package, folder) of its packaged releases, found by name: nothing of ml is imported for it."""
CARD = "card.json"
ALLOWED = frozenset({".json", ".safetensors", ".txt", ".onnx", ".md"})
"""Suffixes of the files of a release: data that is read, never code that is run."""
PROSE = ".md"
"""For people; the only file that the card need not name."""
MAX_CARD_BYTES = 4_194_304
"""A card has some 10 kB; a larger one is none."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Release:
    """One released model: `path` is a local folder holding card.json and the files it names."""

    name: str
    version: str
    path: Path

    def card(self) -> dict[str, Any]:
        """Its card. Raises: SetupError."""
        return read_card(card_bytes(self.path), str(self.path))


def packaged(name: str) -> Release:
    """The newest release that ships with the product. Raises: SetupError: none does."""
    try:
        package, folder = PACKAGED[name]
        releases = importlib.resources.files(package) / folder
        found = sorted((r.name for r in releases.iterdir() if r.name.startswith(f"{name}-")), key=_by_number)
        return Release(name, found[-1].removeprefix(f"{name}-"), Path(str(releases / found[-1])))
    except (KeyError, ModuleNotFoundError, FileNotFoundError, IndexError) as e:
        raise SetupError(
            f"no release of the model {name!r} is in service, and none ships with this installation"
        ) from e


def compare(new: dict[str, Any], old: dict[str, Any]) -> tuple[bool, str]:
    """Whether one card's held-out figure beats another's, and the sentence that says so.

    Args: cards, of which `held_out` counts: {"metric", "value", "better": "lower" | "higher"}, and, where it says so,
        "data", a hash of what was held back: figures of different data are not compared.
    """
    a, b = _figure(new), _figure(old)
    if a is None or b is None or (a["metric"], a["better"]) != (b["metric"], b["better"]):
        return False, "the cards of the two releases hold no common held-out figure, so nobody can tell which is better"
    if "data" in a and "data" in b and a["data"] != b["data"]:
        return False, (
            f"their held-out {a['metric']} was measured on different data ({a['value']}, in service {b['value']}): "
            "measure the one in service on the new data, and promote with that figure (--in-service)"
        )
    better = a["value"] < b["value"] if a["better"] == "lower" else a["value"] > b["value"]
    return better, f"held-out {a['metric']} is {a['value']}, in service {b['value']} ({a['better']} is better)"


def _figure(card: dict[str, Any]) -> dict[str, Any] | None:
    """The held-out figure of a card; None: there is none that could be compared."""
    found = card.get("held_out")
    if not isinstance(found, dict) or found.get("better") not in ("lower", "higher"):
        return None
    value = found.get("value")
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return found if number and isinstance(found.get("metric"), str) else None


def card_bytes(folder: Path) -> bytes:
    """card.json as it lies there. Raises: SetupError."""
    try:
        with (folder / CARD).open("rb") as f:
            return f.read(MAX_CARD_BYTES + 1)
    except OSError as e:
        raise SetupError(f"{folder} is not a release: {e}") from e


def read_card(data: bytes, where: str) -> dict[str, Any]:
    """A card from its bytes. Raises: SetupError: too large, or not a JSON object."""
    if len(data) > MAX_CARD_BYTES:
        raise SetupError(f"{where} is not a release: its card has more than {MAX_CARD_BYTES:,} bytes")
    try:
        card = json.loads(data)
    except ValueError as e:
        raise SetupError(f"{where} is not a release: its card is not JSON: {e}") from e
    if not isinstance(card, dict):
        raise SetupError(f"{where} is not a release: its card is not a JSON object")
    return card


def named_files(card: dict[str, Any], where: str) -> dict[str, str]:
    """File to SHA-256, of all files that a card names.

    Args: card: names them as "sha256" (a text: of model.safetensors; an object: of each file), "files" (an object)
        and "graph" (an object with "sha256", of graph.onnx).
    Raises: SetupError: a name or a hash that cannot be one.
    """
    found: dict[Any, Any] = {}
    for entry in (card.get("sha256"), card.get("files")):
        if isinstance(entry, str):
            found["model.safetensors"] = entry
        elif isinstance(entry, dict):
            found |= entry
    graph = card.get("graph")
    if isinstance(graph, dict) and "sha256" in graph:
        found["graph.onnx"] = graph["sha256"]
    for file, digest in found.items():
        check_file_name(file, where)
        if file == CARD or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise SetupError(f"{where}: the card names no SHA-256 of {file}")
    return found


def check_file_name(file: str, where: str) -> None:
    """Raises: SetupError: a release holds no such file."""
    if not _FILE.fullmatch(file):
        raise SetupError(f"{where} holds {file!r}: letters, digits, '.', '_' and '-' only, and no folders")
    if Path(file).suffix not in ALLOWED:
        raise SetupError(
            f"{where} holds {file}: a release holds {', '.join(sorted(ALLOWED))} only, nothing that could run code"
        )


def check_digest(data: bytes, digest: str, where: str) -> None:
    """Raises: SetupError: these are not the bytes whose SHA-256 was named."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise SetupError(f"{where} is damaged: it is not the file that its card names")


def check_folder(folder: Path, *, strangers: bool) -> tuple[dict[str, Any], str]:
    """The card of a whole release, and the card's SHA-256.

    Args: strangers: also refuse files that the card does not name (before publishing; pages for people are let through).
    Raises: SetupError: a file is missing, damaged, or none that a release may hold.
    """
    data = card_bytes(folder)
    card = read_card(data, str(folder))
    named = named_files(card, str(folder))
    for file, digest in named.items():
        try:
            content = (folder / file).read_bytes()
        except OSError as e:
            raise SetupError(f"{folder} is not a whole release: {e}") from e
        check_digest(content, digest, str(folder / file))
    for path in sorted(folder.iterdir()) if strangers else ():
        check_file_name(path.name, str(folder))
        if not path.is_file() or (path.name not in named and path.name != CARD and path.suffix != PROSE):
            raise SetupError(f"{path} is not named, with its SHA-256, by the card: name it there, or take it away")
    return card, hashlib.sha256(data).hexdigest()


def checked(name: str) -> str:
    """The name of a model or version. Raises: SetupError: it cannot be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is not a name of a model or version: small letters, digits, '.', '_' and '-' only")
    return name


def _by_number(name: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", name)
    return (int(digits.group(1)) if digits else -1, name)
