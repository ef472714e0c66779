"""Causal effects: what showing an item did, estimated from a log with propensities.

`estimate` is the pipeline: `propensity` where the log has none, `item_effects`, `user_effects`, `diagnostics`.
"""
