"""The model registry over a SQLite file and a folder, and over MLflow's own server and an S3 store: the same on both.

MLflow's server and moto's run in threads of the tests. Run: pytest tests/contract/test_registry.py
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from inventorybot.adapters.memory.log import MemoryLog
from inventorybot.adapters.registry import InService, ModelRegistry, packaged
from inventorybot.adapters.registry_mlflow import Records
from inventorybot.adapters.registry_news import Announced, ModelNews
from inventorybot.errors import SetupError, TryLater
from tests.unit.models.folders import digest, release


@dataclass(frozen=True)
class Place:
    """Where a registry is, and its files."""

    url: str
    artifacts: str

    def open(self) -> ModelRegistry:
        """As another process would."""
        return ModelRegistry(self.url, self.artifacts)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def mlflow_server(empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own tracking server, on a database of its own."""
    from mlflow.server import app, handlers
    from werkzeug.serving import make_server

    file = tmp_path_factory.mktemp("server") / "server.db"
    file.write_bytes(empty_registry.read_bytes())
    handlers.initialize_backend_stores(f"sqlite:///{file}", f"sqlite:///{file}", str(file.parent))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="mlflow-server")
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["sqlite", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty registry."""
    if request.param == "sqlite":
        return Place(request.getfixturevalue("registry_url"), str(tmp_path / "releases"))
    from mlflow.tracking import MlflowClient

    url, endpoint = request.getfixturevalue("mlflow_server"), request.getfixturevalue("store")
    reach_s3(monkeypatch, endpoint)
    bucket = "m" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    boto3.client("s3").create_bucket(Bucket=bucket)
    client = MlflowClient(url, url)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return Place(url, f"s3://{bucket}/models")


def reach_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_S3", endpoint), ("AWS_MAX_ATTEMPTS", "1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)


def test_while_nothing_is_promoted_the_packaged_release_is_in_service(place: Place, tmp_path: Path) -> None:
    assert place.open().current("count") == packaged("count")
    assert ModelRegistry(None).current("suspect").path.joinpath("card.json").is_file()
    nothing_yet = ModelRegistry(f"sqlite:///{tmp_path}/new/registry.db")
    assert (nothing_yet.current("count"), list(nothing_yet.list())) == (packaged("count"), [])
    assert not (tmp_path / "new").exists(), "looking must not create anything"


def test_a_promoted_release_is_in_service_for_everyone_who_asks_again(place: Place, tmp_path: Path) -> None:
    asker, operator = place.open(), place.open()
    operator.publish("demand", "v1", release(tmp_path / "a", 2.0, b"one"))
    with pytest.raises(SetupError, match="demand"):
        asker.current("demand")  # published is not promoted
    assert operator.promote("demand", "v1") == "nothing was in service"
    assert asker.current("demand").version == "v1"
    operator.publish("demand", "v2", release(tmp_path / "b", 1.9, b"two"))
    assert asker.promoted("demand") == "v1"
    assert operator.promote("demand", "v2") == "held-out nll is 1.9, in service 2.0 (lower is better)"
    found = asker.current("demand")
    assert (found.version, (found.path / "model.safetensors").read_bytes()) == ("v2", b"two")
    assert list(asker.list("demand")) == list(asker.list()) == [("demand", "v1"), ("demand", "v2")]
    card = (tmp_path / "b" / "card.json").read_bytes()
    assert asker.in_service("demand") == InService(
        "demand", "v2", f"{_root(place)}/demand/v2-{digest(card)[:12]}", digest(card), "v1"
    )


def _root(place: Place) -> str:
    return place.artifacts if place.artifacts.startswith("s3:") else Path(place.artifacts).as_uri()


def test_mlflow_itself_shows_versions_aliases_and_figures(place: Place, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    registry = place.open()
    for version, nll in (("v1", 2.0), ("v2", 1.9)):
        registry.publish("demand", version, release(tmp_path / version, nll, task="forecast"))
        registry.promote("demand", version)
    client = MlflowClient(place.url, place.url)
    champion = client.get_model_version_by_alias("inventorybot.demand", "champion")
    assert (champion.tags["version"], champion.description) == ("v2", "forecast")
    assert json.loads(champion.tags["held_out"])["value"] == 1.9
    assert client.get_model_version_by_alias("inventorybot.demand", "previous").tags["version"] == "v1"
    assert [m.name for m in client.search_registered_models()] == ["inventorybot.demand"], "no lease is left"


def test_a_release_that_is_no_better_is_refused_and_says_why_unless_insisted_on(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    for version, nll in (("v1", 2.0), ("v2", 2.5), ("v3", None), ("v4", 2.0)):
        registry.publish("demand", version, release(tmp_path / version, nll))
    registry.promote("demand", "v1")
    with pytest.raises(SetupError, match=r"2\.5, in service 2\.0"):
        registry.promote("demand", "v2")
    with pytest.raises(SetupError, match="no common held-out figure"):
        registry.promote("demand", "v3")
    with pytest.raises(SetupError, match=r"2\.0, in service 2\.0"):
        registry.promote("demand", "v4")
    assert registry.promoted("demand") == "v1"
    registry.promote("demand", "v2", even_if_worse=True)
    assert registry.promoted("demand") == "v2"


def test_what_the_release_in_service_scores_now_counts_instead_of_its_card(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    for version, nll in (("v1", 1.0), ("v2", 1.5)):
        registry.publish("demand", version, release(tmp_path / version, nll))
    registry.promote("demand", "v1")
    with pytest.raises(SetupError, match=r"1\.5, in service 1\.4"):
        registry.promote("demand", "v2", in_service_value=1.4)
    assert "in service 1.6" in registry.promote("demand", "v2", in_service_value=1.6)


def test_promoting_what_is_in_service_again_does_no_harm(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    for version, nll in (("v1", 2.0), ("v2", 1.9)):
        registry.publish("demand", version, release(tmp_path / version, nll))
        registry.promote("demand", version)
    assert registry.promote("demand", "v2") == "it is in service already"
    assert registry.in_service("demand").previous == "v1"


def test_a_roll_back_goes_back_step_by_step_to_what_ships_with_the_product(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    for version in ("v7", "v8", "v9"):
        registry.publish("count", version, release(tmp_path / version, 1.0))
        registry.promote("count", version, even_if_worse=True)
    assert registry.rollback("count") == "v8"
    assert registry.in_service("count").previous == "v7"
    registry.promote("count", "v9", even_if_worse=True)
    assert [registry.rollback("count") for _ in range(3)] == ["v8", "v7", packaged("count").version]
    assert (registry.promoted("count"), registry.current("count")) == (None, packaged("count"))
    with pytest.raises(SetupError, match="nothing was in service before count v1"):
        registry.rollback("count")
    registry.promote("count", "v8", even_if_worse=True)
    assert registry.rollback("count") == packaged("count").version


def test_damaged_files_are_neither_promoted_nor_served_and_publishing_again_repairs_them(
    place: Place, tmp_path: Path
) -> None:
    import fsspec

    registry = place.open()
    for version, nll in (("v1", 2.0), ("v2", 1.0)):
        registry.publish("demand", version, release(tmp_path / version, nll, version.encode()))
    registry.promote("demand", "v1")
    fs, path = fsspec.core.url_to_fs(place.artifacts)
    fs.invalidate_cache()
    for weights in fs.glob(f"{path}/demand/*/model.safetensors"):
        fs.pipe_file(weights, b"other weights")
    other = place.open()  # with no copy of its own yet
    with pytest.raises(SetupError, match="damaged"):
        other.promote("demand", "v2")
    with pytest.raises(SetupError, match="damaged"):
        other.current("demand")
    assert other.promoted("demand") == "v1"
    registry.publish("demand", "v2", tmp_path / "v2")
    assert place.open().promote("demand", "v2").startswith("held-out nll is 1.0")


def test_a_version_is_never_overwritten(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    registry.publish("demand", "v1", release(tmp_path / "a", 1.0, b"one"))
    with pytest.raises(SetupError, match="never changes"):
        registry.publish("demand", "v1", release(tmp_path / "b", 1.0, b"two"))
    assert (registry.release("demand", "v1").path / "model.safetensors").read_bytes() == b"one"
    with pytest.raises(SetupError, match="already holds count v1"):  # another of that name ships with the product
        registry.publish("count", "v1", release(tmp_path / "c", 1.0))


def test_a_release_is_published_under_its_own_name_only_and_without_anything_that_could_run_code(
    place: Place, tmp_path: Path
) -> None:
    registry = place.open()
    with pytest.raises(SetupError, match="says version v1, not v2"):
        registry.publish("demand", "v2", release(tmp_path / "a", 1.0, version="v1"))
    with pytest.raises(SetupError, match="says name count, not demand"):
        registry.publish("demand", "v2", release(tmp_path / "b", 1.0, name="count"))
    with pytest.raises(SetupError, match="not a release"):
        registry.publish("demand", "v1", tmp_path)
    pickled = release(tmp_path / "c", 1.0)
    (pickled / "model.pkl").write_bytes(b"x")
    with pytest.raises(SetupError, match="nothing that could run code"):
        registry.publish("demand", "v1", pickled)
    assert list(registry.list()) == []


def test_every_file_of_every_release_is_data_and_none_is_code(place: Place, tmp_path: Path) -> None:
    import fsspec

    registry = place.open()
    for name in ("count", "suspect"):
        registry.publish(name, "v77", _as(packaged(name).path, tmp_path / name, "v77"))
    fs, path = fsspec.core.url_to_fs(place.artifacts)
    fs.invalidate_cache()
    found = {Path(f).name for f in fs.find(path)}
    assert found == {
        "card.json", "README.md", "model.safetensors", "graph.onnx", "suspect.txt", "units.txt"
    }  # fmt: skip
    assert registry.release("count", "v77").card()["version"] == "v77"


def _as(folder: Path, copy: Path, version: str) -> Path:
    """A release under another version."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    card = json.loads((folder / "card.json").read_text()) | {"version": version}
    (copy / "card.json").write_text(json.dumps(card))
    return copy


def test_what_is_not_there_cannot_be_promoted_and_the_answer_says_what_is(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    registry.publish("demand", "v1", release(tmp_path / "a", 1.0))
    with pytest.raises(SetupError, match="holds no demand v7; it holds v1"):
        registry.promote("demand", "v7")
    with pytest.raises(SetupError, match="it holds none"):
        registry.release("suspect", "v7")


LADDER = 12
CLIMB = """
import sys
from inventorybot.adapters.registry import ModelRegistry
assert "mlflow" not in sys.modules, "nobody pays for MLflow before it is needed"
from inventorybot.errors import SetupError
registry = ModelRegistry(sys.argv[1], sys.argv[2])
registry.list()
print("ready", flush=True)
sys.stdin.readline()
for step in map(int, sys.argv[3:]):
    try:
        registry.promote("demand", f"v{step}")
    except SetupError as refusal:
        assert "is not promoted" in str(refusal), refusal
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None, "it calls home"
"""


def test_two_processes_that_promote_at_once_never_put_a_worse_release_over_a_better_one(
    registry_url: str, tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    place = Place(registry_url, str(tmp_path / "releases"))
    registry = place.open()
    for step in range(1, LADDER + 1):  # a higher version is a better one
        registry.publish("demand", f"v{step}", release(tmp_path / f"v{step}", 10.0 - step))
    command = [sys.executable, "-c", CLIMB, place.url, place.artifacts, *map(str, range(2, LADDER + 1, 2))]
    quiet = {"PYTEST_CURRENT_TEST", "CI"}  # where MLflow sees one of these, it does not call home anyway
    other = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={name: value for name, value in os.environ.items() if name not in quiet},
    )  # fmt: skip
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stderr is not None
    with other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        for step in range(1, LADDER + 1, 2):
            try:
                registry.promote("demand", f"v{step}")
            except SetupError as refusal:
                assert "is not promoted" in str(refusal)  # noqa: PT017  # which refusals there are depends on who is first
        assert other.stderr.read() == ""
    assert other.returncode == 0
    client = MlflowClient(registry_url, registry_url)
    told = json.loads(client.get_registered_model("inventorybot.demand").tags["history"])
    steps = [int(version.removeprefix("v")) for version in told]
    assert steps == sorted(steps)
    assert (steps[-1], registry.promoted("demand")) == (LADDER, f"v{LADDER}")


def test_the_lease_of_a_promotion_that_died_is_taken_after_a_while(registry_url: str) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(registry_url, registry_url)
    client.create_registered_model("inventorybot.demand (being promoted)", description="who died")
    entered = []
    with Records(registry_url, lease_s=0.3).alone("demand"):
        entered += [m.description for m in client.search_registered_models()]
    assert len(entered) == 1
    assert entered != ["who died"]
    assert client.search_registered_models() == []


def test_of_two_that_publish_one_version_at_once_one_is_told_to_choose_another(place: Place, tmp_path: Path) -> None:
    first, second = place.open(), place.open()
    folders = [release(tmp_path / who, 1.0, who.encode()) for who in ("ann", "ben")]
    results: list[str] = []

    def publish(registry: ModelRegistry, folder: Path) -> None:
        try:
            registry.publish("demand", "v1", folder)
            results.append(folder.name)
        except SetupError as refusal:
            results.append(f"refused {'never changes' in str(refusal)}")

    threads = [
        threading.Thread(target=publish, args=pair) for pair in zip((first, second), folders, strict=True)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner, loser = sorted(results)
    assert loser == "refused True"
    found = place.open().release("demand", "v1")
    assert (found.path / "model.safetensors").read_bytes() == winner.encode()
    assert list(first.list()) == [("demand", "v1")]


@pytest.mark.parametrize("name", ["..", "a/b", "", "Count", "-x", "a\nb"])
def test_names_that_could_lead_out_of_the_folder_are_refused(registry_url: str, name: str) -> None:
    for call in (lambda r: r.current(name), lambda r: r.release("count", name), lambda r: r.promote(name, "v1")):
        with pytest.raises(SetupError, match="not a name"):
            call(ModelRegistry(registry_url))


@pytest.mark.parametrize("url", ["models", "s3://models", "file:///models", "databricks", "/var/lib/models"])
def test_what_is_no_registry_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SetupError, match="must be the URL of a model registry, such as sqlite:"):
        ModelRegistry(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database" * 100)
    with pytest.raises(SetupError, match=r"refuses: .*not a database"):
        ModelRegistry(f"sqlite:///{tmp_path}/registry.db").list()


def test_a_server_that_does_not_answer_means_try_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TryLater, match="model registry"):
        ModelRegistry("http://127.0.0.1:9").current("count")


def test_a_store_that_does_not_answer_means_try_later(
    registry_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach_s3(monkeypatch, "http://127.0.0.1:9")
    registry = ModelRegistry(registry_url, "s3://models-away")
    with pytest.raises(TryLater, match="model registry"):
        registry.publish("demand", "v1", release(tmp_path / "a", 1.0))
    assert list(registry.list()) == [], "nothing is registered whose files are not there"
    with pytest.raises(TryLater, match="model registry"):
        ModelNews(MemoryLog(), "s3://models-away").fetch(Announced("count", "v9", "s3://models-away/v9", "ab" * 32))


def test_files_that_only_one_machine_can_read_are_refused_behind_a_server(mlflow_server: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="INVENTORYBOT_MODEL_ARTIFACTS"):
        ModelRegistry(mlflow_server, str(tmp_path / "r")).publish("demand", "v1", release(tmp_path / "a", 1.0))


def test_without_a_registry_nothing_can_be_published_promoted_or_rolled_back(tmp_path: Path) -> None:
    registry = ModelRegistry(None)
    for call in (
        lambda: registry.publish("demand", "v1", release(tmp_path / "a", 1.0)),
        lambda: registry.promote("demand", "v1"), lambda: registry.rollback("demand"),
    ):  # fmt: skip
        with pytest.raises(SetupError, match="there is no model registry: set INVENTORYBOT_MODELS"):
            call()
