"""The library every InventoryBot process uses; nothing starts here.

    settings > adapters > ports > wire | telemetry > domain > errors     (each may import those to its right)

domain/     what stock is: events, ledger, counting, variance, alerts. Pure: no clock, no I/O.
wire/       the contract with other systems: topics, CloudEvents, validation, AsyncAPI.
adapters/   one file per technology; memory.py holds the fakes, which pass the same contract suite.
"""

__version__ = "0.1.0"
