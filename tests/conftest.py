"""What every test may use: a running Kafka and a running Cassandra, started once a session when first asked for.

In: the jars that `make setup` fetched. Out: the fixtures `kafka` (a `Broker`) and `cassandra` (a `Node`), real ones, on
free ports, in a temporary folder, tethered to this process: however the tests end, nothing stays behind.

    def test_…(kafka: Broker, cassandra: Node) -> None:
        client = AdminClient({"bootstrap.servers": kafka.bootstrap})
        session = Cluster(["127.0.0.1"], port=cassandra.port).connect()

The servers are shared: use topics and keyspaces of your own (`unique_name`), and do not stop them.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.cassandra.session import Database
from services.local.cassandra import Node
from services.local.checks import free_ports
from services.local.kafka import Broker

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI a skip is a failure: what was not tried there was not tried at all."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spark leaves the socket of a `collect` to be closed by Python; elsewhere that is an error."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker, empty at first; `kafka.bootstrap` is its address."""
    broker = Broker(tmp_path_factory.mktemp("kafka"), *free_ports(2))
    broker.start()
    try:
        broker.wait_ready()
        yield broker
    finally:
        broker.kill()  # its folder goes with the session: an orderly stop would only take time


@contextmanager
def without_idempotence(config: dict[str, Any]) -> Iterator[None]:
    """Producers made of `config` meanwhile take the broker for one of 2015: librdkafka gives them up for good."""
    too_old = {"api.version.request": False, "broker.version.fallback": "0.9.0"}
    config |= too_old
    yield
    for name in too_old:
        del config[name]


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A real node without keyspaces at first; `cassandra.host` and `cassandra.port` are its address."""
    node = Node(tmp_path_factory.mktemp("cassandra"), *free_ports(3))
    node.start()
    try:
        node.wait_ready()
        yield node
    finally:
        node.kill()


@pytest.fixture
def unique_name() -> str:
    """A name that no other test uses; good for a topic, a keyspace and a consumer group."""
    return f"t{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class Schema:
    """A keyspace with all tables."""

    database: Database
    keyspace: str


@pytest.fixture(scope="session")
def schema(cassandra: Node) -> Iterator[Schema]:
    """A migrated keyspace on the shared node, for all tests that bring names (sites, ids) of their own."""
    database = Database.connect(
        [cassandra.host], cassandra.port, datacenter="datacenter1", consistency="LOCAL_QUORUM", timeout_s=20
    )
    migrate(database, "contract", datacenter="datacenter1", replication=1)
    yield Schema(database, "contract")
    database.close()


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One Spark for all tests, on this machine, with the connectors; `cassandra` and `kafka` are told to it by each read."""
    from inventorybot.settings import load  # only here: Spark takes half a second to import, and few tests need it
    from ml.history.session import spark_session
    from services.local.jars import classpath

    settings = load({"INVENTORYBOT_SPARK_JARS": str(classpath("spark")[0].parent)})
    with spark_session("tests", settings, connectors=True) as session:
        yield session


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model registry with its tables and nothing in them: MLflow needs seconds to create them, a copy is there at once."""
    from mlflow.tracking import MlflowClient  # only here: it takes seconds to import, and few tests need it

    file = tmp_path_factory.mktemp("registry") / "registry.db"
    MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}").search_registered_models(max_results=1)
    return file


@pytest.fixture
def registry_url(empty_registry: Path, tmp_path: Path) -> str:
    """The URL of a model registry of this test alone; releases lie beside its file."""
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'registry.db')}"
