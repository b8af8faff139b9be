"""Ports put into practice, one technology a file; each turns its technology's errors into BadEvent or TryLater.

kafka.py        publishing, topics, and reading a stretch of a log
cassandra/      the tables, and the stores that live in them
memory/         the same stores without a database, for unit tests; they pass the same contract suite
count_model.py  the count model, loaded        registry.py  its releases        blobs.py  referenced images
"""
