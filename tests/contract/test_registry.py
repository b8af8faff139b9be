"""The model registry, on a folder and on an S3 store (moto's server): the same behaviour on both.

Run: pytest tests/contract/test_registry.py
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from inventorybot.adapters.registry import ModelRegistry, packaged
from inventorybot.errors import SetupError, TryLater


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty registry."""
    if request.param == "folder":
        return str(tmp_path / "registry")
    endpoint = request.getfixturevalue("store")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_S3", endpoint),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = "m" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/models"


def release(folder: Path, nll: float | None, weights: bytes = b"weights") -> Path:
    """A release folder whose card holds a held-out figure, lower being better."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    card: dict[str, object] = {"sha256": hashlib.sha256(weights).hexdigest()}
    if nll is not None:
        card["held_out"] = {"metric": "nll", "value": nll, "better": "lower"}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_while_nothing_is_promoted_the_packaged_release_is_in_service(url: str) -> None:
    assert ModelRegistry(url).current("count") == packaged("count")
    assert ModelRegistry(None).current("count").path.joinpath("card.json").is_file()


def test_a_promoted_release_is_in_service_for_everyone_who_asks_again(url: str, tmp_path: Path) -> None:
    agent, operator = ModelRegistry(url), ModelRegistry(url)
    operator.publish("demand", "v1", release(tmp_path / "a", 2.0, b"one"))
    with pytest.raises(SetupError, match="demand"):
        agent.current("demand")  # published is not promoted
    operator.promote("demand", "v1")
    assert agent.current("demand").version == "v1"
    operator.publish("demand", "v2", release(tmp_path / "b", 1.9, b"two"))
    assert agent.current("demand").version == "v1"
    assert "1.9" in operator.promote("demand", "v2")
    found = agent.current("demand")
    assert (found.version, (found.path / "model.safetensors").read_bytes()) == ("v2", b"two")
    assert list(agent.list("demand")) == [("demand", "v1"), ("demand", "v2")]
    assert list(agent.list()) == [("demand", "v1"), ("demand", "v2")]


def test_a_release_that_is_no_better_is_refused_and_says_why_unless_insisted_on(url: str, tmp_path: Path) -> None:
    registry = ModelRegistry(url)
    for version, nll in (("v1", 2.0), ("v2", 2.5), ("v3", None)):
        registry.publish("demand", version, release(tmp_path / version, nll))
    registry.promote("demand", "v1")
    with pytest.raises(SetupError, match=r"2\.5, in service 2\.0"):
        registry.promote("demand", "v2")
    with pytest.raises(SetupError, match="no common held-out figure"):
        registry.promote("demand", "v3")
    assert registry.current("demand").version == "v1"
    registry.promote("demand", "v2", even_if_worse=True)
    assert registry.current("demand").version == "v2"


def test_a_release_whose_weights_are_not_the_ones_of_its_card_is_not_promoted(url: str, tmp_path: Path) -> None:
    folder = release(tmp_path / "a", 1.0)
    (folder / "model.safetensors").write_bytes(b"other weights")
    registry = ModelRegistry(url)
    registry.publish("demand", "v1", folder)
    with pytest.raises(SetupError, match="damaged"):
        registry.promote("demand", "v1")
    assert registry.promoted("demand") is None


def test_a_version_is_never_overwritten(url: str, tmp_path: Path) -> None:
    registry = ModelRegistry(url)
    registry.publish("demand", "v1", release(tmp_path / "a", 1.0))
    with pytest.raises(SetupError, match="never changes"):
        registry.publish("demand", "v1", tmp_path / "a")


def test_a_release_cannot_be_published_under_a_version_that_its_card_denies(url: str, tmp_path: Path) -> None:
    folder = release(tmp_path / "a", 1.0)
    (folder / "card.json").write_text('{"version": "v1"}')
    with pytest.raises(SetupError, match="says version v1, not v2"):
        ModelRegistry(url).publish("demand", "v2", folder)
    with pytest.raises(SetupError, match="not a release"):
        ModelRegistry(url).publish("demand", "v1", tmp_path)


def test_what_is_not_there_cannot_be_promoted_and_the_answer_says_what_is(url: str, tmp_path: Path) -> None:
    registry = ModelRegistry(url)
    registry.publish("demand", "v1", release(tmp_path / "a", 1.0))
    with pytest.raises(SetupError, match="v1"):
        registry.promote("demand", "v7")


@pytest.mark.parametrize("name", ["..", "a/b", "", "Count", "-x", "a\nb"])
def test_names_that_could_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    for call in (lambda r: r.current(name), lambda r: r.release("count", name), lambda r: r.promote(name, "v1")):
        with pytest.raises(SetupError, match="not a name"):
            call(ModelRegistry(str(tmp_path)))


def test_a_store_that_does_not_answer_means_try_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"), ("AWS_MAX_ATTEMPTS", "1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(TryLater, match="model registry"):
        ModelRegistry("s3://models-away").current("count")
