"""Suspect records: which records in the ledger are wrong, by how much, and why we think so.

story.py      the ledger's own story, a day a row: what any business knows
demand.py     what customers would buy: made, or real sales        faults.py     how records go wrong, and the hidden truth
simulate.py   demand + faults -> a story and its truth
windows.py    the column operations of                              features.py   what makes a record suspect; days ≤ t alone
model.py      the detector: trees, calibration, units, reasons      train.py      from simulations, then from real cycle counts
baselines.py  what it is measured beside                            alarms.py     from scores to alarms and what they were worth
evaluate.py   figures with intervals                                report.py     the HTML page
explain.py    a suspect record in words                             absurd.py     predictions that cannot be true
daily.py      the lake's daily table -> a story                     spark.py      stories, features and scores over Spark
cases.py      findings -> steps of anomalies, once each             forecasts.py  stored forecasts against what was ever sold
releases/     what ships                                            cli.py        inventorybot train|evaluate anomaly
"""
