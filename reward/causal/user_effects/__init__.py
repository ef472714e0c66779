"""Effects on one user rather than another."""
