"""Restock: lead-time demand, policies, decisions, the job and the back-test."""
