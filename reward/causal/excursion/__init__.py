"""Distal causal excursion effects: of one treatment on an outcome much later, all else as the policy does it."""
