"""Excursion effects of many items at once: showing an item against what the policy shows, each with its own error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.data.event_log import SchemaError
from reward.statistics.intervals import student

_LEAST_FREEDOM = 3  # degrees of freedom of an interval


class Arms(NamedTuple):
    """Effects of the items before anything is shrunk, (cells,) each: a cell is an item, or an item in a fold.

    Attributes:
        value: days more than what the policy shows; 0 where the item was not shown.
        variance: days², by the users' own spread, clustered and corrected for their leverage, and drawn to that of all
            items where users are few; infinite where the item was not shown.
        users: how many were shown it.
    """

    value: Doubles
    variance: Doubles
    users: Ints

    def intervals(self, level: float) -> tuple[Doubles, Doubles]:
        """Ends of intervals by Student's t with one degree of freedom less than users; NaN where these are too few."""
        freedom, place = np.unique(self.users - 1, return_inverse=True)
        quantile = [student(level, int(it)) if it >= _LEAST_FREEDOM else np.nan for it in freedom]
        half = np.array(quantile)[place] * np.sqrt(self.variance)
        return self.value - half, self.value + half


def arm_effects(value: Doubles, weight: Doubles, cell: Ints, user: Ints, cells: int, *, prior_users: float) -> Arms:
    """Weighted means of each cell, with sandwich variances.

    This is `clustered` of the indicators of the cells, which have no row in common: with h the share of a cell's weight
    that a user's rows have, the user's score U becomes U / (1 − h), and the variance is Σ U² / (Σ w)². A cell's own
    variance is worth little at few users. It is averaged with the one that a common noise would give it, as if that
    were told by ``prior_users``.

    Args:
        value: (n,) outcome after each decision point, less what was expected of it and what the policy gains that day.
        weight: (n,) inverse propensities, 0 where the outcome is not known.
        cell: (n,) from 0.
        user: (n,) from 0.
        cells: how many there are.
        prior_users: see above.

    Raises:
        SchemaError: no cell was shown to two users, or the outcome never differs between them.

    Source:
        Qian (arXiv 2502.13500); Mancl and DeRouen (Biometrics 2001); Smyth, "Linear models and empirical Bayes methods"
        (2004) for variances drawn to a common one.
    """
    total = np.bincount(cell, weight, cells)
    shown = total > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(shown, np.bincount(cell, weight * value, cells) / total, 0)
    pair, place = np.unique(user * cells + cell, return_inverse=True)
    of = pair % cells
    heavy = np.bincount(place, weight, len(pair))
    score = np.bincount(place, weight * (value - mean[cell]), len(pair))
    there = heavy > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(there, 1 - heavy / total[of], 1)
    alone = there & (left < 1e-9)  # the only user of a cell
    score = np.where(alone | ~there, 0, score / np.where(left > 0, left, 1))
    several = there & ~alone
    if not several.any() or not (score**2).sum() > 0:
        raise SchemaError(
            "effects expected items that several users were shown and days after them that differ, to tell effects "
            "from noise, and found none: give a longer log, or one of more users"
        )
    noise = float((score**2).sum() / (heavy[several] ** 2).sum())
    users = np.bincount(of, there, cells).astype(np.int64)
    trusted = np.where(np.bincount(of, alone, cells) > 0, 0, users)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.bincount(of, score**2, cells) / total**2
        common = noise * np.bincount(of, heavy**2, cells) / total**2
        variance = (trusted * own + prior_users * common) / (trusted + prior_users)
    return Arms(mean, np.where(shown, variance, np.inf), users)
