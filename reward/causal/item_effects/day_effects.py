"""What a day's exposures did in all: residuals of the days ahead, combined by generalised least squares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.statistics.cells import cell_sums
from reward.statistics.sums import Totals, fold

_LEAST_SHARE = 0.01  # of the mean variance of a day, which every day is taken to have beyond its own
_LEAST_VARIANCE = 1e-8  # of a residual, below which it is rounding
_RIDGE = 1e-6  # of the rows, that keeps a parabola finite


@dataclass(frozen=True)
class _Scatter:
    """Σ r r' of the user-days of which most days are known."""

    known: int
    count: int
    squares: Doubles  # (known, known)

    def __add__(self, other: _Scatter, /) -> _Scatter:
        if self.known != other.known:
            return max(self, other, key=lambda it: it.known)
        return _Scatter(self.known, self.count + other.count, self.squares + other.squares)


class Covariance:
    """Covariance of the residuals of one user-day, from the user-days whose horizon is known longest.

    A day ahead on which hardly anybody ever returned is not taken for one that is known exactly.
    """

    def partial(self, users: UserDays) -> _Scatter:
        """Σ r r' of a chunk."""
        span = int(users.known.max(initial=0))
        sample = users.residual[users.known == span, :span].astype(np.float64)
        return _Scatter(span, len(sample), sample.T @ sample)

    def solve(self, state: _Scatter) -> Doubles:
        """(h, h), h ≤ H the longest that is known."""
        found = state.squares / max(state.count, 1)
        return found + (_LEAST_SHARE * np.diag(found).mean() + _LEAST_VARIANCE) * np.eye(state.known)


def covariances(days: Iterable[UserDays]) -> Doubles:
    """The `Covariance` of all chunks."""
    return fold(Covariance(), days)


class _Estimated(NamedTuple):
    """The days of a chunk's users, and a first estimate of each."""

    days: UserDays
    effect: DayEffects


@dataclass(frozen=True)
class _Spread(Totals):
    """Sums by day, and by fold and day."""

    size: Doubles  # (folds, span) user-days of which something is known
    squares: Doubles  # (span,) Σ precision · value²


class DailyNoise:
    """How much more than usual is left to chance on each day: early in a log little is known of a user."""

    def partial(self, users: _Estimated) -> _Spread:
        """Sums of a chunk."""
        days, value, precision = users.days, users.effect.value, users.effect.precision
        known = precision > 0
        size = cell_sums(days.fold_day, known, days.folds * days.span).reshape(days.folds, days.span)
        return _Spread(size, cell_sums(days.since, precision * value**2, days.span))

    def solve(self, state: _Spread) -> Doubles:
        """(span,) factors, of which one user-day's own scatter is 1 on average; all 1 where there is none."""
        free = state.size.sum(axis=0) - (state.size > 0).sum(axis=0)  # each fold's mean of the day took one
        usual = state.squares.sum() / max(free.sum(), 1)
        return (state.squares + usual) / (free + 1) if usual > 0 else np.ones(len(free))


@dataclass(frozen=True)
class _NoiseByForecast:
    """Variance of a user-day, of what it is on average, as a parabola of what was forecast."""

    coefficients: Doubles
    mean: float

    def of(self, days: UserDays) -> Doubles:
        """(n,)."""
        return np.maximum(_parabola(days) @ self.coefficients, _LEAST_SHARE * self.mean) / self.mean


@dataclass(frozen=True)
class _Bent(Totals):
    gram: Doubles  # (3, 3) Σ x'x of x = 1, forecast, forecast²
    moment: Doubles  # (3,) Σ x · precision · value²


class UsersNoise:
    """How much of what comes after a user-day is chance, by what was forecast: of hardly active users little is."""

    def partial(self, users: _Estimated) -> _Bent:
        """Sums of a chunk."""
        known = users.effect.precision > 0
        columns = _parabola(users.days)[known]
        return _Bent(columns.T @ columns, columns.T @ (users.effect.precision * users.effect.value**2)[known])

    def solve(self, state: _Bent) -> _NoiseByForecast:
        """The parabola; flat where there is none."""
        rows = state.gram[0, 0]
        mean = state.moment[0] / rows if rows else 0.0
        if not mean > 0:
            return _NoiseByForecast(np.array([1.0, 0.0, 0.0]), 1.0)
        steady = _RIDGE * rows * np.diag([0.0, 1.0, 1.0])
        flat = np.array([mean, 0.0, 0.0])
        return _NoiseByForecast(flat + np.linalg.solve(state.gram + steady, state.moment - state.gram @ flat), mean)


def _parabola(days: UserDays) -> Doubles:
    return np.stack([np.ones(len(days.expected)), days.expected, days.expected**2], axis=1)


def day_effects(days: Sequence[UserDays], covariance: Doubles, curve: Doubles) -> list[DayEffects]:
    """What a day's exposures did in all, by generalised least squares.

    The days ahead are taken as r_d = c_d A + noise of the given covariance, with c the share of an effect that shows on
    day d and A the effect in days; Â = c'Σ⁻¹r / c'Σ⁻¹c over the days that are known, so censored rows take part.

    Args:
        days: residuals, chunk by chunk.
        covariance: (h, h), h ≤ H.
        curve: (H,) sums to 1.
    """
    readings = [
        (known, np.linalg.solve(covariance[:known, :known], curve[:known])) for known in range(1, len(covariance) + 1)
    ]
    found = []
    for each in days:
        value, precision = np.zeros(len(each.known)), np.zeros(len(each.known))
        for known, weights in readings:
            rows, told = np.flatnonzero(each.known == known), float(weights @ curve[:known])
            if len(rows) and told > 0:  # else no part of an effect shows on the days known
                precision[rows], value[rows] = told, each.residual[rows, :known] @ weights / told
        found.append(_Estimated(each, DayEffects(value, precision)))
    noise = fold(DailyNoise(), found)
    found = [_Estimated(each, DayEffects(it.value, it.precision / noise[each.since])) for each, it in found]
    usual = fold(UsersNoise(), found)
    return [replace(it, noise=usual.of(each)) for each, it in found]
