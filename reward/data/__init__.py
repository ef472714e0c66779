"""Logs: from a source to an `EventLog`, one file a source."""
