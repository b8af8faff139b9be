"""ledger.py   inventory.updates     → ledger, levels, inventory.levels, inventory.anomalies (below zero)
count.py    inventory.bin-images  → inventory.bin-counts
variance.py inventory.bin-counts  → inventory.anomalies (bin variance)
alert.py    inventory.anomalies   → the anomalies that people see
"""
