"""How good forecasts of a wait are, and how surely one is better than another, with customers as the unit.

Everywhere ``survival`` (n, H) is the chance that a row's wait is longer than 1, … H weeks, and ``time`` and ``event``
are what came of it, see `customers.waits`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Floats = np.ndarray
LOG_LIKELIHOOD, C_INDEX, BRIER = "log-likelihood", "C-index", "Brier score"
METRICS = (LOG_LIKELIHOOD, C_INDEX, BRIER)


class Measured(NamedTuple):
    """A metric and how much each row moves it.

    Attributes:
        value: the metric.
        influence: (n,), of each row: to first order the metric of a sample in which row i stands w_i times is
            value + Σ_i (w_i − 1) influence_i.
    """

    value: float
    influence: Floats


def log_likelihood(survival: Floats, time: np.ndarray, event: np.ndarray) -> Measured:
    """Mean over rows of log f(time) where the return was seen, else of log S(time), in nats; f(d) = S(d − 1) − S(d).

    Source: Singer & Willett 1993.
    """
    rows = np.arange(len(survival))
    padded = np.column_stack([np.ones(len(survival)), survival])
    after = padded[rows, time]
    with np.errstate(divide="ignore"):  # what was given no chance at all and came: minus infinity
        return _mean(np.log(np.where(event, padded[rows, time - 1] - after, after)))


def brier(survival: Floats, time: np.ndarray, event: np.ndarray) -> Measured:
    """Mean over rows and weeks of (1(time ≤ d) − 1 + S(d))², over rows whose whole horizon is known.

    Raises:
        ValueError: a row is censored before the horizon ends.

    Source: Graf et al. 1999.
    """
    weeks = survival.shape[1]
    if np.any(~event & (time < weeks)):
        raise ValueError(f"expected rows known for {weeks} weeks or until their return, got some that are censored")
    back = event[:, None] & (time[:, None] <= np.arange(1, weeks + 1))
    return _mean(((back - 1 + survival) ** 2).mean(1))


def c_index(survival: Floats, time: np.ndarray, event: np.ndarray) -> Measured:
    """Harrell's C of the expected weeks away, Σ_{d<H} S(d): of two rows the one that returned earlier scored lower.

    Pairs as in `reward.evaluation.survival_metrics.c_index`; the influence of a row is that of its share in all pairs.

    Source: Harrell, Lee & Mark 1996; the jackknife of a ratio of U-statistics, Efron & Tibshirani 1993, chapter 11.
    """
    score = -survival[:, :-1].sum(1)
    right, pairs = np.zeros(len(score)), np.zeros(len(score))
    for week in np.unique(time[event]):
        came, stayed = event & (time == week), (time > week) | (~event & (time == week))
        for mine, others, sign in ((came, stayed, 1), (stayed, came, -1)):
            ordered = np.sort(sign * score[others])
            below, through = (np.searchsorted(ordered, sign * score[mine], side) for side in ("left", "right"))
            right[mine] += (below + through) / 2
            pairs[mine] += len(ordered)
    value = right.sum() / pairs.sum()
    return Measured(float(value), 2 * (right - value * pairs) / pairs.sum())


OF = {LOG_LIKELIHOOD: log_likelihood, C_INDEX: c_index, BRIER: brier}


def standard_error(influence: Floats, customer: np.ndarray) -> float:
    """Of a metric, or of a difference of two, whose rows' influences these are: customers are drawn, not rows."""
    by_customer = np.bincount(customer, influence)
    by_customer = by_customer[np.unique(customer)]
    return float(np.sqrt(np.sum((by_customer - by_customer.mean()) ** 2)))


def _mean(values: Floats) -> Measured:
    value = float(values.mean())
    influence = values - value if np.isfinite(value) else np.full(len(values), np.nan)
    return Measured(value, influence / len(values))
