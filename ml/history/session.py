"""A Spark session: on this machine by default, on a cluster where a setting or spark-submit says so.

In: the settings `spark_master` and `spark_jars`. Out: a SparkSession in UTC that stops when the block ends.

    with spark_session("build-history", settings, connectors=True) as spark: …

Under spark-submit, what it was told (master, memory, packages) stays as it is.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyspark import SparkConf
from pyspark.sql import SparkSession

from inventorybot.errors import SetupError
from inventorybot.java import JKS_PASSWORD, find_java, key_store
from inventorybot.settings import Settings

PACKAGES = "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7,com.datastax.spark:spark-cassandra-connector_2.12:3.5.1"
"""Where no folder of jars is set, Spark fetches these itself (from Maven Central, or what its Ivy settings say)."""
DRIVER_MEMORY = "1g"
"""With this heap a driver takes 0.4 GB at the start and 1.1 GB in all at its peak, measured."""

_ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # the default, INT96, no other reader likes
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",  # a site called 2026-11-21 stays text
}
_HERE = {
    "spark.driver.memory": DRIVER_MEMORY,
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",  # 200, the default, are 200 tasks of nothing on two cores
}
_TLS = "spark.cassandra.connection.ssl"
_CIPHERS = (
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
)
"""TLS 1.3 and 1.2 with forward secrecy; the connector's own list is of two ciphers that Java no longer takes."""
_EXTENSIONS = {"spark.sql.extensions": "com.datastax.spark.connector.CassandraSparkExtensions"}


@contextmanager
def spark_session(name: str, settings: Settings, *, connectors: bool) -> Iterator[SparkSession]:
    """A session for one job.

    Args:
        name: what the session is called in a cluster's lists.
        connectors: with those of Kafka and Cassandra on the class path.
    Raises: SetupError: there is no Java 17, the folder of jars is none, or Spark does not start.
    """
    with _java(not settings.spark_master or settings.spark_master.startswith("local")):
        conf = configuration(name, settings, connectors=connectors)
        try:
            spark = SparkSession.builder.config(conf=conf).getOrCreate()
        except Exception as error:  # py4j and pyspark raise a dozen kinds
            raise SetupError(f"Spark does not start: {str(error).strip().splitlines()[0]}") from error
    spark.sparkContext.setLogLevel("ERROR")
    try:
        with TemporaryDirectory(prefix="inventorybot-spark-") as scratch:
            if connectors:
                point_at_cassandra(spark, settings, Path(scratch))
            yield spark
    finally:
        spark.stop()


def configuration(name: str, settings: Settings, *, connectors: bool, given: SparkConf | None = None) -> SparkConf:
    """What the session is told.

    Args: given: what spark-submit said, which stays; None: as it is here.
    Raises: SetupError: spark_jars is no folder of jars.
    """
    conf = (SparkConf() if given is None else given).setAppName(f"inventorybot {name}")
    if settings.spark_master:
        conf.setMaster(settings.spark_master)
    conf.setIfMissing("spark.master", "local[*]")
    local = str(conf.get("spark.master")).startswith("local")
    for key, value in {
        **_ALWAYS,
        **(_HERE if local else {}),
        **(_connectors(settings.spark_jars) if connectors else {}),
    }.items():
        conf.setIfMissing(key, value)
    return conf


def _connectors(folder: str) -> dict[str, str]:
    """The connectors' jars: from a folder that every machine of the cluster has, or fetched by Spark."""
    if not folder:
        return {"spark.jars.packages": PACKAGES, **_EXTENSIONS}
    if not any(Path(folder).glob("spark-cassandra-connector_*.jar")):
        raise SetupError(f"INVENTORYBOT_SPARK_JARS: {folder} holds no jars of the connectors: run `make setup`")
    everything = f"{Path(folder).absolute()}/*"
    return {"spark.driver.extraClassPath": everything, "spark.executor.extraClassPath": everything, **_EXTENSIONS}


def point_at_cassandra(spark: SparkSession, settings: Settings, scratch: Path) -> None:
    """Tell the connector of a session where Cassandra is, and whom to trust.

    Args: scratch: a folder that lives as long as the session; the trust store of a local session is written here.
    Raises: SetupError: Cassandra speaks TLS, and a cluster was not told where its machines have the trust store.
    """
    told: dict[str, Any] = {
        "spark.cassandra.connection.host": settings.cassandra_hosts,
        "spark.cassandra.connection.port": settings.cassandra_port,
        "spark.cassandra.connection.localDC": settings.cassandra_datacenter,
        "spark.cassandra.input.consistency.level": settings.cassandra_consistency,
        "spark.cassandra.output.consistency.level": settings.cassandra_consistency,
        "spark.cassandra.read.timeoutMS": int(settings.cassandra_timeout_s * 12_000),  # a page of thousands, not a row
        "spark.cassandra.auth.username": settings.cassandra_user,
        "spark.cassandra.auth.password": settings.cassandra_password,
    }
    if settings.cassandra_ca_file and spark.conf.get(f"{_TLS}.enabled", None) is None:
        told |= _trusting(spark, Path(settings.cassandra_ca_file), scratch)
    for key, value in told.items():
        if value != "":
            spark.conf.set(key, str(value))


def _trusting(spark: SparkSession, ca_file: Path, scratch: Path) -> dict[str, str]:
    """The connector reads no PEM file: a session on this machine gets a trust store made of it."""
    if not str(spark.sparkContext.master).startswith("local"):
        raise SetupError(
            f"INVENTORYBOT_CASSANDRA_CA_FILE is set, but a Spark cluster needs a trust store that every machine has: put one there "
            f"(keytool -importcert -file {ca_file.name} -keystore PATH), and give spark-submit --conf {_TLS}.enabled=true "
            f"--conf {_TLS}.trustStore.path=PATH --conf {_TLS}.trustStore.password=…"
        )
    try:
        trusted = ssl.create_default_context(cafile=ca_file).get_ca_certs(binary_form=True)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(
            f"INVENTORYBOT_CASSANDRA_CA_FILE: {ca_file} is no PEM file of certificates: {error}"
        ) from error
    store = scratch / "cassandra-ca.jks"
    store.write_bytes(key_store(trusted))
    return {
        f"{_TLS}.enabled": "true",
        f"{_TLS}.trustStore.path": str(store),
        f"{_TLS}.trustStore.password": JKS_PASSWORD,
        f"{_TLS}.enabledAlgorithms": ",".join(_CIPHERS),
    }


@contextmanager
def _java(here: bool) -> Iterator[None]:
    """The Java that Spark starts on, found as for Kafka and Cassandra; under spark-submit one runs already."""
    told = {"JAVA_HOME": str(find_java().resolve().parents[1])} if "PYSPARK_GATEWAY_PORT" not in os.environ else {}
    if here and "PYSPARK_PYTHON" not in os.environ:
        told["PYSPARK_PYTHON"] = sys.executable  # workers see what this process sees; a cluster's image has its own
    before = dict(os.environ)
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]
