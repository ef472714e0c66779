"""Arms of past experiments whose true effects are known."""

import numpy as np

from reward.experiments.table import Experiments

BETA = np.array([0.6, 0.3])
NOISE = np.array([[1, 0.4, -0.3], [0.4, 1, 0.5], [-0.3, 0.5, 1]])


def simulated(seed, experiments=200, arms=1, strength=3.0, direct=0.0, uneven=0.0):
    """Arms whose true effects on two signals carry ``BETA`` over to the north star."""
    rng = np.random.default_rng(seed)
    count = experiments * arms
    size = rng.uniform(500, 5000, count)
    covariance = NOISE * (np.exp(uneven * rng.normal(size=count)) / size)[:, None, None]
    signals = rng.normal(size=(count, 2)) @ np.linalg.cholesky([[1, 0.3], [0.3, 1]]).T * np.sqrt(strength / 2000)
    north = signals @ BETA + rng.normal(size=count) * np.sqrt(direct * strength / 2000)
    true = np.column_stack([signals, north])
    effects = true + np.einsum("kab,kb->ka", np.linalg.cholesky(covariance), rng.normal(size=(count, 3)))
    return Experiments(("a", "b", "north"), np.repeat(np.arange(experiments), arms), effects, covariance, size)
