"""One line on how the platform stands, from the metrics that its processes serve.

In: the ports of the processes. Out: a sentence. Used by `inventorybot up` on a terminal, every few seconds.
"""

from __future__ import annotations

import http.client
from collections import defaultdict
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from services.local.checks import HOST

SCRAPE_TIMEOUT_S = 1.0  # a process answers in 10 ms; one that does not must not hold up the watch over the others


def ask(port: int, path: str) -> str:
    """What a process answers to GET `path`; "" where it does not answer, or not with success."""
    connection = http.client.HTTPConnection(HOST, port, timeout=SCRAPE_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == http.client.OK else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def totals(texts: Iterable[str]) -> dict[str, float]:
    """The sum over all processes and labels of each sample, by its name; anomaly steps also by action."""
    sums: dict[str, float] = defaultdict(float)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] += sample.value
                if action := sample.labels.get("action"):
                    sums[f"{sample.name}/{action}"] += sample.value
    return sums


def status_line(ports: Iterable[int]) -> str:
    """Events, images, anomalies and dead letters handled since the start of the processes."""
    sums = totals(ask(port, "/metrics") for port in ports)
    steps = "inventorybot_anomaly_steps_total"
    return (
        f"since the start: {sums['inventorybot_events_total']:,.0f} events, "
        f"{sums['inventorybot_images_total']:,.0f} images, "
        f"{sums[steps + '/raised']:,.0f} anomalies raised, {sums['inventorybot_dead_letters_total']:,.0f} dead letters"
    )
