"""Sequences: a checked log becomes each user's causal stream, split in time by truncation and read in batches."""
