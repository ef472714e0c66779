"""What tells a test's users before its end: the surrogate index, and what is read of their first days."""

from __future__ import annotations

from functools import partial

import numpy as np

from reward.experiments.early_readout import auto_surrogate
from reward.experiments.surrogate_index import SurrogateIndex
from reward.statistics.regression import boosted, linear

TREES = {"num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 30}
REGRESSIONS = {
    "linear": partial(linear, ridge=1e-4, degree=1),
    "quadratic": partial(linear, ridge=1e-4, degree=2),
    "LightGBM": partial(boosted, parameters=TREES, trees=60, num_threads=1, seed=0),
}
SEEN, LINEAR, BOOSTED = "days seen so far", "linear auto-surrogate", "LightGBM auto-surrogate"


def index_of(name, seed):
    """The surrogate index by one of the regressions."""
    return SurrogateIndex(regression=REGRESSIONS[name](), folds=3, degree=2, ridge=1e-3, seed=seed)


def readers(past, before, days):
    """What tells a test's users after each of the days, by name: their days and what was before -> (n, K)."""

    def seen_so_far(seen, known):  # noqa: ARG001
        return np.stack([seen[:, :day].sum(1) for day in days], axis=1).astype(float)

    def auto(regression):
        each = [auto_surrogate(past, day, regression=REGRESSIONS[regression](), covariates=before) for day in days]
        return lambda seen, known: np.stack([one(seen, known) for one in each], axis=1)

    return {SEEN: seen_so_far, LINEAR: auto("linear"), BOOSTED: auto("LightGBM")}
