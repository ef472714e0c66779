"""How good predictions and rewards are: metrics with intervals, baselines, off-policy estimators."""
