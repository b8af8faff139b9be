"""A Cassandra that speaks TLS only: our driver and Spark's connector trust what the setting names, and nothing else.

In: an authority made for the test. Out: rows through both; a clear error where another authority is named.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from pyspark.sql import SparkSession

from inventorybot import wiring
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.errors import TryLater
from inventorybot.settings import Settings, load
from ml.history.session import point_at_cassandra
from services.local.cassandra import Node
from services.local.checks import HOST, free_ports

ENCRYPTED = """
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: "{folder}/node.pem"
"""


class TlsNode(Node):
    """The embedded node with a certificate of an authority of its own."""

    def configure(self) -> None:
        super().configure()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        made = authority.issue_cert(HOST)
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        plain = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )  # all that Cassandra's reader knows
        chain = [blob.bytes() for blob in made.cert_chain_pems]
        (self.folder / "node.pem").write_bytes(b"".join([plain, *chain]))
        with (self.folder / "conf" / "cassandra.yaml").open("a") as yaml:
            yaml.write(ENCRYPTED.format(folder=self.folder))

    def is_ready(self) -> bool:
        """Whether it shakes hands."""
        trusting = ssl.create_default_context(cafile=self.folder / "ca.pem")
        try:
            with (
                socket.create_connection((HOST, self.port), timeout=2) as plain,
                trusting.wrap_socket(plain, server_hostname=HOST),
            ):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    node = TlsNode(tmp_path_factory.mktemp("tls"), *free_ports(3))
    node.start()
    try:
        node.wait_ready()
        said = {
            "CASSANDRA_HOSTS": node.host,
            "CASSANDRA_PORT": str(node.port),
            "CASSANDRA_CA_FILE": str(node.folder / "ca.pem"),
        }
        yield load({f"INVENTORYBOT_{name}": value for name, value in said.items()})
    finally:
        node.kill()


@pytest.fixture
def stranger(settings: Settings, tmp_path: Path) -> Settings:
    """The same, trusting an authority that the node's certificate is not from."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    return settings.model_copy(update={"cassandra_ca_file": str(tmp_path / "other.pem")})


@pytest.fixture
def trusting(settings: Settings, spark: SparkSession, tmp_path: Path) -> Iterator[SparkSession]:
    """The session of all tests, for once speaking TLS: the connector reads the settings of the active one only."""
    point_at_cassandra(spark, settings, tmp_path)
    yield spark
    for name in ("enabled", "trustStore.path", "trustStore.password", "enabledAlgorithms"):
        spark.conf.unset(f"spark.cassandra.connection.ssl.{name}")


def test_our_driver_and_sparks_read_what_was_written(settings: Settings, trusting: SparkSession) -> None:
    database = wiring.database(settings, keyspace=False)
    steps = migrate(database, "tls", datacenter="datacenter1", replication=1)
    database.close()
    table = trusting.read.format("org.apache.spark.sql.cassandra").options(keyspace="tls", table="schema_step").load()
    assert table.count() == len(steps) > 0


def test_a_node_of_another_authority_is_not_trusted(stranger: Settings) -> None:
    with pytest.raises(TryLater, match="certificate"):
        wiring.database(stranger, keyspace=False, wait_s=0)
