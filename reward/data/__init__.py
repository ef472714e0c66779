"""Logs: the event log and its check, sources, splits, and days of activity."""
