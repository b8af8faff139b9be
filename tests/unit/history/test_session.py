"""The Spark session: UTC, quiet, with both connectors on its class path. Run: pytest tests/unit/history/test_session.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark import SparkConf
from pyspark.sql import SparkSession

from inventorybot.errors import SetupError
from inventorybot.settings import load
from ml.history.session import configuration, point_at_cassandra


def test_times_are_utc_whatever_the_machine_says(spark: SparkSession) -> None:
    assert spark.sql("SELECT date_format(timestamp_seconds(0), 'yyyy-MM-dd HH:mm')").first()[0] == "1970-01-01 00:00"


@pytest.mark.parametrize(
    "name", ["org.apache.spark.sql.cassandra.DefaultSource", "org.apache.spark.sql.kafka010.KafkaSourceProvider"]
)
def test_both_connectors_are_there(spark: SparkSession, name: str) -> None:
    assert spark._jvm.java.lang.Class.forName(name).getName() == name


def test_a_cluster_is_named_by_a_setting() -> None:
    told = load({"INVENTORYBOT_SPARK_MASTER": "spark://host:7077"})
    conf = configuration("job", told, connectors=False, given=SparkConf(loadDefaults=False))
    assert conf.get("spark.master") == "spark://host:7077"
    assert conf.get("spark.driver.host") is None  # a cluster must reach the driver at its own address


def test_without_a_setting_spark_runs_on_this_machine_alone() -> None:
    conf = configuration("job", load({}), connectors=False, given=SparkConf(loadDefaults=False))
    assert conf.get("spark.master") == "local[*]"
    assert conf.get("spark.driver.host") == "127.0.0.1"


def test_what_spark_submit_said_stays() -> None:
    said = SparkConf(loadDefaults=False).set("spark.driver.memory", "6g").set("spark.master", "yarn")
    conf = configuration("job", load({}), connectors=False, given=said)
    assert (conf.get("spark.driver.memory"), conf.get("spark.master")) == ("6g", "yarn")


def test_a_folder_without_the_connectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="holds no jars of the connectors: run `make setup`"):
        configuration("job", load({"INVENTORYBOT_SPARK_JARS": str(tmp_path)}), connectors=True)


def test_a_cluster_must_be_told_where_its_trust_store_is(spark: SparkSession, tmp_path: Path) -> None:
    told = load({"INVENTORYBOT_CASSANDRA_CA_FILE": "/etc/ca.pem"})
    cluster = SimpleNamespace(sparkContext=SimpleNamespace(master="spark://host:7077"), conf=spark.newSession().conf)
    with pytest.raises(SetupError, match=r"every machine has.*ssl\.trustStore\.path=PATH"):
        point_at_cassandra(cluster, told, tmp_path)
    cluster.conf.set("spark.cassandra.connection.ssl.enabled", "true")
    point_at_cassandra(cluster, told, tmp_path)
    assert cluster.conf.get("spark.cassandra.connection.port") == str(told.cassandra_port)
    assert not list(tmp_path.iterdir())


def test_a_file_of_no_certificates_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate\n")
    told = load({"INVENTORYBOT_CASSANDRA_CA_FILE": str(empty)})
    with pytest.raises(SetupError, match=r"INVENTORYBOT_CASSANDRA_CA_FILE: .*ca\.pem is no PEM file"):
        point_at_cassandra(spark.newSession(), told, tmp_path)
