"""Regressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reward.arrays import Doubles

Regression = Callable[
    [Doubles, Doubles], Callable[[Doubles], Doubles]
]  # features (n, p), outcome (n,) -> features -> (m,)

LEAST_SCALE = 1e-100  # of a column that varies


def boosting_with(
    parameters: Mapping[str, Any], *, objective: str, num_threads: int, seed: int
) -> tuple[Any, dict[str, Any]]:
    """LightGBM, and its parameters such that the same arguments give the same trees.

    Raises:
        ImportError: LightGBM is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise ImportError("boosted trees need LightGBM: pip install 'reward[boosting]'") from error
    return lightgbm, {
        **parameters,
        "objective": objective,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": num_threads,
        "verbosity": -1,
    }


def linear(*, ridge: float, degree: int) -> Regression:
    """Ridge regression with a free intercept.

    Minimises ``mean (y − a − z'b)² + ridge · |b|²`` over columns z standardised by the rows it is fitted on.

    Args:
        ridge: penalty, at least 0.
        degree: 2: with all products of two features, squares among them; 1: without.

    Raises:
        ValueError: a negative penalty, or another degree; of what it returns, rows that are none or not finite.

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> linear(ridge=0, degree=1)(x, np.array([1.0, 3.0, 5.0]))(np.array([[4.0]]))
    array([9.])

    """
    if not 0 <= ridge < math.inf or degree not in (1, 2):
        raise ValueError(f"expected ridge of at least 0 and degree 1 or 2, got {ridge} and {degree}")

    def fit(features: Doubles, outcome: Doubles) -> Callable[[Doubles], Doubles]:
        if not len(features) or not (np.isfinite(features).all() and np.isfinite(outcome).all()):
            raise ValueError(
                f"a regression expected rows of finite features and outcomes, got {len(features)} rows or others: "
                "learn from more users, whose outcome is known"
            )
        raw = expanded(features, degree)
        mean, scale = moments(raw)
        z, level = (raw - mean) / scale, outcome.mean()
        weights = np.linalg.solve(gram(z, ridge), z.T @ (outcome - level) / len(z))
        return lambda others: level + (expanded(others, degree) - mean) / scale @ weights

    return fit


def boosted(*, parameters: dict[str, Any], trees: int, num_threads: int, seed: int) -> Regression:
    """Gradient-boosted trees of LightGBM on the squared error; the same arguments give the same trees.

    Args:
        parameters: LightGBM's own, by its names.
        trees: how many.
        num_threads: threads that LightGBM uses.
        seed: draws the rows and columns that ``parameters`` may ask each tree to leave out.

    Raises:
        ImportError: LightGBM is not installed.
    """
    lightgbm, setting = boosting_with(parameters, objective="regression", num_threads=num_threads, seed=seed)

    def fit(features: Doubles, outcome: Doubles) -> Callable[[Doubles], Doubles]:
        booster = lightgbm.train(setting, lightgbm.Dataset(features, outcome, params=setting), trees)
        return lambda others: np.asarray(booster.predict(others, num_threads=num_threads), np.float64)

    return fit


def moments(columns: Doubles) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each column, infinite where it does not vary: standardised it is 0."""
    mean, scale = columns.mean(0), columns.std(0)
    return mean, np.where(scale > np.maximum(1e-9 * np.abs(mean), LEAST_SCALE), scale, np.inf)


def gram(z: Doubles, ridge: float) -> Doubles:
    """Second moments of standardised columns with the penalty; the least one is for columns that are sums of others."""
    return z.T @ z / len(z) + max(ridge, 1e-10) * np.eye(z.shape[1])


def expanded(features: Doubles, degree: int) -> Doubles:
    """The columns and, for a degree of 2, their squares and products."""
    if degree == 1:
        return features
    one, other = np.triu_indices(features.shape[1])
    return np.concatenate([features, features[:, one] * features[:, other]], axis=1)
