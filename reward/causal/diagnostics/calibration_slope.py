"""How the days after exposures agree with effects that were predicted without the users concerned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles
from reward.causal.item_effects.observed import Observed, by_user, fold_days_of, usual_by_day
from reward.statistics.sums import Totals, fold

NOTHING_DAYS = 1e-9  # below which what is predicted of exposures, root mean square, is rounding


@dataclass(frozen=True)
class CalibrationSlope:
    """How the days after exposures agree with effects that were predicted without the users concerned.

    Attributes:
        slope: of the day effects on the predicted ones; 1 where the predictions are right, 0 where they say nothing.
        se: its standard error, clustered by user; infinite where nothing is predicted.
    """

    slope: float
    se: float


def calibration_slope(chunks: Sequence[Observed], predicted: Doubles) -> CalibrationSlope:
    """Weighted slope of what was seen on what was predicted.

    Of two folds each is predicted from the other, so that where nothing matters each pair of users counts twice and
    the slope varies by a factor of √2 more than it would for given predictions: the standard error allows for that.

    Args:
        chunks: exposures of all users, each user in one chunk; their effects are over a curve that was not fitted to
            these predictions.
        predicted: (folds, items) effects, each fold's made without its users.
    """

    def beyond(it: Observed) -> tuple[Doubles, Doubles]:
        return it.mass, np.stack([it.predicted(predicted), it.value], axis=1)

    usual = usual_by_day(chunks, beyond, fold_days_of(chunks[0].days))
    sums = fold(_Slope(predicted, usual), chunks)
    if not sums.squares > NOTHING_DAYS**2 * sums.mass:
        return CalibrationSlope(0.0, np.inf)
    slope = sums.products / sums.squares
    pulls = fold(_Pulls(predicted, usual, slope), chunks)
    return CalibrationSlope(slope, float(np.sqrt(2 * pulls)) / sums.squares)


@dataclass(frozen=True)
class _Products(Totals):
    """Sums over exposures: of w the mass, g the prediction and v the value, each less what is usual that day."""

    mass: float  # Σ w
    squares: float  # Σ w g²
    products: float  # Σ w g v


@dataclass(frozen=True)
class _Centred:
    """Predictions and values, less what is usual of both on a day."""

    predicted: Doubles  # (folds, items)
    usual: Doubles  # (folds · days, 2)

    def read(self, users: Observed) -> tuple[Doubles, Doubles, Doubles]:
        """(n,) mass, predictions and values."""
        usual = self.usual[users.when]
        return users.mass, users.predicted(self.predicted) - usual[:, 0], users.value - usual[:, 1]


class _Slope(_Centred):
    def partial(self, users: Observed) -> _Products:
        mass, guess, value = self.read(users)
        return _Products(float(mass.sum()), float(mass @ guess**2), float(mass @ (guess * value)))

    def solve(self, state: _Products) -> _Products:
        return state


@dataclass(frozen=True)
class _Pulls(_Centred):
    """Σ over users of the square of Σ w g (v − slope · g) of their exposures."""

    slope: float

    def partial(self, users: Observed) -> float:
        mass, guess, value = self.read(users)
        return float((by_user(users.days.row_user, mass * guess * (value - self.slope * guess)) ** 2).sum())

    def solve(self, state: float) -> float:
        return state
