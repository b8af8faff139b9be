"""The network planner, and the classical inventory models (test_classical_*), against published numbers, brute force and other
solvers. Run: pytest tests/unit/planning
"""
