"""What happened, as a partitioned Parquet lake that models and people can read without touching the database.

lake.py       where the datasets lie, their columns, and reading them (pyarrow; no Spark)
session.py    a Spark session: here, or on a cluster
fold.py       a day's rows of a slot from its movements: the law of the ledger in numpy, for many slots at once
"""
