"""Pictures by reference: files of one folder, and objects of an S3 store (moto's server, over real HTTP).

Run: pytest tests/contract/test_blobs.py
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from inventorybot.adapters.blobs import Blobs
from inventorybot.adapters.memory.vision import MemoryBlobs
from inventorybot.errors import BadEvent, Code, SetupError, TryLater
from services.local.checks import free_ports


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URL of an S3 server that holds s3://pods/a/1.jpg (5 bytes), an empty object and one of 2,000 bytes."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    s3 = boto3.client("s3", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
    s3.create_bucket(Bucket="pods")
    s3.create_bucket(Bucket="payroll")
    s3.put_object(Bucket="pods", Key="a/1.jpg", Body=b"12345", ACL="public-read")
    s3.put_object(Bucket="pods", Key="a/empty.jpg", Body=b"")
    s3.put_object(Bucket="pods", Key="a/big.jpg", Body=b"x" * 2000)
    s3.put_object(Bucket="payroll", Key="june.csv", Body=b"secret")
    yield url
    server.stop()


def s3_blobs(url: str) -> Blobs:
    return Blobs(["s3"], timeout=2, max_bytes=1000, buckets=["pods"], key="k", secret="s", endpoint=url)


def code_of(blobs: Blobs, url: str) -> Code:
    with pytest.raises(BadEvent) as refused:
        blobs.read_now(url)
    assert refused.value.path == "/image"
    assert refused.value.reason
    return refused.value.code


def test_an_object_of_the_store_is_read(store: str) -> None:
    assert s3_blobs(store).read_now("s3://pods/a/1.jpg") == b"12345"


async def test_reading_does_not_block_the_event_loop(store: str) -> None:
    async def tick() -> int:
        return 1

    data, one = await asyncio.gather(s3_blobs(store).read("s3://pods/a/1.jpg"), tick())
    assert (data, one) == (b"12345", 1)


def test_an_empty_object_is_read_as_nothing_so_that_the_decoder_can_say_it_is_empty(store: str) -> None:
    assert s3_blobs(store).read_now("s3://pods/a/empty.jpg") == b""


def test_a_public_object_is_read_without_credentials(store: str) -> None:
    assert Blobs(["s3"], anonymous=True, endpoint=store).read_now("s3://pods/a/1.jpg") == b"12345"


def test_a_missing_object_and_a_missing_bucket_are_unreachable(store: str) -> None:
    assert code_of(s3_blobs(store), "s3://pods/a/2.jpg") is Code.IMAGE_UNREACHABLE
    assert code_of(Blobs(["s3"], key="k", secret="s", endpoint=store), "s3://nowhere/a") is Code.IMAGE_UNREACHABLE


def test_an_object_over_the_limit_is_too_large(store: str) -> None:
    assert code_of(s3_blobs(store), "s3://pods/a/big.jpg") is Code.IMAGE_TOO_LARGE


@pytest.mark.parametrize("url", ["s3://payroll/june.csv", "s3://pods/../payroll/june.csv", "s3://pods", "s3:///a"])
def test_a_bucket_that_is_not_allowed_cannot_be_named(store: str, url: str) -> None:
    assert code_of(s3_blobs(store), url) is Code.IMAGE_UNREACHABLE


def test_a_store_that_does_not_answer_means_try_later() -> None:
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TryLater, match="s3"):
            s3_blobs(url).read_now("s3://pods/a/1.jpg")


def test_a_file_below_the_root_is_read_and_so_is_one_with_an_escaped_name(tmp_path: Path) -> None:
    (tmp_path / "bin 1.jpg").write_bytes(b"abc")
    assert Blobs(["file"], tmp_path).read_now((tmp_path / "bin 1.jpg").as_uri()) == b"abc"


def test_nothing_outside_the_root_can_be_read_by_dots_escapes_or_links(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(tmp_path / "secret")
    blobs = Blobs(["file"], root)
    for url in (
        f"file://{root}/../secret",
        f"file://{root}/%2e%2e/secret",
        f"file://{root}/link.jpg",
        f"file://{tmp_path}/secret",
        f"file://{root}/a%00b",
        f"file://other-host{root}/a.jpg",
    ):
        assert code_of(blobs, url) is Code.IMAGE_UNREACHABLE, url


def test_without_a_root_no_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert code_of(Blobs(["file"]), (tmp_path / "a.jpg").as_uri()) is Code.IMAGE_UNREACHABLE


def test_folders_pipes_and_missing_files_are_unreachable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    blobs = Blobs(["file"], tmp_path)
    for name in ("", "pipe", "none.jpg"):
        assert code_of(blobs, f"file://{tmp_path}/{name}") is Code.IMAGE_UNREACHABLE, name


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as sparse:
        sparse.truncate(10**12)  # a terabyte that takes no room: reading it would not end
    assert code_of(Blobs(["file"], tmp_path), (tmp_path / "big.jpg").as_uri()) is Code.IMAGE_TOO_LARGE


@pytest.mark.parametrize("url", ["http://example.com/a.jpg", "ftp://x/a", "/etc/passwd", "", "http://[", "s3://pods/a"])
def test_a_scheme_that_is_not_allowed_is_refused(tmp_path: Path, url: str) -> None:
    assert code_of(Blobs(["file"], tmp_path), url) is Code.IMAGE_UNREACHABLE


def test_an_unknown_scheme_in_the_settings_stops_the_process() -> None:
    with pytest.raises(SetupError, match="gopher"):
        Blobs(["gopher"])


@pytest.fixture(params=["memory", "file", "s3"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """Any implementation of the port, and the URL prefix under which it holds `1.jpg` (5 bytes)."""
    if request.param == "memory":
        return MemoryBlobs({"s3://pods/a/1.jpg": b"12345"}), "s3://pods/a/"
    if request.param == "file":
        (tmp_path / "1.jpg").write_bytes(b"12345")
        return Blobs(["file"], root=tmp_path), f"file://{tmp_path}/"
    return s3_blobs(request.getfixturevalue("store")), "s3://pods/a/"


async def test_every_store_gives_what_it_holds_and_refuses_what_it_does_not(shelf: tuple[Any, str]) -> None:
    blobs, prefix = shelf
    assert await blobs.read(f"{prefix}1.jpg") == b"12345"
    with pytest.raises(BadEvent) as refused:
        await blobs.read(f"{prefix}2.jpg")
    assert (refused.value.code, refused.value.path) == (Code.IMAGE_UNREACHABLE, "/image")


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_every_store_that_is_away_says_try_later(kind: str) -> None:
    held = MemoryBlobs({})
    held.down = True
    blobs: Any = held if kind == "memory" else s3_blobs(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(TryLater):
        await blobs.read("s3://pods/a/1.jpg")
