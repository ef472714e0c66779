"""How good predictions and rewards are: metrics with intervals, baselines, what a log can carry."""
