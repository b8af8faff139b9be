"""`inventorybot forecast`, `train demand` and `evaluate demand`, as a person uses them.

Run: pytest tests/unit/demand/test_commands.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from inventorybot.errors import SetupError
from ml.demand import release
from ml.demand.cli import evaluate_demand, forecast, train_demand
from tests.unit.demand.makers import poisson, table

app = typer.Typer()
app.command("forecast")(forecast)
app.command("train")(train_demand)
app.command("evaluate")(evaluate_demand)

QUANTILES = ["q05", "q25", "q50", "q75", "q95"]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def checked(path: Path, series: int, horizon: int) -> pd.DataFrame:
    """The rows a forecast must have, whatever it was made from."""
    rows = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    assert rows.columns.tolist() == ["store", "item", "period", "mean", *QUANTILES]
    assert len(rows) == series * horizon
    assert np.isfinite(rows[["mean", *QUANTILES]].to_numpy()).all()
    assert (rows[["mean", *QUANTILES]].to_numpy() >= 0).all()
    assert (np.diff(rows[QUANTILES].to_numpy(), axis=1) >= 0).all()
    return rows


def test_thirteen_weeks_with_sixty_percent_zeros_are_forecast_near_what_they_sell(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    units = rng.poisson(3, (30, 13)) * (rng.random((30, 13)) < 0.4)
    units[:, 0] = 1  # every series has begun
    sold = pd.read_csv(table(tmp_path / "all.csv", units)).query("units > 0")
    sold.to_csv(tmp_path / "sales.csv", index=False)
    said = run("forecast", "--sales", tmp_path / "sales.csv", "--horizon", 4, "--out", tmp_path / "f.csv")
    assert "filled as zero sales" in said
    rows = checked(tmp_path / "f.csv", 30, 4)
    assert rows["period"].unique().tolist() == ["2025-04-07", "2025-04-14", "2025-04-21", "2025-04-28"]
    assert 0.7 < rows["mean"].mean() < 1.9  # 0.4 * 3 = 1.2, found from 390 cells
    assert rows["q95"].mean() > 3


def test_constant_zero_new_and_single_series_are_forecast_sensibly(tmp_path: Path) -> None:
    units = np.array([[7.0] * 20, [0.0] * 20, [np.nan] * 16 + [3, 5, 4, 4]])
    run("forecast", "--sales", table(tmp_path / "s.csv", units), "--horizon", 3, "--out", tmp_path / "f.parquet")
    rows = checked(tmp_path / "f.parquet", 3, 3).set_index("item")
    assert rows.loc["i0", "q50"].tolist() == pytest.approx([7.0] * 3, rel=0.05)
    assert rows.loc["i1", "mean"].tolist() == [0.0] * 3
    assert rows.loc["i2", "q50"].tolist() == pytest.approx([4.0] * 3, rel=0.25)
    run(
        "forecast", "--sales", table(tmp_path / "one.csv", units[:1]), "--horizon", 2, "--out", tmp_path / "one.parquet"
    )
    checked(tmp_path / "one.parquet", 1, 2)


def test_a_model_is_trained_compared_reported_kept_without_pickle_and_used_again(tmp_path: Path) -> None:
    sales, model = table(tmp_path / "s.csv", poisson(12, 45)), tmp_path / "model"
    said = run("train", "--sales", sales, "--horizon", 4, "--out", model, "--report", tmp_path / "report")
    for name in ("MLP", "LightGBM", "LightGBM (mlforecast)", "RandomForest", "Linear", "Lasso", "Ridge", "ElasticNet", "KNN", "Theta", "AutoETS",
                 "Croston", "TSB", "ADIDA", "seasonal naive", "moving average", "chosen"):  # fmt: skip
        assert name in said
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "http" not in page.split("</style>")[1].replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "").replace("https://matplotlib.org", "")
    assert {p.suffix for p in model.iterdir()} <= {".json", ".txt", ".safetensors"}
    for n in ("a", "b"):
        run("forecast", "--sales", sales, "--horizon", 4, "--model", model, "--out", tmp_path / f"{n}.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    checked(tmp_path / "a.csv", 12, 4)
    card = json.loads((model / "card.json").read_text())
    (model / "model.safetensors").write_bytes(b"other")
    with pytest.raises(SetupError, match="not the file its card names"):
        release.read(model)
    assert set(card["sha256"]) >= {"model.safetensors"}


def test_a_price_change_moves_its_item_and_the_sums_still_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    price = np.where(rng.random((6, 40)) < 0.25, 1.5, 2.0)
    units = np.round(60 * (price / 2) ** -2 * rng.uniform(0.9, 1.1, (6, 40)))
    category = np.repeat(["dry", "fresh"], 120)
    sales = table(tmp_path / "s.csv", units, price=price.ravel(), category=category)
    common = ("forecast", "--sales", sales, "--horizon", 2, "--levels", tmp_path / "levels.csv", "--out")
    run(*common, tmp_path / "as_is.csv")
    levels = pd.read_csv(tmp_path / "levels.csv")
    plain = checked(tmp_path / "as_is.csv", 6, 2)
    total = levels[levels["level"] == "total"]["mean"].sum()
    assert total == pytest.approx(plain["mean"].sum(), rel=1e-4)
    assert levels[levels["level"] == "category"]["mean"].sum() == pytest.approx(total, rel=1e-4)
    said = run(*common, tmp_path / "cut.csv", "--price-change", "item=i2,from=2025-10-13,to=2025-10-19,price=1.5")
    cut = checked(tmp_path / "cut.csv", 6, 2)
    moved = cut["mean"] / plain["mean"]
    assert "price change" in said
    assert moved[cut["item"] != "i2"].tolist() == pytest.approx([1.0] * 10)
    # 0.75^-2 = 1.78 against a full price; the usual price of the history is the full one
    assert moved[(cut["item"] == "i2")].iloc[0] == pytest.approx(1.78, rel=0.2)


def test_the_last_periods_are_held_back_and_judged(tmp_path: Path) -> None:
    said = run("evaluate", "--sales", table(tmp_path / "s.csv", poisson(10, 40)), "--horizon", 4)
    assert "model (median)" in said
    assert "coverage 90 %" in said


def test_a_wrong_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"ends neither in \.parquet nor in \.csv"):
        run("forecast", "--sales", tmp_path / "none.csv", "--horizon", 2, "--out", tmp_path / "f.xlsx")


def test_a_planned_promotion_of_a_table_beside_the_sales_is_forecast(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weeks = pd.date_range("2025-01-06", periods=46, freq="7D")
    promoted = np.zeros(46)
    promoted[rng.permutation(44)[:14]] = 1
    promoted[44:] = (1, 0)  # planned: on in the first week ahead, off in the second
    units = rng.poisson(40 * (1 + promoted[:44]), (20, 44)).astype(float)
    days = [d + pd.Timedelta(days=i) for d, on in zip(weeks, promoted, strict=True) if on for i in range(7)]
    beside = pd.DataFrame({"site": "", "sku": "", "day": days, "name": "promotion", "value": 1})
    beside.to_csv(tmp_path / "beside.csv", index=False)
    sales = table(tmp_path / "s.csv", units)
    common = ("forecast", "--sales", sales, "--horizon", 2, "--out", tmp_path / "f.csv")
    run(*common, "--covariates", tmp_path / "beside.csv")
    by_week = checked(tmp_path / "f.csv", 20, 2).groupby("period")["mean"].mean().tolist()
    assert by_week[0] > 1.5 * by_week[1]  # in truth 80 and 40


def test_a_search_leaves_its_trials_with_the_model(tmp_path: Path) -> None:
    sales = table(tmp_path / "s.csv", poisson(5, 26))
    run("train", "--sales", sales, "--horizon", 2, "--out", tmp_path / "m", "--search", "optuna", "--trials", 2)
    trials = pd.read_csv(tmp_path / "m" / "trials.csv")
    assert len(trials) == 2
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    best = trials[trials["best"]].iloc[0]
    assert card["config"]["mlp"]["width"] == best["width"]
    assert card["networks"]["mlp"]["config"]["lr"] == pytest.approx(best["lr"])


def test_what_the_network_of_another_business_is_worth_is_said(tmp_path: Path) -> None:
    run("train", "--sales", table(tmp_path / "a.csv", poisson(8, 30)), "--horizon", 2, "--out", tmp_path / "m")
    there = table(tmp_path / "b.csv", poisson(6, 20, seed=5))
    said = run("evaluate", "--sales", there, "--horizon", 2, "--base", tmp_path / "m", "--given", 10)
    assert "MLP from scratch" in said
    assert "the transferred MLP (WAPE" in said
