"""How well predicted activity agrees with what was observed, with intervals that resample users.

Everywhere: ``probabilities`` (n, H) predict for each row the chance of being active on day d = 1..H after it,
``trace`` (n, H) says where the user was, and ``observed`` (n, H) where that is known: what stands elsewhere is
never read, neither outcome nor prediction. ``weights`` (n,) count rows: an integer weight is that many copies.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles
from reward.evaluation.daily import (
    MOST_WEIGHT,
    NOTHING_OBSERVED,
    ActiveDays,
    Weighed,
    active_days_of,
    auc_statistic,
    calibration_error_statistic,
    log_losses,
    mean_over_days,
    row_weights,
    squared_errors,
)


def log_loss(
    probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None
) -> Doubles:
    """Mean negative log-likelihood of the observed bits, in nats, day by day.

    ``−Σ_i w_i [y_i log p_i + (1 − y_i) log(1 − p_i)] / Σ_i w_i`` over the rows observed on that day.
    Infinite where something happened that was given probability 0: nothing is clipped.

    Args:
        probabilities: (n, H), or (n,) for one day; in [0, 1] where observed.
        trace: bool, of the same shape: was active.
        observed: bool, of the same shape: the bit is known.
        weights: (n,), at least 0; None: all 1.

    Returns:
        (H,), or () for one day; nan for a day without an observed row.

    Raises:
        ValueError: shapes or dtypes that do not fit, observed probabilities outside [0, 1], negative weights.

    Source:
        Good (1952), Rational decisions.

    >>> loss = log_loss([0.5, 0.25], np.array([True, False]), np.array([True, True]))
    >>> round(float(loss), 4)  # log(8/3) / 2
    0.4904

    """
    rows = Weighed.of(probabilities, trace, observed, weights)
    return rows.mean(log_losses(rows.p, rows.y)).reshape(np.shape(trace)[1:])


def brier(
    probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None
) -> Doubles:
    """Mean squared difference between predicted probability and outcome, day by day.

    ``Σ_i w_i (p_i − y_i)² / Σ_i w_i`` over the rows observed on that day.

    Args and Raises: as in `log_loss`.

    Returns:
        (H,), or () for one day; nan for a day without an observed row.

    Source:
        Brier (1950), Verification of forecasts expressed in terms of probability.

    >>> float(brier([0.5, 0.25], np.array([True, False]), np.array([True, True])))  # (1/4 + 1/16) / 2
    0.15625

    """
    rows = Weighed.of(probabilities, trace, observed, weights)
    return rows.mean(squared_errors(rows.p, rows.y)).reshape(np.shape(trace)[1:])


def auc(
    probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None
) -> Doubles:
    """Chance that a row that was active got a higher prediction than one that was not, day by day.

    ``Σ_{i active, j not} w_i w_j (1[p_i > p_j] + ½ 1[p_i = p_j]) / Σ_{i active, j not} w_i w_j``.

    Days are not pooled, here or in `over_horizon`: pairs across days would pay for knowing which day it is.

    Args and Raises: as in `log_loss`.

    Returns:
        (H,), or () for one day; nan for a day on which no observed row was active, or all were.

    Source:
        Hanley and McNeil (1982), The meaning and use of the area under a receiver operating characteristic
        curve.

    >>> seen = np.array([True, True, True])
    >>> float(auc([0.5, 0.5, 0.1], np.array([True, False, False]), seen))  # one pair tied, one in order
    0.75

    """
    rows = Weighed.of(probabilities, trace, observed, weights)
    return rows.measure(auc_statistic).reshape(np.shape(trace)[1:])


def calibration_error(
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    *,
    bins: int,
    weights: npt.ArrayLike | None = None,
) -> Doubles:
    """Measure the expected calibration error over bins of equal mass, day by day.

    ``Σ_b |Σ_{i in b} w_i (p_i − y_i)| / Σ_i w_i``. A row's bin is the whole part of ``bins`` times its
    quantile among the predictions (the share below it and half the share tied with it): bins hold equal
    weight, equal predictions share a bin, and the order of the rows is of no account.

    Noise does not cancel across bins, so a calibrated model is above 0 too: by about
    ``√(2/π · bins · p(1 − p) / n)`` if rows are independent.

    Args and Raises: as in `log_loss`, and:
        bins: number of bins, at least 1.

    Returns:
        (H,), or () for one day; nan for a day without an observed row.

    Source:
        Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning;
        equal mass: Nguyen and O'Connor (2015), Posterior calibration and exploratory analysis for NLP models.

    >>> p, y, seen = [0.1, 0.3, 0.6, 0.8], np.array([False, True, True, True]), np.ones(4, dtype=bool)
    >>> round(float(calibration_error(p, y, seen, bins=2)), 4)  # (|0.4 − 1| + |1.4 − 2|) / 4
    0.3

    """
    rows = Weighed.of(probabilities, trace, observed, weights)
    return rows.measure(partial(calibration_error_statistic, bins=bins)).reshape(np.shape(trace)[1:])


def over_horizon(by_day: Doubles, observed: Bools, *, weights: npt.ArrayLike | None = None) -> float:
    """Average a metric's values by day, weighted by the number of observed bits: one number for the horizon.

    For `log_loss` and `brier` this is the metric pooled over all observed bits. A day whose value is nan takes
    no part.

    Args:
        by_day: (H,), what one of the metrics above returned.
        observed: bool (n, H).
        weights: (n,), those given to the metric.

    Returns:
        The mean; nan if every day's value is.

    Raises:
        ValueError: nothing is observed, or shapes do not fit.

    >>> observed = np.array([[True, True, False], [True, False, False]])
    >>> over_horizon(np.array([0.2, 0.5, np.nan]), observed)  # 0.9 / 3
    0.3

    """
    if observed.ndim != 2 or by_day.shape != observed.shape[1:]:
        raise ValueError(
            f"expected by_day (H,) and observed (n, H), got {by_day.shape} and {observed.shape}: "
            "pass what a metric returned for these rows"
        )
    if observed.dtype != np.bool_ or (np.abs(by_day[np.isfinite(by_day)]) > MOST_WEIGHT).any():
        raise ValueError(
            f"expected observed bool and values up to {MOST_WEIGHT:g}, got {observed.dtype} or larger ones"
        )
    bits = row_weights(weights, len(observed)) @ observed
    if not bits.any():
        raise ValueError(NOTHING_OBSERVED)
    return float(mean_over_days(by_day, bits))


def active_days(
    probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None
) -> ActiveDays:
    """Compare predicted with observed active days, both counted over the observed days alone.

    ``predicted = Σ_i w_i Σ_d p_id / Σ_i w_i``, ``observed`` the same with ``y_id``, over the rows with an
    observed day. Their ratio is above 1 where the model promises more than comes.

    Args and Raises: as in `log_loss`, for (n, H); and ValueError where nothing is observed.

    Returns:
        Predicted and observed in days a row, and the ratio; the ratio is nan where nobody was active.

    >>> trace, observed = np.array([[True, False]] * 2), np.array([[True, True], [True, False]])
    >>> active_days([[0.5, 0.25], [1.0, 0.7]], trace, observed)
    ActiveDays(predicted=0.875, observed=1.0, ratio=0.875)

    """
    rows = Weighed.of(probabilities, trace, observed, weights)
    sums = (rows.mass @ column for column in (rows.p.sum(axis=1), rows.y.sum(axis=1), rows.seen.any(axis=1)))
    measured = active_days_of(*map(np.asarray, sums))
    if np.isnan(measured[0]):
        raise ValueError(NOTHING_OBSERVED)
    return ActiveDays(*measured.tolist())
