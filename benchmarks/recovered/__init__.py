"""Logs of simulated worlds whose item effects are known, the rewards learned from them, and how these are judged."""
