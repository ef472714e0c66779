"""How an effect spreads over the days of the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.item_effects.observed import Observed, fold_days_of, usual_by_day
from reward.statistics.cells import cell_sums
from reward.statistics.sums import Totals, fold


def effect_curve(
    chunks: Sequence[Observed], predicted: Doubles, calibration: CalibrationSlope, *, smooth_days: float
) -> Doubles:
    """How an effect spreads over the days of the horizon, from what the predicted effects show on each.

    On day d, c_d is the slope of the weighted residuals on the effects predicted for the items shown. The slopes are
    noisy, so they are smoothed towards a straight line (second differences are penalised), made to sum to 1, and drawn
    to a flat curve as far as users held out do not agree with the predictions.

    Args:
        chunks: exposures of all users; their ``effect`` is not read.
        predicted: (folds, items) effects, each fold's made without its users.
        calibration: what `calibration_slope` says of them.
        smooth_days: how stiff the curve is: a wiggle of a shorter period is mostly noise.

    Returns:
        (H,).

    Source:
        Whittaker, "On a new method of graduation" (1923).
    """
    usual = usual_by_day(chunks, lambda it: (it.weight, it.predicted(predicted)), fold_days_of(chunks[0].days))
    return fold(_Curve(predicted, usual, calibration, smooth_days), chunks)


@dataclass(frozen=True)
class _Slopes(Totals):
    """Sums over exposures, by day ahead: of w the weight, g the prediction and r the residual."""

    squares: Doubles  # (H,) Σ w g²
    products: Doubles  # (H,) Σ w g r


@dataclass(frozen=True)
class _Curve:
    predicted: Doubles
    usual: Doubles  # (folds · days,)
    calibration: CalibrationSlope
    smooth_days: float

    def partial(self, users: Observed) -> _Slopes:
        days = users.days
        guess = users.predicted(self.predicted) - self.usual[users.when]
        of_day = cell_sums(days.row, users.weight * guess, len(days.known))
        squares = cell_sums(days.row, users.weight * guess**2, len(days.known))
        ahead = np.arange(days.residual.shape[1])
        return _Slopes(squares @ (days.known[:, None] > ahead), of_day @ days.residual.astype(np.float64))

    def solve(self, state: _Slopes) -> Doubles:
        """(H,)."""
        mass, slope, se = state.squares, self.calibration.slope, self.calibration.se
        flat = np.full(len(mass), 1 / len(mass))
        if not slope > se or not (mass > 0).all():
            return flat
        bend = np.diff(np.eye(len(mass)), 2, axis=0)
        precision = np.diag(mass / mass.mean())
        stiff = (self.smooth_days / (2 * np.pi)) ** 4 * bend.T @ bend
        curve = np.maximum(np.linalg.solve(precision + stiff, precision @ (state.products / mass)), 0)
        if not curve.sum() > 0:
            return flat
        return flat + (1 - (se / slope) ** 2) * (curve / curve.sum() - flat)
