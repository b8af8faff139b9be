"""The independent check that no event was lost or counted twice: `inventorybot verify`.

events.py   reads a record's bytes, with the standard library alone
fold.py     what the ledger should hold, against what it holds; pure
report.py   the answer, for people and for machines
sources.py  where the records, rows and levels come from: Kafka and Cassandra
cli.py      the command
"""
