"""Every setting of every process: one frozen object, built once, from `INVENTORYBOT_…` variables.

In: the environment. Out: `Settings`. Try: `INVENTORYBOT_KAFKA=broker:9092 inventorybot topics`.
The defaults are the addresses that `inventorybot up` listens on. Hyper-parameters of models are not environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from inventorybot.errors import SetupError

PREFIX = "INVENTORYBOT_"
SETUP_ONLY = frozenset({"CACHE"})
"""Variables that the set-up reads before any setting exists (see services/local)."""


class Settings(BaseSettings):
    """How this process reaches the others, and what errors cost. Units are in the names or the descriptions."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    # --- Kafka
    kafka: str = Field("127.0.0.1:8701", description="bootstrap servers, comma-separated")
    kafka_replication: int = Field(1, ge=1, le=9, description="replication factor of topics; 3 in production")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_user: str = ""
    kafka_password: str = ""
    kafka_ca_file: str = Field("", description="PEM file of the brokers' certificate authority; empty: the system's")
    partitions: int = Field(
        6, ge=1, le=1024, description="partitions of the keyed topics; the most workers an agent can use"
    )

    # --- Cassandra
    cassandra_hosts: str = Field("127.0.0.1", description="contact points, comma-separated")
    cassandra_port: int = Field(8703, ge=1, le=65535)
    cassandra_keyspace: str = Field("inventorybot", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    cassandra_datacenter: str = Field("datacenter1", description="the local data centre; queries stay in it")
    cassandra_replication: int = Field(1, ge=1, le=9, description="copies a data centre; 3 in production")
    cassandra_consistency: Literal["LOCAL_ONE", "LOCAL_QUORUM", "QUORUM", "ALL"] = Field(
        "LOCAL_QUORUM", description="of reads and writes alike: with 3 copies, a read sees every acknowledged write"
    )
    cassandra_user: str = ""
    cassandra_password: str = ""
    cassandra_ca_file: str = Field("", description="PEM file; set it to speak TLS")
    cassandra_timeout_s: float = Field(
        10.0, gt=0, le=120, description="of one request; a healthy one takes milliseconds"
    )

    # --- Processes
    api_host: str = "127.0.0.1"
    api_port: int = Field(8700, ge=1, le=65535)
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port of a worker; 0: none")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    batch_events: int = Field(4096, ge=1, le=8192, description="the most updates that one ledger batch takes")
    batch_images: int = Field(32, ge=1, le=512, description="the most images that one count batch takes")
    linger_ms: int = Field(5, ge=0, le=1000, description="how long a batch waits for company")
    retry_limit_s: float = Field(60.0, gt=0, description="after so long without success a partition counts as paused")
    broker_session_timeout_s: float = Field(
        10.0, ge=6, le=300, description="a killed worker's partitions move after it"
    )

    # --- Images and models
    models: str = Field(
        "",
        description="URL of the model registry (MLflow): sqlite:////path/models.db, https://server; empty: what ships only",
    )
    model_artifacts: str = Field(
        "",
        description="fsspec URL of the folder that releases lie in; agents fetch from nowhere else; empty: beside a sqlite file",
    )
    model_poll_s: float = Field(5.0, gt=0, description="how often the count agent looks for a newer release")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    images_root: str = Field(
        "", description="image_url file:// references are read below this folder only; empty: refused"
    )
    images_s3_buckets: str = Field(
        "", description="the only buckets image_url s3:// may name, comma-separated; empty: none"
    )
    images_s3_anonymous: bool = False
    images_s3_endpoint: str = Field("", description="endpoint of an S3-compatible store; empty: AWS")
    image_timeout_s: float = Field(10.0, gt=0, le=120, description="to fetch one referenced image")

    # --- Network plans
    plan_network: str = Field("", description="fsspec URL of the folder that describes the network; empty: no plans")
    plan_results: str = Field(
        "", description="fsspec URL of the folder that the whole tables of plans go to; empty: no plans"
    )
    plan_at: str = Field(
        "02:30",
        pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        description="when the nightly plan is made, UTC; empty: never",
    )

    # --- Batch jobs (see docs/jobs.md)
    jobs: str = Field(
        "build-history 00:30; check-drift 01:00; retrain-demand sun 01:15; forecast 01:45; recommend 03:30; find-suspects 04:00; "
        "retrain-suspect sun 04:30",
        description="what `inventorybot jobs schedule` runs when, UTC: JOB [DAYS] HH:MM [OPTIONS], separated by semicolons",
    )
    jobs_state: str = Field(
        "", description="folder of what jobs ran, their logs and figures; empty: nothing is noted, and no schedule runs"
    )
    jobs_limit_minutes: float = Field(240.0, gt=0, le=1440, description="a scheduled run that takes longer is ended")
    jobs_retries: int = Field(2, ge=0, le=10, description="how often a scheduled run that failed is tried again")
    forecast_every: Literal["day", "week"] = Field("week", description="the period that demand is forecast by")
    forecast_horizon: int = Field(8, ge=1, le=400, description="how many periods ahead demand is forecast")

    # --- History
    lake: str = Field("", description="fsspec URL of the folder that history is kept in as Parquet; empty: none is")
    spark_master: str = Field(
        "", description="where Spark jobs run, such as spark://host:7077; empty: as spark-submit says, else local[*]"
    )
    spark_jars: str = Field(
        "", description="folder of the jars of Spark's connectors; empty: Spark fetches them when it starts"
    )

    # --- Stock against forecast (see docs/stock-watch.md)
    cover_horizon_days: float = Field(
        7.0, gt=0, le=366, description="how far ahead a stock-out matters: what replenishment takes"
    )
    stock_out_probability: float = Field(
        0.5, gt=0, lt=1, description="of a stock-out before that from which it is raised; below half of it, resolved"
    )
    excess_cover_days: float = Field(
        180.0, gt=0, le=3650, description="stock that lasts longer by the forecast is excess"
    )
    excess_units: int = Field(
        10, ge=1, le=1_000_000, description="and only from so many units more than those days ask for"
    )
    stock_watch_poll_s: float = Field(60.0, gt=0, le=3600, description="how often newer forecasts are looked for")

    # --- What a time may be: one that lies outside is a clock that is wrong, not a fact
    max_future_s: int = Field(300, ge=0, description="how far ahead of arrival an event may have occurred")
    max_age_days: int = Field(400, ge=1, description="how old an event may be when it arrives")

    # --- What errors cost (see docs/adr/0004-variance-as-a-posterior.md)
    miscount_rate: float = Field(0.02, gt=0, lt=1, description="share of bins whose record is wrong, before looking")
    recount_cost: float = Field(1.5, gt=0, description="of one wasted cycle count, any currency")
    missed_error_cost: float = Field(5.0, gt=0, description="of one wrong record left standing, same currency")
    look_weight: float = Field(
        0.5, gt=0, le=1, description="weight of a further look at an unchanged bin: looks share occlusion"
    )

    @model_validator(mode="after")
    def _costs_make_a_threshold(self) -> Self:
        if self.recount_cost >= self.missed_error_cost:
            raise ValueError("recount_cost must be below missed_error_cost, else no alert could ever pay for itself")
        return self


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Raises: SetupError: a variable is misspelt or its value is not allowed; names it, and the nearest right name.
    """
    env = os.environ if environ is None else environ
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(env):
        if name.startswith(PREFIX) and (bare := name.removeprefix(PREFIX)) not in known | SETUP_ONLY:
            near = difflib.get_close_matches(bare, known, n=1)
            hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
            raise SetupError(f"There is no setting {name}.{hint}")
    values = {k.removeprefix(PREFIX).lower(): v for k, v in env.items() if k.startswith(PREFIX)}
    values = {k: v for k, v in values.items() if k.upper() not in SETUP_ONLY}
    try:
        return Settings(**values)  # type: ignore[arg-type]  # strings from the environment; pydantic converts
    except ValidationError as error:
        first = error.errors()[0]
        field = "_".join(str(part) for part in first["loc"]).upper()
        raise SetupError(f"{PREFIX}{field or '*'}: {first['msg']} (got {first.get('input')!r})") from error
