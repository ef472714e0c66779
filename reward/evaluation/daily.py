"""Statistics of each day, of rows that are weighted by user: what metrics and their resamples are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles, Ints
from reward.statistics.bootstrap import quotient

Statistic = Callable[[Doubles], Doubles]  # a weight for each user (users,) -> values

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


def log_losses(p: Doubles, y: Bools) -> Doubles:
    """(n, H) −log of the probability that was given to what came true."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(np.where(y, p, 1 - p)))


def squared_errors(p: Doubles, y: Bools) -> Doubles:
    """(n, H) squares of forecast minus outcome."""
    return np.asarray((p - y) ** 2)


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
        starts = np.unique(edges[[0, *borders]])  # of the bins that hold rows
        gaps = np.add.reduceat(drawn * excess, starts[starts < len(drawn)])
        return float(np.abs(gaps).sum() / mass[-1])

    return error


def running(values: Doubles) -> Doubles:
    """Sum the first 0, 1, .., n values."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def active_days_of(predicted: Doubles, came: Doubles, rows: Doubles) -> Doubles:
    """(..., 3) `ActiveDays` from sums over rows: days predicted, days that came, and rows with an observed day."""
    means = quotient(np.stack([predicted, came], axis=-1), np.stack([rows, rows], axis=-1))
    return np.append(means, quotient(means[..., :1], means[..., 1:]), axis=-1)


def mean_over_days(by_day: Doubles, bits: Doubles) -> Doubles:
    """(...,) the mean of a metric (..., H) over days, each by its observed bits; nan where no day is defined."""
    defined = ~np.isnan(by_day) & (bits > 0)
    share = np.where(defined, bits, 0.0)
    return quotient((np.where(defined, by_day, 0.0) * share).sum(axis=-1), share.sum(axis=-1))


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


class Weighed(NamedTuple):
    """Rows that a metric reads: those of weight 0 are observed on no day."""

    p: Doubles  # (n, H)
    y: Bools
    seen: Bools
    mass: Doubles  # (n,)

    @classmethod
    def of(cls, probabilities: npt.ArrayLike, trace: Bools, observed: Bools, weights: npt.ArrayLike | None) -> Weighed:
        """Check a metric's arguments; vectors are one day."""
        columns = [array[:, None] if array.ndim == 1 else array for array in map(np.asarray, (trace, observed))]
        trace, observed = bits_of(*columns)
        mass = row_weights(weights, len(trace))
        predicted = np.asarray(probabilities, np.float64)
        predicted = predicted[:, None] if predicted.ndim == 1 else predicted
        return cls(*masked(predicted, trace, observed & (mass > 0)[:, None]), mass)

    def mean(self, values: Doubles) -> Doubles:
        """(H,) means over the rows observed on each day of values (n, H), 0 elsewhere."""
        return quotient(self.mass @ values, self.mass @ self.seen)

    def measure(self, build: Builder) -> Doubles:
        """(H,) a statistic of order."""
        return build(self.p, self.y, self.seen, np.arange(len(self.p)))(self.mass)


def concordance(score: Doubles, case: Bools, control: Bools, user: Ints) -> Callable[[Doubles], tuple[float, float]]:
    """Count, given weights, the pairs whose case scores above its control, a tie half, and all pairs."""
    cases, controls = (rows[np.argsort(score[rows])] for rows in (np.flatnonzero(case), np.flatnonzero(control)))
    below = np.searchsorted(score[controls], score[cases], side="left")
    not_above = np.searchsorted(score[controls], score[cases], side="right")
    case_user, control_user = user[cases], user[controls]

    def pairs(weights: Doubles) -> tuple[float, float]:
        mass = running(weights[control_user])
        drawn = weights[case_user]
        won = np.einsum("i,i", drawn, mass[below] + mass[not_above])  # a dot of so few would start BLAS's threads
        return float(won) / 2, float(drawn.sum() * mass[-1])

    return pairs
