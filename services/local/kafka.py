"""The embedded Kafka: one process that is broker and controller (KRaft), a real Kafka 4.3.

In: a folder, two ports. Out: a `Broker` that listens on 127.0.0.1. Try: `python -m services.local.kafka FOLDER`.
Measured on 2 busy cores: ready in 3 to 6 s, 200 MiB.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from inventorybot.errors import SetupError
from services.local.checks import HOST, answers, free_ports
from services.local.jars import classpath
from services.local.java import java_env
from services.local.server import Server

FORMAT_TIMEOUT_S = 120  # measured 1 to 2 s; two minutes allows for a machine that is busy with other work
ANSWER_TIMEOUT_S = 2.0  # of one metadata request while polling; a broker that is up answers in milliseconds

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs={data}

# A misspelt topic must fail, not appear: `inventorybot migrate` makes them all.
auto.create.topics.enable=false
# An image of 900 kB is 1.2 MB as base64; with its headers it stays below this.
message.max.bytes=1572864
replica.fetch.max.bytes=2097152
# For topics that set nothing: a month. Each topic of ours sets its own (inventorybot/wire/topics.py).
log.retention.hours=720
log.segment.bytes=67108864
log.retention.check.interval.ms=300000
# A killed process loses nothing: the page cache is the kernel's. A power cut loses at most these five seconds.
log.flush.interval.ms=5000
log.flush.scheduler.interval.ms=5000

# One broker: every internal topic has one copy, and few partitions (each costs two files and a thread's attention).
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
offsets.retention.minutes=525600
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# After a crash the controller waits this long for the old process before it lets the new one in (the default is 9 s).
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
# Workers start together and few: waiting for more of them only delays the first event.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=6000

num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""

LOG4J = """\
<Configuration status="WARN" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d{{ISO8601}} %p %c{{1}}: %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="8MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


class Broker(Server):
    """A Kafka broker of one.

    Args:
        folder: its data, configuration and (by default) logs.
        port: for clients.
        controller_port: for itself.
        more: see `Server`.
    """

    name = "kafka"
    heap = ("-Xmx256m", "-Xms64m")

    def __init__(self, folder: Path, port: int, controller_port: int, **more: Any) -> None:
        super().__init__(folder, **more)
        self.port, self.controller_port = port, controller_port

    @property
    def bootstrap(self) -> str:
        """What clients call bootstrap servers."""
        return f"{HOST}:{self.port}"

    @property
    def ports(self) -> dict[str, int]:
        """Clients' and the controller's."""
        return {"Kafka": self.port, "Kafka's controller": self.controller_port}

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _properties(self) -> Path:
        return self.folder / "conf" / "server.properties"

    def configure(self) -> None:
        """Write server.properties and log4j2.xml."""
        self._properties.parent.mkdir(exist_ok=True)
        self._properties.write_text(
            PROPERTIES.format(host=HOST, port=self.port, controller_port=self.controller_port, data=self._data)
        )
        (self._properties.parent / "log4j2.xml").write_text(LOG4J.format(log=self.log))

    def prepare(self) -> None:
        """Format the data folder with a new cluster id.

        Raises: SetupError: the tool refused; says why.
        """
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # In one piece: one id in 64 begins with a dash, and would be taken for an option.
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self._properties)]
        done = subprocess.run(
            self.java("-Xmx128m", *self._base(), *tool),
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
            env=java_env(),
            check=False,
        )
        if done.returncode != 0:
            self._console.write_text(done.stdout + done.stderr)
            raise SetupError(self.explain())

    def command(self) -> list[str]:
        """Kafka's main class on its properties."""
        return [*self._base(), "kafka.Kafka", str(self._properties)]

    def _base(self) -> list[str]:
        jars = ":".join(map(str, classpath("kafka")))
        return [f"-Dlog4j2.configurationFile={self._properties.parent / 'log4j2.xml'}", "-cp", jars]

    def is_ready(self) -> bool:
        """Whether the broker is in its own metadata: it is there only when it has caught up and is unfenced."""
        if not answers(self.port):
            return False
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=ANSWER_TIMEOUT_S).brokers)
        except KafkaException:
            return False

    def stored(self) -> list[Path]:
        """The folders of topics."""
        return [path for path in sorted(self._data.glob("*-*")) if path.is_dir() and not path.name.startswith("__")]

    def essentials(self) -> list[Path]:
        """The cluster's identity and its metadata log."""
        return [self._data / "meta.properties", self._data / "__cluster_metadata-0"]


def main() -> None:
    """Run a broker on FOLDER until a key is pressed."""
    broker = Broker(Path(sys.argv[1]), *free_ports(2))
    broker.start()
    print(f"{broker.bootstrap} ready in {broker.wait_ready():.1f} s, process {broker.pid}")
    input("Enter stops it. ")
    broker.stop()


if __name__ == "__main__":
    main()
