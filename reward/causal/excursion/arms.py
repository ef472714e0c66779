"""Excursion effects of many items at once: showing an item against what the policy shows, each with its own error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.data.event_log import SchemaError
from reward.statistics.cells import CellMeans, CellRows, CellTotals, cell_sums
from reward.statistics.intervals import student
from reward.statistics.sums import Totals, fold

_LEAST_FREEDOM = 3  # degrees of freedom of an interval
_ALONE = 1e-9  # of a cell's weight, what others must have of it


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


class ArmRows(NamedTuple):
    """n decision points of some users.

    Attributes:
        value: (n,) outcome after each, less what was expected of it and what the policy gains that day.
        weight: (n,) inverse propensities, 0 where the outcome is not known.
        cell: (n,) from 0.
        user: (n,) from 0.
    """

    value: Doubles
    weight: Doubles
    cell: Ints
    user: Ints


def arm_effects(chunks: Sequence[ArmRows], cells: int, *, prior_users: float) -> Arms:
    """Weighted means of each cell, with sandwich variances.

    This is `clustered` of the indicators of the cells, which have no row in common: with h the share of a cell's weight
    that a user's rows have, the user's score U becomes U / (1 − h), and the variance is Σ U² / (Σ w)². A cell's own
    variance is worth little at few users. It is averaged with the one that a common noise would give it, as if that
    were told by ``prior_users``.

    Args:
        chunks: decision points of all users, each user in one chunk.
        cells: how many there are.
        prior_users: see above.

    Raises:
        SchemaError: no cell was shown to two users, or the outcome never differs between them.

    Source:
        Qian (arXiv 2502.13500); Mancl and DeRouen (Biometrics 2001); Smyth, "Linear models and empirical Bayes methods"
        (2004) for variances drawn to a common one.
    """
    means: CellMeans[ArmRows] = CellMeans(cells, lambda it: CellRows(it.cell, it.weight, it.value))
    plain = fold(means, chunks)
    return fold(_Clustered(plain, prior_users), chunks)


@dataclass(frozen=True)
class _Scores(Totals):
    """Sums by cell over its users: of w the user's weight and u the score without leverage."""

    users: Ints  # that were shown it
    alone: Ints  # those of them who were the only one
    scores: Doubles  # Σ u²
    weights: Doubles  # Σ w²
    shared: Doubles  # Σ w² of those who were not alone


@dataclass(frozen=True)
class _Clustered:
    """Means of cells with their variances, clustered by user."""

    plain: CellTotals
    prior_users: float

    def partial(self, users: ArmRows) -> _Scores:
        cells, mean = len(self.plain.weight), self.plain.mean
        pair, place = np.unique(users.user * cells + users.cell, return_inverse=True)
        of = pair % cells
        heavy = np.bincount(place, users.weight, len(pair))
        score = np.bincount(place, users.weight * (users.value - mean[users.cell]), len(pair))
        there = heavy > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.where(there, 1 - heavy / self.plain.weight[of], 1)
        alone = there & (left < _ALONE)
        score = np.where(alone | ~there, 0, score / np.where(left > 0, left, 1))
        return _Scores(
            np.bincount(of, there, cells).astype(np.int64),
            np.bincount(of, alone, cells).astype(np.int64),
            *(cell_sums(of, each, cells) for each in (score**2, heavy**2, np.where(alone, 0, heavy**2))),
        )

    def solve(self, state: _Scores) -> Arms:
        if not state.shared.sum() > 0 or not state.scores.sum() > 0:
            raise SchemaError(
                "effects expected items that several users were shown and days after them that differ, to tell effects "
                "from noise, and found none: give a longer log, or one of more users"
            )
        noise, total = float(state.scores.sum() / state.shared.sum()), self.plain.weight
        trusted = np.where(state.alone > 0, 0, state.users)
        with np.errstate(divide="ignore", invalid="ignore"):
            own, common = state.scores / total**2, noise * state.weights / total**2
            variance = (trusted * own + self.prior_users * common) / (trusted + self.prior_users)
        return Arms(self.plain.mean, np.where(total > 0, variance, np.inf), state.users)
