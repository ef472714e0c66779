"""How the days after exposures agree with effects that were predicted without the users concerned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays, centred, fold_and_day, of_each_event

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


def calibration_slope(
    days: UserDays, effect: DayEffects, item: Ints, weight: Doubles, predicted: Doubles
) -> CalibrationSlope:
    """Weighted slope of what was seen on what was predicted.

    Of two folds each is predicted from the other, so that where nothing matters each pair of users counts twice and
    the slope varies by a factor of √2 more than it would for given predictions: the standard error allows for that.

    Args:
        days: who and when.
        effect: (n,) of each user-day, over a curve that was not fitted to these predictions.
        item: (events,) from 0.
        weight: (events,) from `inverse_weights`.
        predicted: (folds, items) effects, each fold's made without its users.
    """
    mass = weight * effect.precision[days.row]
    when = fold_and_day(days)
    guess = centred(of_each_event(predicted, days, item), mass, when)
    squares = float(mass @ guess**2)
    if not squares > NOTHING_DAYS**2 * mass.sum():
        return CalibrationSlope(0.0, np.inf)
    value = centred(effect.value[days.row], mass, when)
    slope = float(mass @ (guess * value)) / squares
    pull = np.bincount(days.user[days.row], mass * guess * (value - slope * guess))
    return CalibrationSlope(slope, float(np.sqrt(2 * (pull**2).sum())) / squares)
