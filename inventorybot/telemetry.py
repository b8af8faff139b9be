"""Every metric and the log format of every process. A metric is declared here, once, or it does not exist.

Out: `/metrics` in Prometheus' text format (prometheus-client), JSON lines on standard output (structlog).
Trace context (W3C) travels in the events' `traceparent`: `follow` gives a derived event its place in the trace.
"""

from __future__ import annotations

import logging
import secrets
import sys
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram, Info, start_http_server

CHATTY = ("faust", "mode", "aiokafka", "cassandra", "kafka", "s3fs", "botocore", "uvicorn.access")
"""Libraries whose information is of use only to their authors; their warnings are kept."""
LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
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
ANOMALIES = Counter("inventorybot_anomaly_steps_total", "Steps in the lives of anomalies", ["kind", "action"])
PLANS = Counter("inventorybot_plans_total", "Network plans, by how they ended", ["state"])
PLAN_SECONDS = Histogram("inventorybot_plan_seconds", "Time to solve a network plan", buckets=LATENCY_S)
PLAN_GAP = Gauge("inventorybot_plan_gap", "Relative gap of the newest network plan between its value and its bound")
PLAN_AGE = Gauge("inventorybot_plan_age_seconds", "Since the newest network plan was made; NaN: there is none")
REQUESTS = Histogram(
    "inventorybot_http_seconds", "Time to answer a request", ["method", "route", "status"], buckets=LATENCY_S
)
SUBSCRIBERS = Gauge("inventorybot_live_subscribers", "Live streams open now")
BUILD = Info("inventorybot_build", "The release that runs")


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


def follow(traceparent: str | None) -> str:
    """The traceparent of an event that follows from another: same trace, a span of its own (W3C Trace Context 1.0)."""
    trace = traceparent.split("-")[1] if traceparent else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"
