"""Work that is done now and then, not all the time: by hand, by cron, by Kubernetes.

cli.py               `inventorybot jobs list`, `inventorybot jobs run NAME`
load_forecasts.py    a file of `inventorybot forecast` -> the stored forecasts
plan.py              a network plan of the moment; a made-up network to try it on

A job is a function whose parameters are its options, named in JOBS: `module:function`, and one line of what it does.
"""

from __future__ import annotations

from inventorybot.lazy_commands import Table

JOBS: Table = {
    "load-forecasts": ("ml.jobs.load_forecasts:load_forecasts", "Store the forecasts of a file, for plans and people."),
    "plan": ("ml.jobs.plan:plan", "Plan the network as it stands, now and here."),
    "demo-plan": ("ml.jobs.plan:demo_plan", "Put a made-up network and its forecasts in place, and have it planned."),
}
