"""The detector of suspect records: simulator, features, scoring, model, commands. Run: pytest tests/unit/anomaly"""
