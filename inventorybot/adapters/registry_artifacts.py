"""The files of releases, below one folder: written once, and checked whenever they are read.

    ROOT/count/v2-0a1b2c3d4e5f/{card.json, model.safetensors, ...}     named by the version and the card's SHA-256

In: a release folder, or the URL and the card's SHA-256 that registry or announcement name. Out: its URL, or a local
folder all of whose files are the ones that the card names. ROOT is a path, file://, s3://, anything fsspec opens.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from inventorybot.adapters.registry_release import (
    CARD,
    MAX_CARD_BYTES,
    check_digest,
    check_folder,
    named_files,
    read_card,
)
from inventorybot.errors import SetupError, TryLater

PART = "model registry"
_S3 = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}}
"""A store that is away must be noticed in seconds: an agent counts on meanwhile, and asks again."""


class Artifacts:
    """The store of releases.

    Args:
        root: URL of the folder; empty: nothing can be written, and `fetch` takes what a registry names from anywhere.
        cache: local folder for what is fetched from afar; a temporary one, gone with this process, by default.
    """

    def __init__(self, root: str, cache: Path | None = None) -> None:
        self._root, self._cache = root.rstrip("/"), cache
        self._opened: dict[str, Any] = {}

    @property
    def local(self) -> bool:
        """Whether the releases lie on this machine."""
        return bool(self._root) and _local(self._open(self._root)[0])

    def put(self, name: str, version: str, folder: Path, sha256: str) -> str:
        """Copies a checked release folder to its place, the card last; the same again does no harm. Returns its URL.

        Raises: SetupError: there is no root. TryLater: the store does not answer.
        """
        if not self._root:
            raise SetupError("releases have no place to lie: set INVENTORYBOT_MODEL_ARTIFACTS to a folder or s3:// URL")
        fs, path = self._open(f"{self._root}/{name}/{version}-{sha256[:12]}")
        for file in sorted((f for f in folder.iterdir() if f.is_file()), key=lambda f: (f.name == CARD, f.name)):
            with outage():
                _write(fs, f"{path}/{file.name}", file.read_bytes())
        return str(fs.unstrip_protocol(path))

    def below(self, url: str) -> None:
        """Raises: SetupError: the URL does not lie below the root, so no announcement can make us read elsewhere."""
        if not self._root:
            raise SetupError(
                f"{url} is not fetched: set INVENTORYBOT_MODEL_ARTIFACTS to the folder that releases lie in"
            )
        (fs, path), (home, root) = self._open(url), self._open(self._root)
        if fs.protocol != home.protocol or not path.startswith(f"{root}/") or ".." in path.split("/"):
            raise SetupError(f"{url} is not fetched: it does not lie below INVENTORYBOT_MODEL_ARTIFACTS, {self._root}")

    def fetch(self, name: str, version: str, url: str, sha256: str) -> Path:
        """A local folder with the release, every file checked.

        Args: sha256: of card.json, which names the hashes of the other files.
        Raises: SetupError: a file is missing or damaged. TryLater: the store does not answer.
        """
        fs, path = self._open(url)
        if _local(fs):
            folder = Path(path)
        else:
            folder = self._folder() / name / f"{version}-{sha256[:12]}"
            if not folder.exists():
                _download(fs, path, folder, sha256)
        _, found = check_folder(folder, strangers=False)
        if found != sha256:
            raise SetupError(f"{url}/{CARD} is damaged: it is not the one that was published")
        return folder

    def _folder(self) -> Path:
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="inventorybot-models-"))
            atexit.register(shutil.rmtree, self._cache, ignore_errors=True)  # releases outlive this object
        return self._cache

    def _open(self, url: str) -> tuple[Any, str]:
        """The file system of a URL, opened once, and the path in it."""
        scheme = url.partition("://")[0] if "://" in url else "file"
        try:
            if scheme not in self._opened:
                self._opened[scheme] = fsspec.filesystem(
                    scheme, skip_instance_cache=True, **(_S3 if scheme == "s3" else {})
                )
            fs = self._opened[scheme]
            return fs, str(fs._strip_protocol(url))
        except (ValueError, ImportError) as e:
            raise SetupError(f"{url} cannot be opened: {e}") from e


def _download(fs: Any, path: str, folder: Path, sha256: str) -> None:
    """Fetches a release beside its place, checks it, and moves it there in one step."""
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    part.mkdir(parents=True)
    try:
        card = _read(fs, f"{path}/{CARD}", MAX_CARD_BYTES)
        check_digest(card, sha256, f"{path}/{CARD}")
        (part / CARD).write_bytes(card)
        for file, digest in named_files(read_card(card, path), path).items():
            data = _read(fs, f"{path}/{file}")
            check_digest(data, digest, f"{path}/{file}")
            (part / file).write_bytes(data)
        try:
            part.rename(folder)
        except OSError:  # another process fetched it meanwhile: its copy is the same
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _local(fs: Any) -> bool:
    return "file" in ([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol)


def _read(fs: Any, path: str, limit: int | None = None) -> bytes:
    """Raises: SetupError: there is no such file."""
    with outage():
        fs.invalidate_cache()
        try:
            return bytes(fs.cat_file(path, end=None if limit is None else limit + 1))
        except (FileNotFoundError, NotADirectoryError) as e:
            raise SetupError(f"{path} is not there: the release is damaged") from e


def _write(fs: Any, path: str, data: bytes) -> None:
    """Replaces a file in one step: object stores do so anyway, a file system by renaming."""
    if not _local(fs):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    with part.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())  # the name must not be there before the bytes
    os.replace(part, target)


@contextmanager
def outage() -> Iterator[None]:
    """Turns what a file system or store raises when it is out of order into TryLater."""
    try:
        yield
    except Exception as error:  # botocore's classes cannot be named here: it is an optional dependency
        foreign = type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp"))
        if isinstance(error, OSError) or foreign:
            raise TryLater(PART, str(error)) from error
        raise
