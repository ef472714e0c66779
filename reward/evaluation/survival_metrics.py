"""Metrics of return times: which user is back first, and when."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles, Ints
from reward.evaluation.daily import MOST_DAYS, Statistic, bits_of, check_probabilities, concordance, row_weights
from reward.statistics.bootstrap import quotient


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
    trace, observed = bits_of(trace, observed)
    leading = np.logical_and.accumulate(observed, axis=1)
    active = trace & leading
    event = np.asarray(active.any(axis=1))
    return np.where(event, active.argmax(axis=1) + 1, leading.sum(axis=1)), event


def expected_return_day(probabilities: npt.ArrayLike) -> Doubles:
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
    check_probabilities(predicted)
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
    if days > MOST_DAYS:
        raise ValueError(f"expected times of at most {MOST_DAYS} days, got {days}: count in days, and not in seconds")
    if np.any(event & (time < 1)) or np.any(time < 0):
        raise ValueError("expected return days from 1 and censoring days from 0: take both from return_time")
    if risk.ndim == 1:
        risk = np.broadcast_to(risk[:, None], (len(risk), days))
    elif risk.shape[1] < days:
        raise ValueError(f"expected a score for each of the {days} days, got {risk.shape[1]} columns")
    mass = row_weights(weights, len(risk))
    read = (np.arange(1, days + 1) <= time[:, None]) & (mass > 0)[:, None]
    if not np.isfinite(risk[:, :days][read]).all():
        raise ValueError("score must be finite wherever time is at least the day: score every row")
    return float(c_index_statistic(risk, time, event, np.arange(len(risk)))(mass)[0])


def c_index_statistic(score: Doubles, time: Ints, event: Bools, user: Ints) -> Statistic:
    """The C-index over rows."""
    days = [
        concordance(score[:, day - 1], event & (time == day), (time > day) | (~event & (time == day)), user)
        for day in range(1, int(time.max(initial=0)) + 1)
    ]

    def statistic(weights: Doubles) -> Doubles:
        return quotient(*np.array([pairs(weights) for pairs in days]).reshape(-1, 2).sum(axis=0)[:, None])

    return statistic
