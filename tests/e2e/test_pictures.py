"""From a robot's picture to an alert on somebody's screen.

receipts ─► ledger ─► levels ┐
pictures ─► count ─► bin-counts ─► variance ─► anomalies ─► alert ─► API: list, detail, picture
                                                   └──────► live stream ─► a subscriber
"""

from __future__ import annotations

import csv
import json
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from inventorybot import tether
from services.local.checks import free_ports
from tests.e2e.rig import Platform, platform, until

BINS = 60
WRONG = 0.3
SITE = "PICTURES"


class Subscriber(threading.Thread):
    """Somebody who watches the live stream until the API ends; keeps every anomaly step it is sent."""

    def __init__(self, url: str) -> None:
        super().__init__(name="subscriber", daemon=True)
        self._url = url
        self.steps: list[dict[str, Any]] = []
        self.connected = threading.Event()

    def run(self) -> None:
        with (
            suppress(httpx.RemoteProtocolError),
            httpx.stream("GET", self._url, timeout=httpx.Timeout(10, read=120)) as answer,
        ):
            self.connected.set()
            for line in answer.iter_lines():
                if line.startswith("data:") and "anomaly" in line:
                    self.steps.append(json.loads(line.removeprefix("data:")))


def serve(p: Platform) -> str:
    """The API of a platform, ready; returns its address."""
    (port,) = free_ports(1)
    p.env["INVENTORYBOT_API_PORT"] = str(port)
    with (p.folder / "api.log").open("wb") as log:
        p.workers.append(tether.start([sys.executable, "-m", "inventorybot", "api"], env=p.env, stdout=log, stderr=log))
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    until("the API is ready", ready)
    return url


@pytest.mark.timeout(600)
def test_wrong_records_raise_alerts_that_a_subscriber_receives(tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    with platform(tmp_path) as p:
        p.env["INVENTORYBOT_MISCOUNT_RATE"] = str(WRONG)  # the prior is what is true here
        for agent in ("ledger", "count", "variance", "alert"):
            p.worker(agent)
        url = serve(p)
        subscriber = Subscriber(f"{url}/v1/anomalies/stream?site={SITE}")
        subscriber.start()
        assert subscriber.connected.wait(30)
        p.run(
            "replay",
            "--site",
            SITE,
            "--limit",
            str(BINS),
            "--miscount-rate",
            str(WRONG),
            "--looks",
            "3",
            "--seed",
            "11",
            "--truth",
            str(truth),
        )
        with truth.open() as file:
            rows = list(csv.DictReader(file))
        bins = [row["bin"] for row in rows]

        def counted() -> bool:
            answers = (httpx.get(f"{url}/v1/sites/{SITE}/bins/{b}/counts", timeout=30).json() for b in bins)
            return all(answer["items"] for answer in answers)

        until("every picture is counted", counted, 240)
        listed = httpx.get(
            f"{url}/v1/anomalies", params={"site": SITE, "kind": "bin-variance", "limit": 100}, timeout=30
        ).json()
        alerted = {a["bin"] for a in listed["items"]}
        until("the subscriber has them all", lambda: alerted <= {s["data"]["bin"] for s in subscriber.steps})
        picture = httpx.get(f"{url}/v1/anomalies/{listed['items'][0]['id']}/image", timeout=30)
        assert p.verify()["ok"]
    wrong = {
        row["bin"]: abs(int(row["recorded"]) - int(row["in_picture"]))
        for row in rows
        if row["recorded"] != row["in_picture"]
    }
    print(f"{len(wrong)} wrong of {len(bins)}, {len(alerted)} alerts, {len(alerted & wrong.keys())} of them right")
    assert len(rows) == BINS
    assert picture.content.startswith(b"\xff\xd8")
    assert len(alerted & wrong.keys()) > len(alerted - wrong.keys()), "most alerts must be about wrong records"
    far = {b for b, by in wrong.items() if by >= 3}
    assert len(alerted & far) >= len(far) / 2, "half of the records that are wrong by 3 and more must be found"
