"""The model registry: which releases of a model there are, and which one is in service.

MLflow is the registry of record (`registry_mlflow.py`), the files lie in a folder or an object store
(`registry_artifacts.py`), and what a release must be stands in `registry_release.py`. What was never promoted falls back
to the release that ships with the product.

In: the URIs of both. Out: `Release`s as local folders, which a loader can open. Who trains, promotes or looks uses this;
running agents follow `registry_news.py` and need no MLflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventorybot.adapters.registry_artifacts import PART, Artifacts
from inventorybot.adapters.registry_mlflow import Records, Standing, Version
from inventorybot.adapters.registry_release import PACKAGED, Release, check_folder, checked, compare, packaged
from inventorybot.errors import SetupError, TryLater

__all__ = ["PACKAGED", "InService", "ModelRegistry", "Release", "Version", "compare", "packaged"]


@dataclass(frozen=True, slots=True)
class InService:
    """What agents are told: `url` and `sha256` (of the card) are empty where it is what ships with the product."""

    name: str
    version: str
    url: str
    sha256: str
    previous: str | None


class ModelRegistry:
    """Releases of models, by name and version.

    Args:
        url: of MLflow: sqlite:///FILE, http(s)://SERVER, …; None: only what ships with the product.
        artifacts: URL of the folder that releases are published to; by default beside a SQLite file.
        cache: local folder for releases from afar; a temporary one by default.
    Raises: SetupError: the URL is none of a registry.
    """

    def __init__(self, url: str | None, artifacts: str | None = None, cache: Path | None = None) -> None:
        self._records = Records(url) if url else None
        self._root = artifacts or artifacts_beside(url or "")
        self._files = Artifacts(self._root, cache)

    def current(self, name: str) -> Release:
        """The release in service: the promoted one, else the packaged one.

        Raises:
            SetupError: nothing was promoted and none is packaged; or the one in service is damaged.
            TryLater: the registry or its files cannot be reached.
        """
        champion = self._standing(checked(name)).champion
        return self._fetch(name, champion) if champion else packaged(name)

    def promoted(self, name: str) -> str | None:
        """The version that the alias names; None where nothing was promoted. Raises: SetupError, TryLater."""
        champion = self._standing(checked(name)).champion
        return champion.version if champion else None

    def in_service(self, name: str) -> InService:
        """What agents are to be told. Raises: SetupError: nothing is in service. TryLater."""
        standing = self._standing(checked(name))
        before = standing.history[-1] if standing.history else None
        if (it := standing.champion) is not None:
            return InService(name, it.version, it.url, it.sha256, before)
        return InService(name, packaged(name).version, "", "", before)

    def release(self, name: str, version: str) -> Release:
        """One release, whole, as a local folder. Raises: SetupError: there is none, or it is damaged; TryLater."""
        return self._fetch(name, self.entry(name, version))

    def entry(self, name: str, version: str) -> Version:
        """What the registry knows of a release, without its files. Raises: SetupError: there is none; TryLater."""
        known = self.entries(name)
        for it in known:
            if it.version == checked(version):
                return it
        held = ", ".join(v.version for v in known) or "none"
        raise SetupError(f"the registry holds no {checked(name)} {checked(version)}; it holds {held}")

    def entries(self, name: str) -> Sequence[Version]:
        """What the registry knows of every release of a model, oldest first, without their files."""
        return self._records.versions(checked(name)) if self._records else []

    def versions(self, name: str) -> Sequence[str]:
        """Versions of a model, in the order they were published; the packaged ones are not among them."""
        return [it.version for it in self.entries(name)]

    def list(self, name: str | None = None) -> Sequence[tuple[str, str]]:
        """(name, version) of every release in the registry, of one model or of all, oldest first."""
        if self._records is None:
            return []
        return [(n, version) for n in ([name] if name else self._records.names()) for version in self.versions(n)]

    def publish(self, name: str, version: str, folder: Path) -> None:
        """Copies a release folder into the registry, where it is not in service before `promote`.

        The same folder again does no harm, and repairs files that were damaged since.

        Raises: SetupError: there is no registry; another release has that version (a release never changes); the folder
            is no whole release, or one of another version, or holds files that the card does not name; TryLater.
        """
        records = self._recording()
        card, sha256 = check_folder(folder, strangers=True)
        for key, said in (("name", checked(name)), ("version", checked(version))):
            if card.get(key, said) != said:  # events would name another release than the one in service
                raise SetupError(f"the card in {folder} says {key} {card[key]}, not {said}")
        if records.remote and self._files.local:
            raise SetupError("a registry behind a server needs files that every machine can read: "
                             "set INVENTORYBOT_MODEL_ARTIFACTS to an s3:// URL")  # fmt: skip
        held = next((v for v in records.versions(name) if v.version == version), None)
        if held is None and not _ships(name, version, sha256):
            url = self._files.put(name, version, folder, sha256)
            if records.add(name, version, url, sha256, card):
                return
            held = self.entry(name, version)
        if held is None or held.sha256 != sha256:
            raise SetupError(
                f"the registry already holds {name} {version}; a release never changes: choose a new version"
            )
        if self._files.put(name, version, folder, sha256) != held.url:
            raise SetupError(
                f"the files of {name} {version} lie at {held.url}, which is not below INVENTORYBOT_MODEL_ARTIFACTS, {self._root}"
            )

    def promote(
        self, name: str, version: str, *, even_if_worse: bool = False, in_service_value: float | None = None
    ) -> str:
        """Puts a release in service, in one step, after checking that it is whole and better than the one in service.

        Better is by the `held_out` entry of both cards, {"metric", "value", "better": "lower" | "higher"}. What is in
        service already stays so, and nothing is compared: repeating a promotion does no harm.

        Args:
            in_service_value: what the release in service scores on the data that the new one was measured on; then that
                counts, not its card.
        Returns: one sentence saying what was compared.
        Raises: SetupError: it is missing, damaged, or not better; TryLater.
        """
        records, new = self._recording(), self.entry(name, version)
        self._fetch(name, new)
        with records.alone(name):
            standing = records.standing(name)
            if standing.champion == new:
                return "it is in service already"
            before, card = self._before(name, standing)
            verdict = "nothing was in service"
            if card is not None:
                if in_service_value is not None and isinstance(new.card["held_out"], dict):
                    card = {"held_out": new.card["held_out"] | {"value": in_service_value}}
                better, verdict = compare(new.card, card)
                if not (better or even_if_worse):
                    raise SetupError(f"{name} {version} is not promoted: {verdict}")
            records.serve(name, new, [*standing.history, before] if card is not None else standing.history)
        return verdict

    def rollback(self, name: str) -> str:
        """Puts back in service what was so before. Returns: its version. Raises: SetupError: nothing was; TryLater."""
        records, standing = self._recording(), self._standing(checked(name))
        if standing.champion is None or not standing.history:
            raise SetupError(f"nothing was in service before {name} {self.in_service(name).version}")
        *earlier, back = standing.history
        found = None if back is None else self.entry(name, back)
        if found is not None:
            self._fetch(name, found)
        with records.alone(name):
            if records.standing(name) != standing:
                raise TryLater(PART, f"somebody has just promoted another {name}: look at `inventorybot models list`")
            records.serve(name, found, earlier)
        return back or packaged(name).version

    def _before(self, name: str, standing: Standing) -> tuple[str | None, dict[str, Any] | None]:
        """Version and card of what is in service; (None, card): the packaged one; (None, None): nothing is."""
        if standing.champion is not None:
            return standing.champion.version, standing.champion.card
        try:
            return None, packaged(name).card()
        except SetupError:
            return None, None

    def _standing(self, name: str) -> Standing:
        return self._records.standing(name) if self._records else Standing(None, ())

    def _recording(self) -> Records:
        if self._records is None:
            raise SetupError(
                "there is no model registry: set INVENTORYBOT_MODELS, such as sqlite:////var/lib/inventorybot/models.db"
            )
        return self._records

    def _fetch(self, name: str, it: Version) -> Release:
        return Release(name, it.version, self._files.fetch(name, it.version, it.url, it.sha256))


def artifacts_beside(url: str) -> str:
    """Where the files of a SQLite registry lie if nothing else is said; empty for other registries."""
    return str(Path(url.removeprefix("sqlite:///")).absolute().parent / "releases") if url.startswith("sqlite:") else ""


def _ships(name: str, version: str, sha256: str) -> bool:
    """Whether another release of that version ships with the product: events would not tell the two apart."""
    try:
        shipped = packaged(name)
    except SetupError:
        return False
    return shipped.version == version and check_folder(shipped.path, strangers=False)[1] != sha256
