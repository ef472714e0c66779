"""A small streaming service whose true long-term effects are known."""
