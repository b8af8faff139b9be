"""What stock is. Pure: no clock, no randomness, no I/O; standard library and numpy only.

events.py     the facts upstream systems and robots tell us
ledger.py     how facts become levels, exactly
counting.py   what a camera says about a bin
variance.py   how probable it is that the record of a bin is wrong
bin_watch.py  from that belief to one open anomaly a bin
alerts.py     the life of an anomaly, from raised to closed
demand.py     how regular demand is; the levels of a forecast
forecast.py   a forecast as it is stored
outlook.py    what forecasts say of any stretch of time, and how long stock lasts by them
stock_watch.py  from stock and outlook to one open anomaly a SKU and kind: projected stock-outs, excess
network_plan.py  a network plan, its prices and flows, and what can be asked of it
restock.py    a restock recommendation: its arithmetic, and what people decide about it
"""
