"""What MLflow records of our models: versions, the alias of the one in service, and what was in service before it.

    inventorybot.count                     a registered model; its tag `history` lists what was in service, oldest first
      version 7   source file:///…/v2-0a1b2c3d4e5f     tags version=v2, sha256=…, held_out={…}, created=…
      alias champion -> 7, alias previous -> 5

In: the registry's URI (sqlite:///FILE, http(s)://SERVER, or a database that MLflow speaks). Out: `Version`s, `Standing`s.
MLflow costs seconds and some 100 MB to import, so nothing here imports it before it is needed. Needs the extra `models`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventorybot.adapters.registry_artifacts import PART
from inventorybot.errors import SetupError, TryLater

CHAMPION, PREVIOUS, HISTORY = "champion", "previous", "history"
PREFIX = "inventorybot."
"""A server may hold the models of others, too."""
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
HISTORY_LIMIT = 50
"""As many steps back are remembered."""
LEASE_S = 20.0
"""A promotion holds its lease for a fraction of a second; one that lasts longer belongs to a process that died."""
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # else it calls home at its import
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # it tells of every table that it creates
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # 7 take minutes; whoever asks says "try later" instead
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_TRANSIENT = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
_MISSING = ("RESOURCE_DOES_NOT_EXIST",)
_THERE = ("RESOURCE_ALREADY_EXISTS",)


@dataclass(frozen=True, slots=True)
class Version:
    """A release as the registry knows it. `number`: MLflow's own; `card`: the part of the card that is compared."""

    number: int
    version: str
    url: str
    sha256: str
    card: dict[str, Any]
    created: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in service: the version (None: what ships with the product), and what was before it, oldest first."""

    champion: Version | None
    history: tuple[str | None, ...]


class Records:
    """A model registry in MLflow.

    Args:
        uri: where it is kept.
        lease_s: how long another process may hold the lease of a promotion.
    """

    def __init__(self, uri: str, lease_s: float = LEASE_S) -> None:
        scheme = uri.split(":", 1)[0].split("+", 1)[0]
        if "://" not in uri or scheme not in SCHEMES:
            raise SetupError(
                f"INVENTORYBOT_MODELS is {uri!r}: it must be the URL of a model registry, such as "
                "sqlite:////var/lib/inventorybot/models.db or https://mlflow.example"
            )
        self._uri, self._lease_s = uri, lease_s
        self._file = Path(uri.removeprefix("sqlite:///").split("?")[0]) if scheme == "sqlite" else None
        self.remote = scheme in ("http", "https")
        self._client: Any = None

    @property
    def empty(self) -> bool:
        """Whether nothing was ever registered here, known without MLflow: there is no file yet."""
        return self._client is None and self._file is not None and not self._file.exists()

    def names(self) -> list[str]:
        """Models that have versions, sorted."""
        if self.empty:
            return []
        found = self._ask(lambda c: _all(c.search_registered_models, f"name LIKE '{PREFIX}%'")) or []
        return sorted(m.name.removeprefix(PREFIX) for m in found if not m.name.endswith(")"))  # a lease is no model

    def versions(self, name: str) -> list[Version]:
        """In the order they were published. Of two that were published under one name at once, the first is it."""
        if self.empty:
            return []
        rows = self._ask(lambda c: _all(c.search_model_versions, f"name = '{PREFIX}{name}'")) or []
        found: dict[str, Version] = {}
        for it in sorted(map(_version, rows), key=lambda v: v.number):
            found.setdefault(it.version, it)
        return list(found.values())

    def standing(self, name: str) -> Standing:
        """What is in service."""
        model = self._model(PREFIX + name)
        number = model.aliases.get(CHAMPION) if model else None
        champion = next((v for v in self.versions(name) if v.number == int(number)), None) if number else None
        history: list[str | None] = json.loads(model.tags.get(HISTORY, "[]")) if model else []
        now = champion.version if champion else None
        if now in history:  # what follows it is of a promotion that ended half-way
            history = history[: len(history) - 1 - history[::-1].index(now)]
        return Standing(champion, tuple(history))

    def add(self, name: str, version: str, url: str, sha256: str, card: dict[str, Any]) -> bool:
        """Registers a version; False: another process has registered that name in the meantime, and it is theirs."""
        tags = {
            "version": version, "sha256": sha256, "held_out": json.dumps(card.get("held_out")),
            "created": str(card.get("created", "")),
        }  # fmt: skip
        model, says = PREFIX + name, f"InventoryBot's model {name!r}"
        self._ask(lambda c: c.create_registered_model(model, description=says), *_THERE)
        task = str(card.get("task", ""))
        made = int(self._ask(lambda c: c.create_model_version(model, url, tags=tags, description=task)).version)
        first = next(v.number for v in self.versions(name) if v.version == version)
        if first != made:
            self._ask(lambda c: c.delete_model_version(model, str(made)))
        return first == made

    def serve(self, name: str, version: Version | None, history: Sequence[str | None]) -> None:
        """Moves the alias; `champion` last, so that what stops half-way has changed nothing.

        Args: version: None: what ships with the product. history: what was in service before, oldest first.
        """
        model, before = PREFIX + name, history[-1] if history else None
        steps = json.dumps([*history[-HISTORY_LIMIT:], version.version if version else None])
        self._ask(lambda c: c.set_registered_model_tag(model, HISTORY, steps))
        self._alias(model, PREVIOUS, next((v for v in self.versions(name) if v.version == before), None))
        self._alias(model, CHAMPION, version)

    def _alias(self, model: str, alias: str, version: Version | None) -> None:
        if version is None:
            self._ask(lambda c: c.delete_registered_model_alias(model, alias))
        else:
            number = str(version.number)
            self._ask(lambda c: c.set_registered_model_alias(model, alias, number))

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """One promotion of a model at a time, over all processes and machines.

        MLflow has neither a lock nor a compare-and-set, but a registered model of one name exists once: that is a lock.
        """
        lease, owner = f"{PREFIX}{name} (being promoted)", uuid.uuid4().hex
        seen, since = "", time.monotonic()
        while self._ask(lambda c: c.create_registered_model(lease, description=owner), *_THERE) is None:
            held = self._model(lease)
            if held is not None and held.description != seen:
                seen, since = held.description, time.monotonic()
            elif held is not None and time.monotonic() - since > self._lease_s:
                self._drop(lease, seen)
            time.sleep(0.05)  # MLflow tells nobody that something is gone
        try:
            yield
        finally:
            self._drop(lease, owner)

    def _drop(self, lease: str, owner: str) -> None:
        held = self._model(lease)
        if held is not None and held.description == owner:
            self._ask(lambda c: c.delete_registered_model(lease), *_MISSING)

    def _model(self, full_name: str) -> Any:
        """A registered model; None: there is none."""
        return None if self.empty else self._ask(lambda c: c.get_registered_model(full_name), *_MISSING)

    def _ask(self, question: Callable[[Any], Any], *expected: str) -> Any:
        """MLflow's answer; None where it refuses with an expected code. Raises: SetupError, TryLater."""
        try:
            if self._client is None:
                self._client = self._connect()
            return question(self._client)
        except (SetupError, TryLater):
            raise
        except Exception as error:  # its classes cannot be named here: importing them costs seconds
            code = getattr(error, "error_code", "")
            if code in expected:
                return None
            if code in _TRANSIENT or isinstance(error, OSError):
                raise TryLater(PART, f"{self._uri}: {_first_line(error)}") from error
            if code or type(error).__module__.startswith("sqlalchemy"):
                raise SetupError(f"the model registry {self._uri} refuses: {_first_line(error)}") from error
            raise

    def _connect(self) -> Any:
        """MLflow's client; the first on a new SQLite file creates the tables, one process at a time."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as e:
            raise SetupError(
                f"the model registry {self._uri} needs MLflow's client: install the extra `models` ({e})"
            ) from e
        for chatty in (
            "mlflow",
            "alembic",
            "urllib3.connectionpool",
        ):  # the last tells of every attempt that is repeated
            logging.getLogger(chatty).setLevel(logging.ERROR)
        with _only_one(self._file):
            client = MlflowClient(self._uri, self._uri)
            client.search_registered_models(max_results=1)  # connects, and creates what is missing
        return client


@contextmanager
def _only_one(file: Path | None) -> Iterator[None]:
    """Of the processes that open a SQLite file, one at a time: two that create its tables at once would fail."""
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however it ends
        yield


def _version(row: Any) -> Version:
    """A row of MLflow's; one that was not registered by us still has a number to call it by."""
    tags = row.tags
    card = {"held_out": json.loads(tags.get("held_out", "null"))}
    return Version(
        int(row.version), tags.get("version", str(row.version)), row.source or "", tags.get("sha256", ""), card,
        tags.get("created", ""),
    )  # fmt: skip


def _all(search: Any, query: str) -> list[Any]:
    """Every page of a search."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(filter_string=query, max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _first_line(error: Exception) -> str:
    line = str(error).strip().split("\n", 1)[0]
    return line if len(line) <= 200 else f"{line[:199]}…"
