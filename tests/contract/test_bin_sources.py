"""Bins from a folder, a zip and a public S3 bucket (moto's server, over real HTTP) are the same bins.

Run: pytest tests/contract/test_bin_sources.py
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from inventorybot.errors import SetupError
from ml.vision.data import data_hash, read_bins, read_jpegs
from ml.vision.render import write_bins


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn bins."""
    return write_bins(tmp_path_factory.mktemp("bins") / "bins.zip", 6, seed=1, px=64)


@pytest.fixture(scope="module")
def store(archive: Path) -> Iterator[str]:
    """An S3 server: the bins lie in the public bucket `bins`, and below `s3://bins/copy`; `hidden` is not public."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    s3 = boto3.client("s3", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
    s3.create_bucket(Bucket="bins", ACL="public-read")
    with zipfile.ZipFile(archive) as z:
        for name in z.namelist():
            for prefix in ("", "copy/"):
                s3.put_object(Bucket="bins", Key=prefix + name, Body=z.read(name), ACL="public-read")
    yield url
    server.stop()


@pytest.mark.parametrize("kind", ["folder", "s3://bins", "s3://bins/copy", "as a path"])
def test_every_source_holds_the_same_bins(
    kind: str, archive: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)  # the public bucket is read without
    place: str | Path = kind
    if kind == "folder":
        place = tmp_path / "bins"
        with zipfile.ZipFile(archive) as z:
            z.extractall(place)
    if kind == "as a path":
        place = Path("s3://bins")
    expected, found = read_bins([archive]), read_bins([place])
    assert [(b.id, b.quantity, b.lines, b.split) for b in found] == [
        (b.id, b.quantity, b.lines, b.split) for b in expected
    ]
    assert read_jpegs(found) == [b.jpeg() for b in expected]
    assert data_hash(found) == data_hash(expected)


def test_a_bucket_that_holds_no_bins_is_refused_in_words(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    for place in ("s3://bins/nothing", "s3://nowhere"):
        with pytest.raises(SetupError, match="holds no bin-images"):
            read_bins([place])
