"""Work that is done now and then, not all the time: by hand, by cron, by Kubernetes.

cli.py               `inventorybot jobs list`, `jobs run NAME`; what ran is noted
schedule.py          `inventorybot jobs schedule`: each at its time, as a child process
when.py, journal.py  a schedule as text; what ran and how it ended
build_history.py     Cassandra, and where asked Kafka -> the lake
import_sales.py, import_covariates.py   what a business already has -> the lake
retrain_demand.py    the lake's history -> a release of the demand model, in service if it is better
forecast.py          the release in service -> the stored forecasts
history.py           the lake as the jobs on demand read it, and the release in service
check_drift.py       whether demand has moved away from what the release learnt
find_suspects.py     the lake's newest day -> anomalies: records that are probably wrong, forecasts that cannot be true
retrain_suspect.py   what cycle counts found -> a release of the detector, in service if it is better
load_forecasts.py    a file of `inventorybot forecast` -> the stored forecasts
recommend.py         what to order, from stored forecasts and levels -> recommendations
plan.py              a network plan of the moment; a made-up network to try it on

A job is a function whose parameters are its options, named in JOBS: `module:function`, and one line of what it does.
"""

from __future__ import annotations

from typer import Exit

from inventorybot.errors import SetupError
from inventorybot.lazy_commands import Table


class NotYet(SetupError):
    """There is not enough to work on yet, such as history: nothing is wrong, and trying again at once would not help."""


class SomeRefused(Exit):
    """The job did its work on all but some of what it was given, and has said which. The command ends with 1.

    Args: said: what the journal keeps of the run, which counts as a good one: trying again would refuse the same.
    """

    def __init__(self, said: str) -> None:
        super().__init__(1)
        self.said = said


JOBS: Table = {
    "build-history": (
        "ml.jobs.build_history:build_history",
        "Bring the lake up to date: movements, daily sales, levels, counts, anomalies and how they ended.",
    ),
    "import-sales": ("ml.jobs.import_sales:import_sales", "Put sales from a file, S3 or a database into the lake."),
    "import-covariates": (
        "ml.jobs.import_covariates:import_covariates",
        "Put prices, promotions, holidays or weather into the lake.",
    ),
    "load-forecasts": ("ml.jobs.load_forecasts:load_forecasts", "Store the forecasts of a file, for plans and people."),
    "retrain-demand": (
        "ml.jobs.retrain_demand:retrain_demand",
        "Train the demand model on the lake's history; put it in service if it is better.",
    ),
    "forecast": ("ml.jobs.forecast:forecast", "Store forecasts by the demand model in service."),
    "check-drift": (
        "ml.jobs.check_drift:check_drift",
        "Say whether demand has moved away from what the model learnt; if so, ask for a retrain.",
    ),
    "find-suspects": (
        "ml.jobs.find_suspects:find_suspects",
        "Find records that are probably wrong and forecasts that cannot be true; tell inventory.anomalies.",
    ),
    "retrain-suspect": (
        "ml.jobs.retrain_suspect:retrain_suspect",
        "Train the detector of suspect records on with what counts found; put it in service if it is better.",
    ),
    "plan": ("ml.jobs.plan:plan", "Plan the network as it stands, now and here."),
    "demo-plan": ("ml.jobs.plan:demo_plan", "Put a made-up network and its forecasts in place, and have it planned."),
    "recommend": ("ml.jobs.recommend:recommend", "Recommend what to order, for people to approve."),
}
