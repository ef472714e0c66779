"""Effects: from the values of a slot left blank and filled to the reward of filling it.

The scoring function's reward is still the exposure term of the ledger (`exposure`). The second stage (`second_stage`)
estimates causally, from a log with propensities, what showing each item did: residuals, item anchors, pooling.
"""
