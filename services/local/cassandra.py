"""The embedded Cassandra: a real Cassandra 5.0, one node.

In: a folder, three ports. Out: a `Node` that listens on 127.0.0.1. Try: `python -m services.local.cassandra FOLDER`.
Measured on 2 busy cores: ready in 7 to 14 s, 450 MiB.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from services.local.checks import HOST, free_ports
from services.local.jars import classpath
from services.local.server import Server

ANSWER_TIMEOUT_S = 2.0  # of one request while polling; a node that is up answers in milliseconds
OPTIONS_FRAME = bytes([4, 0, 0, 0, 5, 0, 0, 0, 0])  # native protocol v4: a request with opcode OPTIONS and no body
SUPPORTED = (0x84, 6)  # the answer's version byte (v4, response) and opcode

YAML = """\
cluster_name: inventorybot
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
dynamic_snitch: false
auto_bootstrap: false
hinted_handoff_enabled: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{host}:{storage_port}"}}]

listen_address: {host}
rpc_address: {host}
storage_port: {storage_port}
ssl_storage_port: {ssl_storage_port}
start_native_transport: true
native_transport_port: {port}
# Only this machine reaches it, and everybody on it may: no passwords in a demo. A cluster has them (deploy/k8s).
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer

data_file_directories: ["{folder}/data"]
commitlog_directory: "{folder}/commitlog"
saved_caches_directory: "{folder}/caches"
hints_directory: "{folder}/hints"
cdc_raw_directory: "{folder}/cdc"

# Acknowledged must mean durable: an agent commits its Kafka offset after Cassandra's answer. With the default
# `periodic` the answer comes up to ten seconds before the write can be replayed, so that a crash loses what Kafka
# never sends again. `batch` answers after the sync, and writes that arrive while one runs share the next (measured here:
# 24k rows a second against 26k with `periodic`; `group` with a 5 ms window: 24k, but a lone write waits the window).
commitlog_sync: batch
commitlog_segment_size: 8MiB
commitlog_total_space: 128MiB
commitlog_disk_access_mode: legacy
# Compressed segments are written through a channel, not a memory map, whose every sync walks 8 MiB: 17 % less CPU.
commitlog_compression:
  - class_name: LZ4Compressor
# A node that cannot write must end and say so; the default goes silent and stays.
disk_failure_policy: die
commit_failure_policy: die

memtable_heap_space: 96MiB
memtable_offheap_space: 64MiB
memtable_allocation_type: heap_buffers
disk_access_mode: mmap_index_only
key_cache_size: 8MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
concurrent_reads: 8
concurrent_writes: 64
concurrent_counter_writes: 2
concurrent_compactors: 1
native_transport_max_threads: 64
compaction_throughput: 32MiB/s

# A busy laptop pauses for seconds; the client's own time-out (10 s) decides, not the server's default of 2 s.
read_request_timeout: 10s
write_request_timeout: 10s
range_request_timeout: 30s
request_timeout: 30s
# Ledger batches are of one partition each and up to 48 KiB by design: not worth a line in the log.
batch_size_warn_threshold: 48KiB
# On one node every partition of a batch is at home: batches across partitions save requests.
unlogged_batch_across_partitions_warn_threshold: 1000
batch_size_fail_threshold: 50KiB
auto_snapshot: false
materialized_views_enabled: false
user_defined_functions_enabled: false
"""

LOGBACK = """\
<configuration scan="false">
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{log}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{log}.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>8MB</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%d{{ISO8601}} %level %logger{{20}}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="file"/></root>
</configuration>
"""

# Cassandra reaches into the JDK. This is the list of its own conf/jvm17-server.options, as module/package.
EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)
OPENS = (
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)
# A ring of one has nobody to wait for: without these the start takes half a minute longer.
ALONE = (
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.load_ring_state=false",
    "-Dcassandra.consistent.rangemovement=false",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.shutdown_announce_in_ms=0",
    "-Dcassandra.initial_token=0",
)


class Node(Server):
    """A Cassandra cluster of one.

    Args:
        folder: its data, configuration and (by default) logs.
        port: for clients (CQL).
        storage_port, ssl_storage_port: for other nodes, of which there are none; the second is named, never opened.
        more: see `Server`.
    """

    name = "cassandra"
    heap = ("-Xmx384m", "-Xms128m", "-Xss512k", "-XX:MaxDirectMemorySize=256m")  # -Xms small: it is locked in memory

    def __init__(self, folder: Path, port: int, storage_port: int, ssl_storage_port: int, **more: Any) -> None:
        super().__init__(folder, **more)
        self.port, self.storage_port, self.ssl_storage_port = port, storage_port, ssl_storage_port

    @property
    def host(self) -> str:
        """The contact point."""
        return HOST

    @property
    def ports(self) -> dict[str, int]:
        """Clients' and the other nodes'."""
        return {"Cassandra": self.port, "Cassandra's storage": self.storage_port}

    @property
    def _conf(self) -> Path:
        return self.folder / "conf"

    def configure(self) -> None:
        """Write cassandra.yaml and logback.xml."""
        self._conf.mkdir(exist_ok=True)
        values = {"port": self.port, "storage_port": self.storage_port, "ssl_storage_port": self.ssl_storage_port}
        (self._conf / "cassandra.yaml").write_text(YAML.format(host=HOST, folder=self.folder, **values))
        (self._conf / "logback.xml").write_text(LOGBACK.format(log=self.log))

    def prepare(self) -> None:
        """Nothing: Cassandra makes its folders itself."""

    def command(self) -> list[str]:
        """Cassandra's daemon on its configuration."""
        jars = classpath("cassandra")
        agent = next(jar for jar in jars if jar.name.startswith("jamm-"))  # measures objects, for the memtables' limits
        return [
            "-server",
            f"-javaagent:{agent}",
            *(f"--add-exports={package}=ALL-UNNAMED" for package in EXPORTS),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENS),
            "-Djdk.attach.allowAttachSelf=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Dio.netty.allocator.maxOrder=11",
            *ALONE,
            f"-Dcassandra.config={(self._conf / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={self.folder}",
            f"-Dcassandra.logdir={self.logs}",
            f"-Dlogback.configurationFile={self._conf / 'logback.xml'}",
            f"-Djna.tmpdir={self.folder / 'tmp'}",
            "-Dcassandra-foreground=yes",
            "-cp",
            ":".join(map(str, jars)),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def is_ready(self) -> bool:
        """Whether it answers an OPTIONS request; it listens for clients only when it has joined the ring."""
        try:
            with socket.create_connection((HOST, self.port), timeout=ANSWER_TIMEOUT_S) as connection:
                connection.sendall(OPTIONS_FRAME)
                header = connection.recv(9)
        except OSError:
            return False
        return len(header) >= 5 and (header[0], header[4]) == SUPPORTED

    def stored(self) -> list[Path]:
        """The folders of keyspaces that are not Cassandra's own."""
        return [path for path in sorted((self.folder / "data").glob("*")) if not path.name.startswith("system")]

    def essentials(self) -> list[Path]:
        """The node's own keyspace, without which it is another node."""
        return [self.folder / "data" / "system", self.folder / "commitlog"]


def main() -> None:
    """Run a node on FOLDER until a key is pressed."""
    node = Node(Path(sys.argv[1]), *free_ports(3))
    node.start()
    print(f"{HOST}:{node.port} ready in {node.wait_ready():.1f} s, process {node.pid}")
    input("Enter stops it. ")
    node.stop()


if __name__ == "__main__":
    main()
