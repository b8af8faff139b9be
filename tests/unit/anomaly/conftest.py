"""A detector trained in seconds, for all tests of this folder. In: nothing. Out: the fixture `detector` and its warehouses."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # for LightGBM, loaded below: on tables as small as these, threads only wait for each other

from ml.anomaly.evaluate import best_threshold, scored
from ml.anomaly.model import Detector
from ml.anomaly.train import TrainConfig, train

SMALL = TrainConfig(seed=50, replays=4, checks=2, series=300, days=180, rounds=30, kept=0.02, kept_wrong=0.2, least=30)


@pytest.fixture(scope="session")
def detector() -> Detector:
    """Small, but trained like the one that ships; its seeds are 50 to 55."""
    found, checks = train(SMALL)
    return replace(found, threshold=best_threshold(scored({"d": found}, checks)["d"], checks))
