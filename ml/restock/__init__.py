"""What to order, for which site, of which SKU: from the forecast's distribution to whole packs, and whether that pays.

curves.py      mean and five quantiles of a period -> a distribution of units
horizon.py     ... of several periods -> demand until any day ahead, lead times being uncertain too
policy.py      ... and costs or a service level -> reorder point, order-up-to level, quantity: all of its arithmetic
items.py       the table of item parameters, refused row by row
simulate.py    a policy on demand that came: units served, lost, held, thrown away, ordered
backtest.py    the policy with rolling forecasts beside (s, S) with fixed parameters, on demand held back
accounts.py    ... its figures, and paired differences with intervals; report.py: as a page
cli.py         `inventorybot evaluate restock`

The job `inventorybot jobs run recommend` is in ml/jobs/recommend.py. Formulas of inventory theory come from
ml/planning/classical. What it means for people: docs/restock.md; why it is so: docs/adr/0013-restock.md.
"""
