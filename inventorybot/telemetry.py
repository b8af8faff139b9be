"""Every metric and the log format of every process. A metric is declared here, once, or it does not exist.

Out: `/metrics` in Prometheus' text format (prometheus-client), JSON lines on standard output (structlog).
Trace context (W3C) travels in the events' `traceparent`: `follow` gives a derived event its place in the trace.
"""

from __future__ import annotations

import logging
import random
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server
from prometheus_client import write_to_textfile as write_figures
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

_IDS = random.Random(secrets.randbits(256))
"""Ids of spans need to differ, not to be secret: asking the system for each gives the processor away hundreds of times a batch."""
CHATTY = ("faust", "mode", "aiokafka", "cassandra", "kafka", "s3fs", "botocore", "uvicorn.access")
"""Libraries whose information is of use only to their authors; their warnings are kept."""
LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 4, 16, 64, 256, 1024, 4096)

EVENTS = Counter("inventorybot_events_total", "Events handled, by what they did", ["topic", "outcome"])
DEAD = Counter("inventorybot_dead_letters_total", "Events refused for good", ["topic", "code"])
BATCH = Histogram("inventorybot_batch_events", "Events a batch", ["agent"], buckets=SIZES)
BATCH_SECONDS = Histogram("inventorybot_batch_seconds", "Time to handle a batch", ["agent"], buckets=LATENCY_S)
VISIBLE = Histogram(
    "inventorybot_event_visible_seconds",
    "From an update's arrival in Kafka to its level being readable",
    buckets=LATENCY_S,
)
ALERTED = Histogram(
    "inventorybot_image_alert_seconds", "From an image's arrival in Kafka to the anomaly it raised", buckets=LATENCY_S
)
LAG = Gauge("inventorybot_consumer_lag_events", "Events in the log not yet handled", ["agent", "partition"])
RETRIES = Counter("inventorybot_retries_total", "Attempts that failed and were made again", ["part"])
PAUSED = Gauge("inventorybot_paused", "1 while an agent waits for a part that does not answer", ["agent"])
FIRST_SEEN = Counter("inventorybot_first_seen_total", "Sites, bins and SKUs seen for the first time", ["kind"])
BELOW_ZERO = Counter("inventorybot_below_zero_total", "Levels that an update took below zero")
IMAGES = Counter("inventorybot_images_total", "Images counted", ["device"])
SCORE_SECONDS = Histogram(
    "inventorybot_score_seconds", "Time to decode and score one batch", ["device"], buckets=LATENCY_S
)
MODEL = Info("inventorybot_model", "The release of the count model in service")
MODEL_SWAPS = Counter("inventorybot_model_swaps_total", "Newer releases found, by what came of them", ["outcome"])
GPU_MEMORY = Gauge("inventorybot_gpu_memory_bytes", "GPU memory allocated by this process")
STOCK_LOOKS = Counter("inventorybot_stock_looks_total", "SKUs at sites held against their forecast", ["cause"])
ANOMALIES = Counter("inventorybot_anomaly_steps_total", "Steps in the lives of anomalies", ["kind", "action"])
PLANS = Counter("inventorybot_plans_total", "Network plans, by how they ended", ["state"])
PLAN_SECONDS = Histogram("inventorybot_plan_seconds", "Time to solve a network plan", buckets=LATENCY_S)
PLAN_GAP = Gauge("inventorybot_plan_gap", "Relative gap of the newest network plan between its value and its bound")
PLAN_AGE = Gauge("inventorybot_plan_age_seconds", "Since the newest network plan was made; NaN: there is none")
RESTOCK = Counter("inventorybot_restock_steps_total", "What people did about restock recommendations", ["action"])
REQUESTS = Histogram(
    "inventorybot_http_seconds", "Time to answer a request", ["method", "route", "status"], buckets=LATENCY_S
)
SUBSCRIBERS = Gauge("inventorybot_live_subscribers", "Live streams open now")
BUILD = Info("inventorybot_build", "The release that runs")
JOB_RUNS = Counter("inventorybot_job_runs_total", "Scheduled runs of jobs, by how they ended", ["job", "result"])
JOB_SECONDS = Gauge("inventorybot_job_seconds", "How long the newest run of a job took", ["job"])
JOB_SUCCESS = Gauge("inventorybot_job_success_time_seconds", "When a job last went well, Unix time; 0: never", ["job"])
JOB_NEXT = Gauge("inventorybot_job_next_time_seconds", "When a job is due next, Unix time", ["job"])

FIGURES = CollectorRegistry()
"""What a job measures and hands over when it ends; each has labels, so that a job that measures it not says nothing of it."""
DRIFT = Gauge(
    "inventorybot_demand_drift",
    "What has changed since the demand model in service was trained, 1 being the limit",
    ["figure", "segment"],
    registry=FIGURES,
)
DRIFT_VALUE = Gauge(
    "inventorybot_demand_drift_value", "The same figures in their own units", ["figure", "segment"], registry=FIGURES
)
DRIFTED = Gauge(
    "inventorybot_demand_drifted",
    "1 where the newest look found that the model must be retrained",
    ["kind"],
    registry=FIGURES,
)
HELD_OUT = Gauge(
    "inventorybot_demand_held_out",
    "Figures of the newest retrain on held-back periods, of the new release and the one in service",
    ["release", "figure"],
    registry=FIGURES,
)


def configure_logging(level: str = "info", **bound: str) -> None:
    """JSON lines on standard output, with `bound` on every one; the standard library's loggers come along."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("cassandra.protocol").setLevel(logging.ERROR)  # repeats the server's advice on every batch
    structlog.contextvars.bind_contextvars(**bound)


def log(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def serve_metrics(port: int, host: str = "127.0.0.1") -> None:
    """Serve `/metrics` from a thread; port 0: do not."""
    if port:
        start_http_server(port, host)


def hand_over(path: Path) -> None:
    """Write what this job has measured (`FIGURES`) for another process to serve; nothing was: an earlier file stays."""
    if any(family.samples for family in FIGURES.collect()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_figures(str(path), FIGURES)


def serve_handed_over(folder: Path) -> None:
    """Serve what jobs have handed over in `folder` (NAME.prom) with the metrics of this process."""
    REGISTRY.register(_HandedOver(folder))


class _HandedOver:
    """A collector that reads the files anew at every look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> list[Metric]:
        """Nothing: what there will be is not known beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Families of all files, one of a name."""
        found: dict[str, Metric] = {}
        for path in sorted(self._folder.glob("*.prom")):
            try:
                families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):  # a damaged file must not take the metrics of this process with it
                continue
            for family in families:
                whole = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += family.samples
        yield from found.values()


def follow(traceparent: str | None) -> str:
    """The traceparent of an event that follows from another: same trace, a span of its own (W3C Trace Context 1.0)."""
    trace = traceparent.split("-")[1] if traceparent else f"{_IDS.getrandbits(128):032x}"
    return f"00-{trace}-{_IDS.getrandbits(64):016x}-01"
