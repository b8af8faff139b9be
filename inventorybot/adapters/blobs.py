"""Fetches pictures by reference: `file://` under one folder, `s3://` from a store.

In: a URL from an event, so from outside. Out: the bytes; or `BadEvent` (it can never be had: IMAGE_UNREACHABLE,
IMAGE_TOO_LARGE); or `TryLater` (the store did not answer, several times). A URL decides nothing but the name of an
object: scheme, folder, buckets, host and credentials are the caller's settings. Needs the extra `vision` for s3.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from inventorybot.adapters.jpeg import MAX_BYTES
from inventorybot.errors import BadEvent, Code, SetupError, TryLater

ATTEMPTS = 3
"""Tries a read, with jittered waits of at most 2 s between: a blip passes, an outage is handed on in seconds."""


class Blobs:
    """Reads referenced pictures: `ports.Blobs`.

    Args:
        allowed_schemes: of "file" and "s3"; anything else in a URL is refused.
        root: the folder `file://` URLs must lie in, links resolved; None refuses all of them.
        timeout: seconds to connect, and seconds to wait for data, for each attempt.
        max_bytes: larger objects are refused before they are read.
        buckets: the only buckets `s3://` URLs may name; None allows every one the credentials can read.
        anonymous: read public buckets without credentials.
        key, secret: credentials; without them, and not anonymous, boto's own chain is used (environment, role).
        endpoint: URL of an S3-compatible store; None is AWS.
    """

    def __init__(
        self,
        allowed_schemes: Collection[str],
        root: Path | None = None,
        timeout: float = 5.0,
        max_bytes: int = MAX_BYTES,
        *,
        buckets: Collection[str] | None = None,
        anonymous: bool = False,
        key: str | None = None,
        secret: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        if unknown := set(allowed_schemes) - {"file", "s3"}:
            raise SetupError(f"image schemes {sorted(unknown)} are not known; choose of file and s3")
        self._schemes, self._max_bytes, self._buckets = frozenset(allowed_schemes), max_bytes, buckets
        self._root = root.resolve() if root else None
        config = {
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "retries": {"max_attempts": 0},
        }  # retries are ours
        self._s3_options = {
            "anon": anonymous, "key": key, "secret": secret, "endpoint_url": endpoint, "config_kwargs": config,
        }  # fmt: skip
        self._s3: Any = None

    async def read(self, url: str) -> bytes:
        """`read_now` in a thread."""
        return await asyncio.to_thread(self.read_now, url)

    def read_now(self, url: str) -> bytes:
        """The bytes behind a URL; blocks.

        Raises:
            BadEvent: path "/image"; IMAGE_UNREACHABLE (refused, missing or forbidden), IMAGE_TOO_LARGE.
            TryLater: the store did not answer in `ATTEMPTS` tries.
            SetupError: there are no credentials for the store.
        """
        try:
            parts = urlsplit(url)
        except ValueError as e:
            raise _unreachable(url, f"is not a URL ({e})") from e
        if parts.scheme not in self._schemes:
            raise _unreachable(url, f"has a scheme that is not allowed here; use one of {sorted(self._schemes)}")
        if parts.scheme == "file":
            return self._read_file(url, parts.netloc, unquote(parts.path))
        return self._read_s3(url, parts.netloc, url.split("://", 1)[1].partition("/")[2])

    def _read_file(self, url: str, host: str, path: str) -> bytes:
        if host not in ("", "localhost") or "\0" in path:
            raise _unreachable(url, "does not name a file of this machine")
        target = Path(path).resolve()
        if self._root is None or not target.is_relative_to(self._root):
            raise _unreachable(url, "lies outside the folder that images may be read from")

        def size() -> int:
            found = target.stat()
            if not stat.S_ISREG(found.st_mode):
                raise _unreachable(url, "is not a regular file")
            return found.st_size

        return self._fetch(url, "file", size, lambda: bytes(fsspec.filesystem("file").cat_file(str(target))))

    def _read_s3(self, url: str, bucket: str, key: str) -> bytes:
        if not bucket or not key or ".." in key.split("/"):
            raise _unreachable(url, "does not name an object: s3://BUCKET/KEY is needed, without '..'")
        if self._buckets is not None and bucket not in self._buckets:
            raise _unreachable(url, f"names a bucket that is not allowed here; use one of {sorted(self._buckets)}")
        if self._s3 is None:
            self._s3 = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False, **self._s3_options)
            self._s3.retries = 1  # s3fs would retry five times more within each of our attempts
        path = f"{bucket}/{key}"
        return self._fetch(url, "s3", lambda: int(self._s3.info(path)["size"]), lambda: bytes(self._s3.cat_file(path)))

    def _fetch(self, url: str, part: str, size: Callable[[], int], read: Callable[[], bytes]) -> bytes:
        """Size, then bytes, with retries; the store's exceptions become ours here."""
        try:
            for attempt in Retrying(
                retry=retry_if_exception(_transient),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_random_exponential(multiplier=0.2, max=2),
                reraise=True,
            ):
                with attempt:
                    self._check(url, size())
                    data = read()
                    self._check(url, len(data))  # it may have been replaced in between
            return data
        except (FileNotFoundError, NotADirectoryError) as e:
            raise _unreachable(url, "does not exist") from e
        except (PermissionError, IsADirectoryError) as e:
            raise _unreachable(url, "may not be read with the credentials in use, or is a folder") from e
        except Exception as e:  # botocore's classes cannot be named here: it is an optional dependency
            if type(e).__name__ in _NO_CREDENTIALS:
                raise SetupError(f"no credentials for {part}: set a key and secret, or anonymous access ({e})") from e
            if _transient(e):
                raise TryLater(part, f"{url} could not be read in {ATTEMPTS} tries: {e}") from e
            raise

    def _check(self, url: str, size: int) -> None:
        if size > self._max_bytes:
            reason = f"{url} has {size:,} bytes; at most {self._max_bytes:,} are taken: reduce its size or JPEG quality"
            raise BadEvent(Code.IMAGE_TOO_LARGE, "/image", reason)


_FINAL = (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")


def _transient(e: BaseException) -> bool:
    """Whether the same read may work later: the machine's or the store's fault, and not a plain answer of "no"."""
    if isinstance(e, OSError):
        return not isinstance(e, _FINAL)
    return (
        type(e).__module__.startswith(("botocore", "aiobotocore", "aiohttp"))
        and type(e).__name__ not in _NO_CREDENTIALS
    )


def _unreachable(url: str, why: str) -> BadEvent:
    return BadEvent(Code.IMAGE_UNREACHABLE, "/image", f"{url} {why}")
