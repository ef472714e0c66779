"""Item anchors: what each item did, from the log's own randomness and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays, centred, fold_and_day, of_each_event
from reward.data.event_log import SchemaError


@dataclass(frozen=True)
class Anchors:
    """Unpooled effects of items, fold by fold: unbiased where the propensities are true, and noisy.

    Attributes:
        value: (folds, items) days more than the mean exposure; 0 where the item was not shown.
        variance: (folds, items) days²; infinite where it was not shown.
    """

    value: Doubles
    variance: Doubles


def inverse_weights(propensity: Doubles, item: Ints, items: int, *, most: float) -> Doubles:
    """Inverse-propensity weights, clipped twice at ``most`` times their item's mean, then of mean 1 within the item.

    Args:
        propensity: (rows,) in (0, 1].
        item: (rows,) from 0.
        items: how many there are.
        most: clip; above 1.

    Returns:
        (rows,).

    Source:
        Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (NeurIPS 2015).
    """
    weight = 1 / propensity
    for _ in range(2):
        mean = _means(weight, item, items)[item]
        weight = np.minimum(weight / mean, most) * mean
    return weight / _means(weight, item, items)[item]


def anchors(days: UserDays, effect: DayEffects, item: Ints, weight: Doubles, items: int, *, rounds: int) -> Anchors:
    """Inverse-propensity means of the day effects by item, each cleared of what else was shown that day.

    An instrumental regression of a user-day's effect on the counts of the items shown, with the weighted counts as
    instruments, solved by ``rounds`` of Jacobi steps on shrunken estimates: a term of .04 days an item is removed from
    noise of several days, so that the first round is nearly all there is.

    The variance is that of independent users: squares of weights summed within a user, times one noise variance that
    makes the squared residuals come out right over all items (a sandwich with one free factor; an item's own sandwich
    is worth little at a hundred users). A residual from a mean that its user took part in is smaller than the noise,
    the more so the fewer users there are, and is counted for as much less.

    Args:
        days: who, when and in which fold.
        effect: (n,) of each user-day.
        item: (events,) from 0.
        weight: (events,) from `inverse_weights`.
        items: how many there are.
        rounds: Jacobi steps after the plain means.

    Returns:
        (folds, items).

    Raises:
        SchemaError: no item was shown to two users of one fold.
    """
    folds = int(days.fold.max()) + 1
    user = days.user[days.row]
    cell = days.fold[user] * items + item
    mass = weight * effect.precision[days.row]
    when = fold_and_day(days)
    value = centred(effect.value[days.row], mass, when)
    pair, place = np.unique(user * items + item, return_inverse=True)
    pair_cell = days.fold[pair // items] * items + pair % items
    total = np.bincount(cell, mass, folds * items)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(total > 0, np.bincount(cell, mass * value, folds * items) / total, 0)
        heavy = np.bincount(place, mass, len(pair))
        pull = np.bincount(place, mass * (value - mean[cell]), len(pair))
        design = np.where(total > 0, np.bincount(pair_cell, heavy**2, folds * items) / total**2, np.inf)
        known = total[pair_cell] > 0
        share = (heavy / total[pair_cell])[known]
        free = heavy[known] ** 2 * (1 - 2 * share + design[pair_cell][known])  # the squared pull expected of noise of 1
        if not free.sum() > 1e-9 * (heavy**2).sum():
            raise SchemaError(
                "effects expected items that several users of a fold were shown, to tell effects from noise, and found "
                "none: give a longer log, or set fewer causal.folds"
            )
        noise = float((pull[known] ** 2).sum() / free.sum())
    if not noise > 0:
        raise SchemaError(
            "effects expected days after exposures of an item that differ from user to user, to tell effects from "
            "noise, and found none: give a longer log, or one of more users"
        )
    variance = noise * design
    alone, shown = mean, total > 0
    for _ in range(rounds):
        spread = max(float(np.average((mean**2 - variance)[shown], weights=1 / variance[shown])), 0)
        shrunk = (np.where(shown, spread / (spread + variance), 0) * mean)[cell]
        others = centred(np.bincount(days.row, shrunk, len(days.known))[days.row] - shrunk, mass, when)
        mean = alone - np.bincount(cell, mass * others, folds * items) / np.where(shown, total, 1)
    return Anchors(mean.reshape(folds, items), variance.reshape(folds, items))


def effect_curve(
    days: UserDays,
    item: Ints,
    weight: Doubles,
    predicted: Doubles,
    calibration: CalibrationSlope,
    *,
    smooth_days: float,
) -> Doubles:
    """How an effect spreads over the days of the horizon, from what the predicted effects show on each.

    On day d, c_d is the slope of the weighted residuals on the effects predicted for the items shown. The slopes are
    noisy, so they are smoothed towards a straight line (second differences are penalised), made to sum to 1, and drawn
    to a flat curve as far as the predictions are not borne out.

    Args:
        days: residuals.
        item: (events,) from 0.
        weight: (events,) from `inverse_weights`.
        predicted: (folds, items) effects, each fold's made without its users.
        calibration: what `calibration_slope` says of them.
        smooth_days: how stiff the curve is: a wiggle of a shorter period is mostly noise.

    Returns:
        (H,).

    Source:
        Whittaker, "On a new method of graduation" (1923).
    """
    horizon = days.residual.shape[1]
    flat = np.full(horizon, 1 / horizon)
    guess = centred(of_each_event(predicted, days, item), weight, fold_and_day(days))
    by_day = np.bincount(days.row, weight * guess, len(days.known))  # Σ w g of each user-day
    squares = np.bincount(days.row, weight * guess**2, len(days.known))
    mass = squares @ (days.known[:, None] > np.arange(horizon))
    if not calibration.slope > calibration.se or not (mass > 0).all():
        return flat
    slope = (by_day @ days.residual.astype(np.float64)) / mass
    bend = np.diff(np.eye(horizon), 2, axis=0)
    precision = np.diag(mass / mass.mean())
    curve = np.linalg.solve(precision + (smooth_days / (2 * np.pi)) ** 4 * bend.T @ bend, precision @ slope)
    curve = np.maximum(curve, 0)
    if not curve.sum() > 0:
        return flat
    return flat + (1 - (calibration.se / calibration.slope) ** 2) * (curve / curve.sum() - flat)


def _means(values: Doubles, group: Ints, groups: int) -> Doubles:
    return np.bincount(group, values, groups) / np.maximum(np.bincount(group, minlength=groups), 1)
