"""The parts of the benchmark of long-term off-policy evaluation."""
