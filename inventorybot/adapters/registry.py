"""The model registry: a folder of releases, and for each model which release is in service.

    URL/count/v1/{card.json, model.safetensors, ...}     a release; never changed once written
    URL/count/current.json                               {"version": "v1"}: the alias, replaced in one step

In: the folder's URL (a path, file://, s3://, anything fsspec opens). Out: `Release`s as local folders, which a loader
can open. Agents poll `current()` and swap models without a restart. What was never promoted falls back to the release
that ships with the product.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import re
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from inventorybot.errors import SetupError, TryLater

PACKAGED = {"count": ("ml.vision", "releases")}
"""Model name to (package, folder) of its packaged releases, found by name: nothing of ml is imported for it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Release:
    """One released model: `path` is a local folder holding card.json and the files it names."""

    name: str
    version: str
    path: Path


class ModelRegistry:
    """Releases in a folder.

    Args:
        url: of the folder; None: only what ships with the product.
        cache: local folder for releases of a remote registry; a temporary one by default.
    """

    def __init__(self, url: str | None, cache: Path | None = None) -> None:
        self._cache = cache
        self._fs: Any = None
        if url:
            self._fs, self._root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
            self._local = "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def current(self, name: str) -> Release:
        """The release in service: the promoted one, else the packaged one.

        Raises:
            SetupError: nothing was promoted and none is packaged; or the alias points to nothing.
            TryLater: the registry cannot be reached.
        """
        version = self.promoted(name)
        if version is None:
            return packaged(name)
        return self.release(name, version)

    def promoted(self, name: str) -> str | None:
        """The version the alias names; None where nothing was promoted. Costs one small read: made for polling."""
        if self._fs is None:
            return None
        alias = self._read(f"{_checked(name)}/current.json")
        if alias is None:
            return None
        try:
            return _checked(json.loads(alias)["version"])
        except (ValueError, KeyError, TypeError) as e:
            raise SetupError(f"{name}/current.json is not an alias; promote a version again: {e}") from e

    def release(self, name: str, version: str) -> Release:
        """One release, fetched to a local folder if it is remote. Raises: SetupError: there is none; TryLater."""
        where = f"{self._root}/{_checked(name)}/{_checked(version)}" if self._fs else ""
        if self._fs is None or self._read(f"{name}/{version}/card.json") is None:
            raise SetupError(f"the registry holds no {name} {version}; it holds {self.versions(name) or 'none'}")
        if self._local:
            return Release(name, version, Path(where))
        self._cache = self._cache or Path(tempfile.mkdtemp(prefix="inventorybot-models-"))
        target = self._cache / name / version
        if not target.exists():  # a release never changes, so what is here is good
            part = target.with_name(f".{version}-{uuid.uuid4().hex}")
            part.parent.mkdir(parents=True, exist_ok=True)
            with _outage():
                self._fs.get(where + "/", str(part) + "/", recursive=True)
            try:
                part.rename(target)
            except OSError:  # another process fetched it meanwhile: its copy is the same
                if not target.exists():
                    raise
        return Release(name, version, target)

    def versions(self, name: str) -> Sequence[str]:
        """Versions of a model in the registry, sorted; the packaged ones are not among them."""
        return [version for _, version in self.list(name)]

    def list(self, name: str | None = None) -> Sequence[tuple[str, str]]:
        """(name, version) of every release in the registry, sorted, of one model or of all."""
        if self._fs is None:
            return []
        pattern = f"{self._root}/{_checked(name) if name else '*'}/*/card.json"
        with _outage():
            self._fs.invalidate_cache()
            found = self._fs.glob(pattern)
        return sorted((parts[-3], parts[-2]) for parts in (str(f).split("/") for f in found))

    def publish(self, name: str, version: str, folder: Path) -> None:
        """Copies a release folder into the registry; card.json last, so that a half-copied release is not seen.

        Raises: SetupError: there is no registry; the version is there already (a release never changes); the folder is
            no release, or one of another version.
        """
        if self._fs is None:
            raise SetupError("there is no model registry: set its URL")
        if self._read(f"{_checked(name)}/{_checked(version)}/card.json") is not None:
            raise SetupError(
                f"the registry already holds {name} {version}; a release never changes: choose a new version"
            )
        try:
            card = json.loads((folder / "card.json").read_text())
        except (OSError, ValueError) as e:
            raise SetupError(f"{folder} is not a release: {e}") from e
        if card.get("version", version) != version:  # events would name another release than the one in service
            raise SetupError(f"the card in {folder} says version {card['version']}, not {version}")
        files = sorted((f for f in folder.iterdir() if f.is_file()), key=lambda f: (f.name == "card.json", f.name))
        with _outage():
            for file in files:
                self._write(f"{name}/{version}/{file.name}", file.read_bytes())

    def promote(self, name: str, version: str, *, even_if_worse: bool = False) -> str:
        """Puts a release in service, in one step, after checking that it is whole and better than the one in service.

        Better is by the `held_out` entry of both cards, {"metric", "value", "better": "lower" | "higher"}.
        Returns: one sentence saying what was compared.
        Raises: SetupError: it is missing, damaged, or not better; TryLater.
        """
        new = self.release(name, version)
        card = _whole(new)
        try:
            before: Release | None = self.current(name)
        except SetupError:  # nothing in service yet, or an alias that points to nothing: any whole release is better
            before = None
        verdict = "nothing was in service"
        if before is not None and before.version != version:
            better, verdict = compare(card, json.loads((before.path / "card.json").read_text()))
            if not (better or even_if_worse):
                raise SetupError(f"{name} {version} is not promoted: {verdict}")
        self._write(f"{name}/current.json", json.dumps({"version": version}).encode())
        return verdict

    def _read(self, path: str) -> bytes | None:
        with _outage():
            self._fs.invalidate_cache()
            try:
                return bytes(self._fs.cat_file(f"{self._root}/{path}"))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _write(self, path: str, data: bytes) -> None:
        """Replaces a file in one step: object stores do so anyway, a file system by renaming."""
        target = f"{self._root}/{path}"
        with _outage():
            if not self._local:
                self._fs.pipe_file(target, data)
                return
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            part = Path(target).with_name(f".{Path(target).name}-{uuid.uuid4().hex}")
            with part.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())  # the name must not be there before the bytes
            os.replace(part, target)


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
    """Whether one card's held-out figure beats another's, and the sentence that says so."""
    a, b = new.get("held_out"), old.get("held_out")
    if not a or not b or a["metric"] != b["metric"]:
        return False, "the cards of the two releases hold no common held-out figure, so nobody can tell which is better"
    better = a["value"] < b["value"] if a["better"] == "lower" else a["value"] > b["value"]
    return better, f"held-out {a['metric']} is {a['value']}, in service {b['value']} ({a['better']} is better)"


def _whole(release: Release) -> dict[str, Any]:
    """The card of a release whose weights are the ones it names."""
    try:
        card: dict[str, Any] = json.loads((release.path / "card.json").read_text())
        weights = (release.path / "model.safetensors").read_bytes() if "sha256" in card else b""
    except (OSError, ValueError) as e:
        raise SetupError(f"{release.name} {release.version} is not a whole release: {e}") from e
    if "sha256" in card and hashlib.sha256(weights).hexdigest() != card["sha256"]:
        raise SetupError(f"{release.name} {release.version} is damaged: its weights are not the ones its card names")
    return card


def _checked(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is not a name of a model or version: small letters, digits, '.', '_' and '-' only")
    return name


def _by_number(name: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", name)
    return (int(digits.group(1)) if digits else -1, name)


class _outage:
    """`with _outage():` turns what a file system or store raises when it is out of order into TryLater."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        foreign = type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp"))
        if isinstance(error, OSError) or foreign:
            raise TryLater("model registry", str(error)) from error
