"""Demand: from a table of sales to forecasts. Run: pytest tests/unit/demand"""
