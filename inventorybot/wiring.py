"""Adapters built from settings: the part of a composition root that every process shares.

In: `Settings`. Out: connected adapters. streaming/app.py and services/api/cli.py put them together.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

from inventorybot.adapters.blobs import Blobs
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import KafkaPublisher
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.adapters.registry import InService, ModelRegistry, artifacts_beside
from inventorybot.adapters.registry_news import ModelNews, announcement
from inventorybot.clock import now_ms
from inventorybot.domain.days import DAY_MS
from inventorybot.errors import TryLater
from inventorybot.settings import Settings
from inventorybot.wire.codec import TimeLimits

START_LIMIT_S = 60.0
"""How long a process waits at its start for a part that is still starting itself."""
ANNOUNCE_TIMEOUT_S = 5.0
"""The alias has moved already: whoever promotes must hear soon that the broker is away."""


def kafka_config(settings: Settings) -> dict[str, Any]:
    """How to reach the brokers, in librdkafka's names."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka,
        "security.protocol": settings.kafka_security,
        "log_level": 2,  # critical only: a broker that is away is told once, by TryLater, not at every attempt
        "reconnect.backoff.ms": 500,
    }
    if settings.kafka_ca_file:
        config["ssl.ca.location"] = settings.kafka_ca_file
    if settings.kafka_security.startswith("SASL"):
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_user
        config["sasl.password"] = settings.kafka_password
    return config


def publisher(settings: Settings, timeout_s: float = 10.0) -> KafkaPublisher:
    """A publisher. Args: timeout_s: how long a record may wait for its acknowledgement."""
    return KafkaPublisher(kafka_config(settings), timeout_s)


def database(settings: Settings, *, keyspace: bool = True, wait_s: float = START_LIMIT_S) -> Database:
    """A session on the keyspace (or, for the migrations, on none).

    Raises: TryLater: no node answers within `wait_s`. SetupError: the keyspace is missing.
    """
    tls = ssl.create_default_context(cafile=settings.cassandra_ca_file) if settings.cassandra_ca_file else None
    deadline = time.monotonic() + wait_s
    while True:
        try:
            found = Database.connect(
                [h.strip() for h in settings.cassandra_hosts.split(",")], settings.cassandra_port,
                datacenter=settings.cassandra_datacenter, consistency=settings.cassandra_consistency,
                timeout_s=settings.cassandra_timeout_s, user=settings.cassandra_user,
                password=settings.cassandra_password, tls=tls,
            )  # fmt: skip
            break
        except TryLater:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # the driver has no event for "a node came up" before the first connection
    return found.use(settings.cassandra_keyspace) if keyspace else found


def blobs(settings: Settings) -> Blobs:
    """Referenced images: files below the root, and S3 in the buckets, that the settings name; nothing else."""
    buckets = [name.strip() for name in settings.images_s3_buckets.split(",") if name.strip()]
    allowed = (("file", settings.images_root), ("s3", buckets))
    return Blobs(
        {scheme for scheme, place in allowed if place},
        Path(settings.images_root) if settings.images_root else None,
        settings.image_timeout_s,
        buckets=buckets,
        anonymous=settings.images_s3_anonymous,
        endpoint=settings.images_s3_endpoint or None,
    )


def time_limits(settings: Settings) -> TimeLimits:
    """What a time may be."""
    return TimeLimits(settings.max_future_s * 1000, settings.max_age_days * DAY_MS)


def registry(settings: Settings) -> ModelRegistry:
    """The registry of record: for who trains, promotes and looks. Agents hear `model_news` instead."""
    return ModelRegistry(settings.models or None, settings.model_artifacts or None)


def model_news(settings: Settings) -> ModelNews:
    """What running agents hear of the registry."""
    root = settings.model_artifacts or artifacts_beside(settings.models)
    return ModelNews(KafkaLog(kafka_config(settings)), root)


async def put_in_service(
    settings: Settings, name: str, version: str, *, even_if_worse: bool = False, in_service_value: float | None = None
) -> str:
    """Promotes a release that is in the registry, and tells running agents; see `ModelRegistry.promote`.

    Returns: what was compared. Raises: SetupError: it is refused. TryLater: the registry does not answer; or it is
        promoted, but the agents could not be told: the same call again tells them.
    """
    held = registry(settings)
    verdict = await asyncio.to_thread(
        held.promote, name, version, even_if_worse=even_if_worse, in_service_value=in_service_value
    )
    await announce_model(settings, name, held)
    return verdict


async def roll_back(settings: Settings, name: str) -> str:
    """Puts back in service what was so before, and tells running agents. Returns: its version. Raises: as above."""
    held = registry(settings)
    version = await asyncio.to_thread(held.rollback, name)
    await announce_model(settings, name, held)
    return version


async def announce_model(settings: Settings, name: str, held: ModelRegistry | None = None) -> InService:
    """Tells running agents what is in service, until that is what the registry says: another may be promoting, too.

    Raises: SetupError: nothing is in service. TryLater.
    """
    held = held or registry(settings)
    it = await asyncio.to_thread(held.in_service, name)
    try:
        async with publisher(settings, ANNOUNCE_TIMEOUT_S) as out:
            while True:
                await out.publish([announcement(it, now_ms())])
                told, it = it, await asyncio.to_thread(held.in_service, name)
                if it == told:
                    return it
    except TryLater as e:
        raise TryLater(
            e.part,
            f"{name} {it.version} is in service in the registry, but running agents have not heard of it "
            f"({e.reason}); `inventorybot models announce {name}` tells them",
        ) from e
