"""How well predicted activity agrees with what was observed, with intervals that resample users.

Everywhere: ``probabilities`` (n, H) predict for each row the chance of being active on day d = 1..H after it,
``trace`` (n, H) says where the user was, and ``observed`` (n, H) where that is known: what stands elsewhere is
never read, neither outcome nor prediction. ``weights`` (n,) count rows: an integer weight is that many copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.evaluation.resampling import Bools, Floats, Ints, Statistic, percentiles, quotient, ratio, resampled

_MOST_WEIGHT = 1e100  # of a row: products of two of these are summed
_MOST_DAYS = 10_000  # that are counted one by one
_NOTHING_OBSERVED = (
    "expected at least one observed bit, got none: evaluate rows that have a whole day of the log after them"
)


def log_loss(
    probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None
) -> Floats:
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
    return _by_day(_log_loss, probabilities, trace, observed, weights)


def brier(
    probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None
) -> Floats:
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
    return _by_day(_brier, probabilities, trace, observed, weights)


def auc(probabilities: npt.ArrayLike, trace: Bools, observed: Bools, *, weights: npt.ArrayLike | None = None) -> Floats:
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
    return _by_day(_auc, probabilities, trace, observed, weights)


def calibration_error(
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    *,
    bins: int,
    weights: npt.ArrayLike | None = None,
) -> Floats:
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
    return _by_day(partial(_calibration_error, bins=bins), probabilities, trace, observed, weights)


def over_horizon(by_day: Floats, observed: Bools, *, weights: npt.ArrayLike | None = None) -> float:
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
    if observed.dtype != np.bool_ or (np.abs(by_day[np.isfinite(by_day)]) > _MOST_WEIGHT).any():
        raise ValueError(
            f"expected observed bool and values up to {_MOST_WEIGHT:g}, got {observed.dtype} or larger ones"
        )
    bits = _row_weights(weights, len(observed)) @ observed
    if not bits.any():
        raise ValueError(_NOTHING_OBSERVED)
    return _mean_over_days(by_day, bits)


class ActiveDays(NamedTuple):
    """Active days a row within its observed days: the mean predicted, the mean observed, and their ratio."""

    predicted: float
    observed: float
    ratio: float


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
    measured = _measure(_active_days, probabilities, trace, observed, weights)
    if np.isnan(measured[0]):
        raise ValueError(_NOTHING_OBSERVED)
    return ActiveDays(*measured.tolist())


def return_time(trace: Bools, observed: Bools) -> tuple[Ints, Bools]:
    """Read off the first active day, right-censored where a day before it is unknown.

    Args:
        trace: bool (n, H).
        observed: bool (n, H).

    Returns:
        ``time`` (n,), in days: the first active day where ``event`` (n,) is True; else the last day up to
        which the user is known to have stayed away, 0 if none is.

    Raises:
        ValueError: not bool, or not both of one shape (n, H).

    >>> trace = np.array([[False, True], [False, False], [True, True]])
    >>> return_time(trace, np.array([[True, True], [True, False], [False, True]]))
    (array([2, 1, 0]), array([ True, False, False]))

    """
    trace, observed = _bits(trace, observed)
    leading = np.logical_and.accumulate(observed, axis=1)
    active = trace & leading
    event = np.asarray(active.any(axis=1))
    return np.where(event, active.argmax(axis=1) + 1, leading.sum(axis=1)), event


def expected_return_day(probabilities: npt.ArrayLike) -> Floats:
    """Mean return time restricted to the horizon, if days are independent given the state predicted from.

    ``E[min(T, H)] = Σ_{k=0}^{H−1} P(T > k) = Σ_{k=0}^{H−1} Π_{j≤k} (1 − p_j)``. Its negative is a score for
    `c_index`.

    Args:
        probabilities: (n, H), in [0, 1] on every day.

    Returns:
        (n,), in days, from 1 to H.

    Raises:
        ValueError: not a matrix, or a probability outside [0, 1].

    Source:
        Royston and Parmar (2013), Restricted mean survival time.

    >>> expected_return_day([[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]])  # 1 + 1/2 + 1/4, and back on day 1 for sure
    array([1.75, 1.  ])

    """
    predicted = np.asarray(probabilities, np.float64)
    if predicted.ndim != 2:
        raise ValueError(f"expected probabilities (n, H), got shape {predicted.shape}")
    _check_probabilities(predicted)
    return np.asarray(1 + np.cumprod(1 - predicted[:, :-1], axis=1).sum(axis=1))


def c_index(score: npt.ArrayLike, time: Ints, event: Bools, *, weights: npt.ArrayLike | None = None) -> float:
    """Estimate Harrell's C: the chance that of two rows the one with the higher score returned earlier.

    ``C = Σ w_i w_j (1[s_i > s_j] + ½ 1[s_i = s_j]) / Σ w_i w_j`` over the comparable pairs: i returned on day t
    and j is known to have stayed away through t, be it that j returned later or was censored on t or later. Two
    returns on one day are not compared. Each day is a weighted AUC, so no pair is formed: the cost is H sorts.

    A score may also be given by day: column t then decides the pairs whose earlier return is on day t, which
    is Antolini's time-dependent C. With the predicted probability of having returned by day t as the score, no
    prediction for an unobserved day is read.

    Args:
        score: (n,) or, by day, (n, H); higher: returns earlier. Finite where it is read.
        time: int (n,), in days, as `return_time` gives it; rows of time 0 are in no pair.
        event: bool (n,): returned on day ``time``, else censored after it.
        weights: (n,), at least 0; None: all 1.

    Returns:
        C; nan where no pair is comparable.

    Raises:
        ValueError: shapes or dtypes that do not fit, a score that is not finite, an event before day 1.

    Source:
        Harrell, Lee and Mark (1996), Multivariable prognostic models; Antolini, Boracchi and Biganzoli
        (2005), A time-dependent discrimination index for survival data.

    >>> time, event = np.array([1, 2, 2]), np.array([True, True, False])
    >>> c_index([3.0, 1.0, 2.0], time, event)  # in order, in order, reversed
    0.6666666666666666

    """
    time, event = np.asarray(time), np.asarray(event)
    risk = np.asarray(score, np.float64)
    days = int(time.max(initial=0))
    shapes = risk.shape[:1] == time.shape == event.shape and risk.ndim in (1, 2)
    if not shapes or event.dtype != np.bool_ or time.dtype.kind not in "iu":
        raise ValueError(
            "expected score (n,) or (n, H), time int (n,) and event bool (n,), got "
            f"{risk.shape}, {time.dtype} {time.shape} and {event.dtype} {event.shape}: "
            "take time and event from return_time"
        )
    if days > _MOST_DAYS:
        raise ValueError(f"expected times of at most {_MOST_DAYS} days, got {days}: count in days, and not in seconds")
    if np.any(event & (time < 1)) or np.any(time < 0):
        raise ValueError("expected return days from 1 and censoring days from 0: take both from return_time")
    if risk.ndim == 1:
        risk = np.broadcast_to(risk[:, None], (len(risk), days))
    elif risk.shape[1] < days:
        raise ValueError(f"expected a score for each of the {days} days, got {risk.shape[1]} columns")
    mass = _row_weights(weights, len(risk))
    read = (np.arange(1, days + 1) <= time[:, None]) & (mass > 0)[:, None]
    if not np.isfinite(risk[:, :days][read]).all():
        raise ValueError("score must be finite wherever time is at least the day: score every row")
    return float(_c_index(risk, time, event, np.arange(len(risk)))(mass)[0])


@dataclass(frozen=True)
class Measurement:
    """One metric on one day, or over the horizon, with its interval.

    Attributes:
        metric: ``log_loss``, ``brier``, ``auc``, ``calibration_error``, ``c_index``,
            ``active_days_predicted``, ``active_days_observed`` or ``active_days_ratio``.
        day: the day after the row's, from 1; None: over the horizon.
        value: the metric, or the difference of two; nan where it is undefined.
        low: lower end of the interval.
        high: its upper end.
        rows: number of rows with something observed for this metric and day.
        users: number of users these rows are of.

    """

    metric: str
    day: int | None
    value: float
    low: float
    high: float
    rows: int
    users: int


def evaluate(
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    *,
    user: Ints,
    resamples: int,
    seed: int,
    level: float,
    bins: int,
) -> list[Measurement]:
    """Every metric of one prediction, by day and over the horizon, with an interval that resamples users.

    ``c_index`` scores a row at day t by the predicted probability of having returned by then. Intervals are
    percentiles of the resamples. That of ``calibration_error`` is reversed around the value,
    ``[2 · value − high, 2 · value − low]``: resampling adds a second time the noise that lifts this metric,
    and the reversal takes it off, so the interval of a nearly calibrated model lies mostly below its value.

    Args:
        probabilities: (n, H), in [0, 1] where observed.
        trace: bool (n, H): was active.
        observed: bool (n, H): the bit is known.
        user: int (n,): whose row it is.
        resamples: number of resamples of users.
        seed: the same seed gives the same intervals.
        level: of the intervals, in (0, 1).
        bins: number of bins of the calibration error.

    Returns:
        For each metric by day one measurement over the horizon and one a day, then ``c_index`` and the three
        of ``active_days``.

    Raises:
        ValueError: nothing is observed, fewer than 2 users, or as in `log_loss`.

    >>> trace = np.array([[True, False], [False, False], [True, True]])
    >>> asked = {"user": np.array([0, 1, 2]), "resamples": 20, "seed": 0, "level": 0.9, "bins": 2}
    >>> table = evaluate(np.full((3, 2), 0.5), trace, np.ones((3, 2), dtype=bool), **asked)
    >>> [(row.metric, row.value) for row in table if row.day is None][1:3]
    [('brier', 0.25), ('auc', 0.5)]

    """
    asked: dict[str, Any] = {"user": user, "resamples": resamples, "seed": seed, "level": level, "bins": bins}
    return evaluate_against({"": probabilities}, "", trace, observed, **asked)[0][""]


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    *,
    user: Ints,
    resamples: int,
    seed: int,
    level: float,
    bins: int,
) -> list[Measurement]:
    """Every metric of one prediction minus that of another on the same rows.

    The interval is of the difference: both are measured on the same resamples, so what they share cancels.
    A negative difference in log-loss says that the first is better.

    Args:
        first: probabilities (n, H).
        second: probabilities (n, H).
        trace: as in `evaluate`.
        observed: as in `evaluate`.
        user: as in `evaluate`.
        resamples: as in `evaluate`.
        seed: as in `evaluate`.
        level: as in `evaluate`.
        bins: as in `evaluate`.

    Returns:
        What `evaluate` returns, without ``active_days_observed``, which is one number for both.

    Raises:
        ValueError: as in `evaluate`.

    """
    asked: dict[str, Any] = {"user": user, "resamples": resamples, "seed": seed, "level": level, "bins": bins}
    return evaluate_against({"first": first, "second": second}, "first", trace, observed, **asked)[1]["second"]


def evaluate_against(
    predictions: Mapping[str, npt.ArrayLike],
    first: str,
    trace: Bools,
    observed: Bools,
    *,
    user: Ints,
    resamples: int,
    seed: int,
    level: float,
    bins: int,
) -> tuple[dict[str, list[Measurement]], dict[str, list[Measurement]]]:
    """What `evaluate` says of each prediction, and `compare` of one against each other one: each is measured once.

    Args:
        predictions: probabilities (n, H), by name.
        first: name of the one that is compared with the others.
        trace: as in `evaluate`.
        observed: as in `evaluate`.
        user: as in `evaluate`.
        resamples: as in `evaluate`.
        seed: as in `evaluate`.
        level: as in `evaluate`.
        bins: as in `evaluate`.

    Returns:
        By name what `evaluate` returns, and by name of each other prediction what `compare` returns.

    Raises:
        ValueError: as in `evaluate`.

    """
    trace, observed = _bits(trace, observed)
    if not observed.any():
        raise ValueError(_NOTHING_OBSERVED)
    if np.shape(user) != trace.shape[:1]:
        raise ValueError(f"expected a user for each of the {len(trace)} rows, got shape {np.shape(user)}")
    codes, user = np.unique(user, return_inverse=True)
    builders = _builders(bins)
    tables = [_table(builders, *_masked(p, trace, observed), user) for p in predictions.values()]

    def statistic(weights: Floats) -> Floats:
        return np.stack([table(weights) for table in tables])  # (predictions, values)

    values = statistic(np.ones(len(codes)))
    draws = resampled(statistic, len(codes), resamples=resamples, seed=seed)
    labelled = partial(_labelled, _labels(builders, trace.shape[1]), _sizes(observed, user))
    of = {name: place for place, name in enumerate(predictions)}
    lone = {name: labelled(values[at], *percentiles(draws[:, at], level)) for name, at in of.items()}
    pairs = {}
    with np.errstate(invalid="ignore"):  # the difference of two infinite losses is undefined
        for name in (name for name in of if name != first):
            one, other = of[first], of[name]
            between = percentiles(draws[:, one] - draws[:, other], level)
            table = labelled(values[one] - values[other], *between)
            pairs[name] = [measured for measured in table if measured.metric != "active_days_observed"]
    return lone, pairs


# A builder sorts and sums rows (n, H), as `_masked` returns them, once. What it returns is called with the
# weights of users, once a resample; for a metric alone each row is its own user.

_Builder = Callable[[Floats, Bools, Bools, Ints], Statistic]


def _log_loss(p: Floats, y: Bools, seen: Bools, user: Ints) -> Statistic:
    with np.errstate(divide="ignore"):
        return ratio(-np.log(np.where(y, p, 1 - p)), seen, user)


def _brier(p: Floats, y: Bools, seen: Bools, user: Ints) -> Statistic:
    return ratio((p - y) ** 2, seen, user)


def _auc(p: Floats, y: Bools, seen: Bools, user: Ints) -> Statistic:
    days = [_concordance(p[:, d], y[:, d], seen[:, d] & ~y[:, d], user) for d in range(p.shape[1])]
    return lambda weights: quotient(*np.array([pairs(weights) for pairs in days]).T)


def _c_index(score: Floats, time: Ints, event: Bools, user: Ints) -> Statistic:
    days = [
        _concordance(score[:, day - 1], event & (time == day), (time > day) | (~event & (time == day)), user)
        for day in range(1, int(time.max(initial=0)) + 1)
    ]

    def statistic(weights: Floats) -> Floats:
        return quotient(*np.array([pairs(weights) for pairs in days]).reshape(-1, 2).sum(axis=0)[:, None])

    return statistic


def _concordance(score: Floats, case: Bools, control: Bools, user: Ints) -> Callable[[Floats], tuple[float, float]]:
    """Count, given weights, the pairs whose case scores above its control, a tie half, and all pairs."""
    cases, controls = (rows[np.argsort(score[rows])] for rows in (np.flatnonzero(case), np.flatnonzero(control)))
    below = np.searchsorted(score[controls], score[cases], side="left")
    not_above = np.searchsorted(score[controls], score[cases], side="right")
    case_user, control_user = user[cases], user[controls]

    def pairs(weights: Floats) -> tuple[float, float]:
        mass = _running(weights[control_user])
        drawn = weights[case_user]
        return float(drawn @ (mass[below] + mass[not_above])) / 2, float(drawn.sum() * mass[-1])

    return pairs


def _calibration_error(p: Floats, y: Bools, seen: Bools, user: Ints, *, bins: int) -> Statistic:
    if not bins >= 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    days = [_binned(p[rows, d], y[rows, d], user[rows], bins) for d, rows in enumerate(seen.T)]
    return lambda weights: np.array([error(weights) for error in days])


def _binned(p: Floats, y: Bools, user: Ints, bins: int) -> Callable[[Floats], float]:
    order = np.argsort(p)
    p, excess, user = p[order], (p - y)[order], user[order]
    edges = np.flatnonzero(np.diff(p, prepend=-1.0, append=2.0))  # the first of each run of ties, and n

    def error(weights: Floats) -> float:
        drawn = weights[user]
        mass = _running(drawn)[edges]
        if mass[-1] == 0:
            return np.nan
        middle = (mass[:-1] + mass[1:]) / 2
        borders = np.searchsorted(middle, mass[-1] * np.arange(1, bins) / bins)
        gaps = np.diff(_running(drawn * excess)[edges[[0, *borders, -1]]])
        return float(np.abs(gaps).sum() / mass[-1])

    return error


def _running(values: Floats) -> Floats:
    """Sum the first 0, 1, .., n values."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _active_days(p: Floats, y: Bools, seen: Bools, user: Ints) -> Statistic:
    known = np.repeat(seen.any(axis=1, keepdims=True), 2, axis=1)
    means = ratio(np.stack([p.sum(axis=1), y.sum(axis=1)], axis=1), known, user)

    def statistic(weights: Floats) -> Floats:
        mean = means(weights)
        return np.append(mean, quotient(mean[:1], mean[1:]))

    return statistic


def _mean_over_days(by_day: Floats, bits: Floats) -> float:
    defined = ~np.isnan(by_day) & (bits > 0)
    return float(quotient(by_day[defined] @ bits[defined], bits[defined].sum()))


def _builders(bins: int) -> dict[str, _Builder]:
    """Metrics by day, by name."""
    error = partial(_calibration_error, bins=bins)
    return {"log_loss": _log_loss, "brier": _brier, "auc": _auc, "calibration_error": error}


def _labels(metrics: Iterable[str], days: int) -> list[tuple[str, int | None]]:
    """Metric and day of each value of a `_table`."""
    by_day = [(metric, day) for metric in metrics for day in (None, *range(1, days + 1))]
    return [*by_day, ("c_index", None), *((f"active_days_{name}", None) for name in ActiveDays._fields)]


def _sizes(observed: Bools, user: Ints) -> dict[int | None, tuple[int, int]]:
    """Rows and users of whom something is observed: on each day, and at all."""
    known: dict[int | None, Bools] = {None: np.asarray(observed.any(axis=1))}
    known |= dict(enumerate(observed.T, 1))
    return {day: (int(rows.sum()), len(np.unique(user[rows]))) for day, rows in known.items()}


def _labelled(
    labels: list[tuple[str, int | None]],
    sizes: dict[int | None, tuple[int, int]],
    values: Floats,
    low: Floats,
    high: Floats,
) -> list[Measurement]:
    lifted = np.array([metric == "calibration_error" for metric, _ in labels])
    low, high = np.where(lifted, 2 * values - high, low), np.where(lifted, 2 * values - low, high)
    return [
        Measurement(metric, day, value, lower, upper, *sizes[1 if metric == "c_index" else day])
        for (metric, day), value, lower, upper in zip(labels, values.tolist(), low.tolist(), high.tolist(), strict=True)
    ]


def _table(builders: dict[str, _Builder], p: Floats, y: Bools, seen: Bools, user: Ints) -> Statistic:
    by_day = [build(p, y, seen, user) for build in builders.values()]
    returned = np.asarray(1 - np.cumprod(1 - p, axis=1), np.float64)
    whole = [_c_index(returned, *return_time(y, seen), user), _active_days(p, y, seen, user)]
    bits = ratio(seen, np.ones_like(seen), user)

    def statistic(weights: Floats) -> Floats:
        share = bits(weights)
        values = [metric(weights) for metric in by_day]
        return np.concatenate(
            [[_mean_over_days(value, share), *value] for value in values] + [metric(weights) for metric in whole]
        )

    return statistic


def _by_day(
    build: _Builder,
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    weights: npt.ArrayLike | None,
) -> Floats:
    return _measure(build, probabilities, trace, observed, weights).reshape(np.shape(trace)[1:])


def _measure(
    build: _Builder,
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    weights: npt.ArrayLike | None,
) -> Floats:
    columns = [array[:, None] if array.ndim == 1 else array for array in map(np.asarray, (trace, observed))]
    trace, observed = _bits(*columns)
    mass = _row_weights(weights, len(trace))
    predicted = np.asarray(probabilities, np.float64)
    predicted = predicted[:, None] if predicted.ndim == 1 else predicted
    return build(*_masked(predicted, trace, observed & (mass > 0)[:, None]), np.arange(len(trace)))(mass)


def _masked(probabilities: npt.ArrayLike, trace: Bools, observed: Bools) -> tuple[Floats, Bools, Bools]:
    """Put what no metric minds, probability 0 of what did not happen, wherever nothing is observed."""
    predicted = np.asarray(probabilities, np.float64)
    if predicted.shape != trace.shape:
        raise ValueError(f"expected probabilities of the shape of trace, {trace.shape}, got {predicted.shape}")
    predicted = np.where(observed, predicted, 0.0)
    _check_probabilities(predicted)
    return predicted, trace & observed, observed


def _check_probabilities(predicted: Floats) -> None:
    outside = predicted[~((predicted >= 0) & (predicted <= 1))]
    if outside.size:
        raise ValueError(
            f"expected probabilities in [0, 1], got {outside.size} others, the first {outside[0]}: "
            "pass probabilities, not logits"
        )


def _bits(trace: Bools, observed: Bools) -> tuple[Bools, Bools]:
    trace, observed = np.asarray(trace), np.asarray(observed)
    for name, bits in (("trace", trace), ("observed", observed)):
        if bits.dtype != np.bool_ or bits.ndim != 2 or bits.shape != trace.shape:
            raise ValueError(
                f"expected trace and observed bool of one shape (n, H), got {name} {bits.dtype} {bits.shape}"
            )
    return trace, observed


def _row_weights(weights: npt.ArrayLike | None, rows: int) -> Floats:
    if weights is None:
        return np.ones(rows)
    mass = np.asarray(weights, np.float64)
    if mass.shape != (rows,) or not ((mass >= 0) & (mass < _MOST_WEIGHT)).all():
        raise ValueError(
            f"expected a finite weight of at least 0 for each of the {rows} rows, got shape {mass.shape}"
            + (f" with smallest {mass.min()} and largest {mass.max()}" if mass.size else "")
        )
    largest = mass.max(initial=0.0)
    return mass if largest == 0 or largest > 1 / _MOST_WEIGHT else np.ldexp(mass, -np.frexp(largest)[1])
