"""ledger.py   inventory.updates     → ledger, levels, inventory.levels, inventory.anomalies (below zero)
count.py    inventory.bin-images  → inventory.bin-counts
variance.py inventory.bin-counts  → inventory.anomalies (bin variance)
settle.py   inventory.levels      → inventory.anomalies (a cycle count resolves the bin's variance at once)
stock_watch.py  inventory.levels, forecasts → inventory.anomalies (projected stock-outs, excess)
alert.py    inventory.anomalies   → the anomalies that people see
"""
