"""Statistics of each day, of rows that are weighted by user: what metrics and their resamples are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles, Ints
from reward.statistics.bootstrap import Statistic, quotient, ratio

MOST_WEIGHT = 1e100  # of a row: products of two of these are summed
MOST_DAYS = 10_000  # that are counted one by one
NOTHING_OBSERVED = (
    "expected at least one observed bit, got none: evaluate rows that have a whole day of the log after them"
)


class ActiveDays(NamedTuple):
    """Active days a row within its observed days: the mean predicted, the mean observed, and their ratio."""

    predicted: float
    observed: float
    ratio: float


def log_loss_statistic(p: Doubles, y: Bools, seen: Bools, user: Ints) -> Statistic:
    """(H,) mean log-loss of each day."""
    with np.errstate(divide="ignore"):
        return ratio(-np.log(np.where(y, p, 1 - p)), seen, user)


def brier_statistic(p: Doubles, y: Bools, seen: Bools, user: Ints) -> Statistic:
    """(H,) mean squared error of each day."""
    return ratio((p - y) ** 2, seen, user)


def auc_statistic(p: Doubles, y: Bools, seen: Bools, user: Ints) -> Statistic:
    """(H,) area under the ROC curve of each day."""
    days = [concordance(p[:, d], y[:, d], seen[:, d] & ~y[:, d], user) for d in range(p.shape[1])]
    return lambda weights: quotient(*np.array([pairs(weights) for pairs in days]).T)


def calibration_error_statistic(p: Doubles, y: Bools, seen: Bools, user: Ints, *, bins: int) -> Statistic:
    """(H,) mean gap between forecast and outcome over bins of each day's forecasts."""
    if not bins >= 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    days = [_binned(p[rows, d], y[rows, d], user[rows], bins) for d, rows in enumerate(seen.T)]
    return lambda weights: np.array([error(weights) for error in days])


def _binned(p: Doubles, y: Bools, user: Ints, bins: int) -> Callable[[Doubles], float]:
    order = np.argsort(p)
    p, excess, user = p[order], (p - y)[order], user[order]
    edges = np.flatnonzero(np.diff(p, prepend=-1.0, append=2.0))  # the first of each run of ties, and n

    def error(weights: Doubles) -> float:
        drawn = weights[user]
        mass = running(drawn)[edges]
        if mass[-1] == 0:
            return np.nan
        middle = (mass[:-1] + mass[1:]) / 2
        borders = np.searchsorted(middle, mass[-1] * np.arange(1, bins) / bins)
        gaps = np.diff(running(drawn * excess)[edges[[0, *borders, -1]]])
        return float(np.abs(gaps).sum() / mass[-1])

    return error


def running(values: Doubles) -> Doubles:
    """Sum the first 0, 1, .., n values."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def active_days_statistic(p: Doubles, y: Bools, seen: Bools, user: Ints) -> Statistic:
    """`ActiveDays` over rows."""
    known = np.repeat(seen.any(axis=1, keepdims=True), 2, axis=1)
    means = ratio(np.stack([p.sum(axis=1), y.sum(axis=1)], axis=1), known, user)

    def statistic(weights: Doubles) -> Doubles:
        mean = means(weights)
        return np.append(mean, quotient(mean[:1], mean[1:]))

    return statistic


def mean_over_days(by_day: Doubles, bits: Doubles) -> float:
    """The mean of a metric over days, each by its observed bits."""
    defined = ~np.isnan(by_day) & (bits > 0)
    return float(quotient(by_day[defined] @ bits[defined], bits[defined].sum()))


def masked(probabilities: npt.ArrayLike, trace: Bools, observed: Bools) -> tuple[Doubles, Bools, Bools]:
    """Put what no metric minds, probability 0 of what did not happen, wherever nothing is observed."""
    predicted = np.asarray(probabilities, np.float64)
    if predicted.shape != trace.shape:
        raise ValueError(f"expected probabilities of the shape of trace, {trace.shape}, got {predicted.shape}")
    predicted = np.where(observed, predicted, 0.0)
    check_probabilities(predicted)
    return predicted, trace & observed, observed


def check_probabilities(predicted: Doubles) -> None:
    """Refuse what is not between 0 and 1."""
    outside = predicted[~((predicted >= 0) & (predicted <= 1))]
    if outside.size:
        raise ValueError(
            f"expected probabilities in [0, 1], got {outside.size} others, the first {outside[0]}: "
            "pass probabilities, not logits"
        )


def bits_of(trace: Bools, observed: Bools) -> tuple[Bools, Bools]:
    """Trace and mask as Boolean arrays of one shape."""
    trace, observed = np.asarray(trace), np.asarray(observed)
    for name, bits in (("trace", trace), ("observed", observed)):
        if bits.dtype != np.bool_ or bits.ndim != 2 or bits.shape != trace.shape:
            raise ValueError(
                f"expected trace and observed bool of one shape (n, H), got {name} {bits.dtype} {bits.shape}"
            )
    return trace, observed


def row_weights(weights: npt.ArrayLike | None, rows: int) -> Doubles:
    """(n,) weights that can be summed; 1 each where there are none."""
    if weights is None:
        return np.ones(rows)
    mass = np.asarray(weights, np.float64)
    if mass.shape != (rows,) or not ((mass >= 0) & (mass < MOST_WEIGHT)).all():
        raise ValueError(
            f"expected a finite weight of at least 0 for each of the {rows} rows, got shape {mass.shape}"
            + (f" with smallest {mass.min()} and largest {mass.max()}" if mass.size else "")
        )
    largest = mass.max(initial=0.0)
    return mass if largest == 0 or largest > 1 / MOST_WEIGHT else np.ldexp(mass, -np.frexp(largest)[1])


Builder = Callable[[Doubles, Bools, Bools, Ints], Statistic]


def each_day(
    build: Builder,
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    weights: npt.ArrayLike | None,
) -> Doubles:
    """(H,) a statistic of each day."""
    return measure(build, probabilities, trace, observed, weights).reshape(np.shape(trace)[1:])


def measure(
    build: Builder,
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    weights: npt.ArrayLike | None,
) -> Doubles:
    """A statistic of all rows."""
    columns = [array[:, None] if array.ndim == 1 else array for array in map(np.asarray, (trace, observed))]
    trace, observed = bits_of(*columns)
    mass = row_weights(weights, len(trace))
    predicted = np.asarray(probabilities, np.float64)
    predicted = predicted[:, None] if predicted.ndim == 1 else predicted
    return build(*masked(predicted, trace, observed & (mass > 0)[:, None]), np.arange(len(trace)))(mass)


def concordance(score: Doubles, case: Bools, control: Bools, user: Ints) -> Callable[[Doubles], tuple[float, float]]:
    """Count, given weights, the pairs whose case scores above its control, a tie half, and all pairs."""
    cases, controls = (rows[np.argsort(score[rows])] for rows in (np.flatnonzero(case), np.flatnonzero(control)))
    below = np.searchsorted(score[controls], score[cases], side="left")
    not_above = np.searchsorted(score[controls], score[cases], side="right")
    case_user, control_user = user[cases], user[controls]

    def pairs(weights: Doubles) -> tuple[float, float]:
        mass = running(weights[control_user])
        drawn = weights[case_user]
        return float(drawn @ (mass[below] + mass[not_above])) / 2, float(drawn.sum() * mass[-1])

    return pairs
