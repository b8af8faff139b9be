"""What jobs do with the lake's days: train, score, forecast. Run: pytest tests/unit/demand/test_lifecycle.py"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.demand import lifecycle
from ml.demand.forecaster import Config
from ml.demand.mlp import MlpConfig
from ml.demand.trees import TreesConfig
from tests.unit.demand.makers import daily

CREATED = datetime(2025, 11, 24, tzinfo=UTC)
SMALL = Config(trees=TreesConfig(rounds=20, rows=3_000), mlp=MlpConfig(width=16, steps=40, rows=2_000), folds=2)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Twenty series of 26 weeks of days from Monday 2025-01-06 on: levels from 1 to 10 a day, at two sites."""
    return daily(np.random.default_rng(2).poisson(np.arange(1, 11)[None, :, None], (2, 10, 182)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("release")
    return folder, lifecycle.train_release(rows, 3, folder, config=SMALL, compared=False, created=CREATED)


def test_a_release_forecasts_the_weeks_after_the_last_whole_one(
    trained: tuple[Path, dict[str, object]], rows: pd.DataFrame
) -> None:
    found = lifecycle.forecast_locally(trained[0], pd.concat([rows, daily(np.ones((2, 10, 2)), "2025-07-07")]), 2)
    assert tuple(found.columns) == ("site", "sku", "period", "mean", "q05", "q25", "q50", "q75", "q95")
    assert found["period"].dt.strftime("%Y-%m-%d").unique().tolist() == ["2025-07-07", "2025-07-14"]
    by_sku = found.groupby("sku")["mean"].mean()
    # k9 sells 10 a day: 70 a week
    assert by_sku["k9"] == pytest.approx(70, rel=0.15)


def test_a_release_that_saw_the_held_back_weeks_is_judged_by_its_recipe_learnt_anew(
    trained: tuple[Path, dict[str, object]], rows: pd.DataFrame
) -> None:
    seen = lifecycle.score_release(trained[0], rows, 3)
    assert (seen["refitted"], seen["periods"]) == (1.0, 3)
    later = daily(np.random.default_rng(3).poisson(np.arange(1, 11)[None, :, None], (2, 10, 21)), "2025-07-07")
    as_it_is = lifecycle.score_release(trained[0], pd.concat([rows, later]), 3)
    assert (as_it_is["refitted"], as_it_is["periods"]) == (0.0, 3)
    # a Poisson week of mean m has a mean absolute error of about 0.8 sqrt(m): over 7 … 70, 0.8 * 59 / 385 = 0.12
    for found in (seen, as_it_is):
        assert found["WAPE"] == pytest.approx(0.12, abs=0.05)


def test_the_card_says_what_was_held_out_and_from_when_on_nothing_was_seen(
    trained: tuple[Path, dict[str, object]],
) -> None:
    card = trained[1]
    facts = card["facts"]
    assert card["held_out"] == {"metric": "WAPE", "value": facts["table"]["chosen"]["WAPE"], "better": "lower"}  # type: ignore[index]
    assert facts["trained_until"] == "2025-07-07"  # type: ignore[index]
    assert {"MLP", "LightGBM"} <= set(facts["table"])  # type: ignore[index]
