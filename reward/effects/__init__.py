"""Effects: from the values of a slot left blank and filled to the reward of filling it.

Today the reward is the exposure term of the ledger (`exposure`). The second stage, which estimates the effect
causally (residuals, item anchors, shrinkage, personal part), takes its place here, with the same inputs and output.
"""
