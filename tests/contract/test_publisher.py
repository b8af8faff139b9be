"""What every publisher must do, run over Kafka's and over the fake."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay

from inventorybot.adapters.kafka import KafkaPublisher, Topics
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.errors import BadEvent, Code, TryLater
from inventorybot.wire.codec import Message
from inventorybot.wire.topics import LEVELS, TOPICS
from services.local.checks import free_ports
from services.local.kafka import Broker
from tests.conftest import without_idempotence

TOPIC = LEVELS.name
HEADERS = [("ce_id", b"1"), ("ce_id", b"2"), ("empty", b"")]


@pytest.fixture(params=["memory", "kafka"])
def publisher(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryPublisher()
        return
    broker: Broker = request.getfixturevalue("kafka")
    Topics({"bootstrap.servers": broker.bootstrap}).create(TOPICS, 6, 1)
    made = KafkaPublisher({"bootstrap.servers": broker.bootstrap}, timeout_s=10)
    yield made
    made.close()


def written(publisher: Any, request: pytest.FixtureRequest, key: bytes) -> list[Message]:
    """What lies under a key, in order, read back without the product's help."""
    if isinstance(publisher, MemoryPublisher):
        return [m for m in publisher.messages if m.key == key]
    broker: Broker = request.getfixturevalue("kafka")
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "contract", "enable.auto.commit": False})
    places = [TopicPartition(TOPIC, p, 0) for p in range(6)]
    left = sum(consumer.get_watermark_offsets(p, timeout=10)[1] for p in places)
    consumer.assign(places)
    found = []
    while left:
        for m in consumer.consume(left, timeout=10):
            assert m.error() is None
            left -= 1
            if m.key() == key:
                found.append(Message(m.topic() or "", m.key(), m.value(), m.headers() or []))
    consumer.close()
    return found


async def test_what_is_published_lies_in_the_topic_in_order_with_key_value_and_headers(
    publisher: Any, request: pytest.FixtureRequest, unique_name: str
) -> None:
    key = unique_name.encode()
    sent = [Message(TOPIC, key, str(n).encode(), HEADERS) for n in range(300)]
    await publisher.publish(sent[:100])
    await publisher.publish(sent[100:])
    assert written(publisher, request, key) == sent


async def test_publishing_nothing_is_done_at_once(publisher: Any) -> None:
    await publisher.publish([])


async def test_a_record_that_its_topic_does_not_take_is_refused_for_good(publisher: Any) -> None:
    large = random.Random(1).randbytes(LEVELS.max_bytes + 1)  # Kafka measures what compression leaves
    with pytest.raises(BadEvent) as refused:
        await publisher.publish([Message(TOPIC, b"k", large, [])])
    assert (refused.value.code, refused.value.path) == (Code.TOO_LARGE, "/data")


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_without_a_broker_it_says_try_later(kind: str) -> None:
    if kind == "memory":
        made: Any = MemoryPublisher()
        made.down = True
    else:
        made = KafkaPublisher({"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}", "log_level": 0}, timeout_s=1)
    with pytest.raises(TryLater) as refused:
        await made.publish([Message(TOPIC, b"k", b"v", [])])
    assert refused.value.part == "kafka"


async def test_a_producer_that_librdkafka_gave_up_is_replaced(kafka: Broker) -> None:
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}
    Topics(config).create(TOPICS, 6, 1)
    with without_idempotence(config):
        made = KafkaPublisher(config, timeout_s=20)
        for _ in range(2):  # as many as are asked for, each told
            with pytest.raises(TryLater) as refused:
                await made.publish([Message(TOPIC, b"given-up", b"v", [])] * 3)
            assert refused.value.part == "kafka"
    async for attempt in AsyncRetrying(retry=retry_if_exception_type(TryLater), stop=stop_after_delay(20)):
        with attempt:
            await made.publish([Message(TOPIC, b"given-up", b"v", [])])
    made.close()
