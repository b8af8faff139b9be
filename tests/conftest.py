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
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.cassandra.session import Database
from services.local.cassandra import Node
from services.local.checks import free_ports
from services.local.kafka import Broker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI a skip is a failure: what was not tried there was not tried at all."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


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
