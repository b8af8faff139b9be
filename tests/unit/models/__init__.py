"""Releases as folders, what agents hear of them, and the commands, without a registry. Run: pytest tests/unit/models"""
