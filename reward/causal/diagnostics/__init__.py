"""Checks: balance, how far held-out users bear effects out, and how far a policy may shift."""
