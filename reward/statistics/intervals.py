"""Quantiles that intervals are made of."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch


def normal(level: float) -> float:
    """Quantile z with ``P(|Z| ≤ z) = level``.

    Raises:
        ValueError: the level lies outside (0, 1).

    >>> round(normal(0.95), 4)
    1.96
    """
    check_level(level)
    return -NormalDist().inv_cdf((1 - level) / 2)  # of the small tail: 1 + level would round to 2


def check_level(level: float) -> None:
    """See that an interval's level lies between 0 and 1.

    Raises:
        ValueError: it does not, or is NaN.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}: 0.95 asks for a 95% interval")


def check_alpha(alpha: float) -> None:
    """See that a test's level lies between 0 and 1.

    Raises:
        ValueError: it does not, or is NaN.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}: 0.05 tests at 5%")


def student(level: float, freedom: float) -> float:
    """Quantile t with ``P(|T| ≤ t) = level`` of Student's T, by Cornish and Fisher's expansion in 1 / freedom.

    Right to 1e-3 from 10 degrees of freedom on at 95%.

    Raises:
        ValueError: the level lies outside (0, 1), or fewer than 3 degrees of freedom.

    Source: Abramowitz and Stegun 1964, 26.7.5.

    >>> round(student(0.95, 10), 3), round(student(0.95, 199), 3)  # tables: 2.228, 1.972
    (2.228, 1.972)
    """
    if not freedom >= 3:
        raise ValueError(f"Student's quantile expected at least 3 degrees of freedom, got {freedom}: add experiments")
    z, freedom = normal(level), min(freedom, 1e30)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def chance_beyond(chi_square: float, freedom: int) -> float:
    """``P(X ≥ chi_square)`` for a chi-square X.

    Raises:
        ValueError: a statistic that is NaN, or no degree of freedom.

    >>> round(chance_beyond(3.841, 1), 3), chance_beyond(0.0, 2)
    (0.05, 1.0)
    """
    if np.isnan(chi_square) or not freedom >= 1:
        raise ValueError(
            f"expected a chi-square statistic and at least 1 degree of freedom, got {chi_square} and {freedom}"
        )
    half = torch.tensor([freedom / 2, max(chi_square, 0.0) / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(*half)) if np.isfinite(chi_square) else 0.0
