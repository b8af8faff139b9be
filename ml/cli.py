"""The commands `inventorybot train MODEL` and `inventorybot evaluate MODEL`.

In: the name of a model. Out: that model's training or evaluation. Each lives with its model and is imported only when
it is called.
"""

from __future__ import annotations

import typer

from inventorybot.lazy_commands import Table, group

TRAIN: Table = {
    "count": ("ml.vision.train_cli:train_count", "Train the count model: one run, an ensemble, ablations or a search."),
    "change": ("ml.vision.train_cli:train_change", "Train the model of what changed between two looks at a bin."),
    "agreement": ("ml.vision.train_cli:train_agreement", "Train the model that asks if picture and record agree."),
    "demand": ("ml.demand.cli:train_demand", "Choose and train the demand forecaster."),
    "anomaly": ("ml.anomaly.cli:train_anomaly", "Train the detector of suspect records."),
}

EVALUATE: Table = {
    "count": ("ml.vision.cli:evaluate_count", "Measure the count model beside guesses that need no picture."),
    "demand": ("ml.demand.cli:evaluate_demand", "Measure the demand forecasts on weeks held back."),
    "anomaly": ("ml.anomaly.cli:evaluate_anomaly", "Measure the detector of suspect records beside simpler ones."),
    "restock": ("ml.restock.cli:evaluate_restock", "Try the restock policy on demand held back, beside fixed (s, S)."),
}

train = typer.Typer(cls=group(TRAIN), add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")
evaluate = typer.Typer(cls=group(EVALUATE), add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")


@train.callback()
def _train() -> None:
    """Train a model."""


@evaluate.callback()
def _evaluate() -> None:
    """Measure a model on data that it has never seen."""
