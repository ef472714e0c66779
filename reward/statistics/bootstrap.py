"""The bootstrap by user: the rows of one user are not independent, so users are resampled and never rows.

A resample gives every user a count, and a statistic is a function of these counts. Drawing users is thereby
reweighting rows, by ``weights[user]``: no row is copied, and a sort can be shared by all resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints
from reward.statistics.intervals import check_level

Statistic = Callable[[Doubles], Doubles]  # a weight for each user (users,) -> values, of any one shape


def user_weights(users: int, *, resamples: int, seed: int) -> Iterator[Doubles]:
    """How often each user is drawn, one resample at a time: memory does not grow with their number.

    Multinomial counts: ``users`` draws with replacement, each user as likely as any other.

    Args:
        users: number of users, at least 2.
        resamples: number of resamples.
        seed: the same seed gives the same weights.

    Returns:
        An iterator over ``resamples`` arrays of shape (users,); each sums to ``users``.

    Raises:
        ValueError: fewer than 2 users, or no resample.

    Source:
        Efron (1979), Bootstrap methods: another look at the jackknife; for clusters, Cameron, Gelbach and
        Miller (2008), Bootstrap-based improvements for inference with clustered errors.

    >>> [weights.sum() for weights in user_weights(3, resamples=2, seed=0)]
    [np.float64(3.0), np.float64(3.0)]

    """
    if not users >= 2:
        raise ValueError(f"resampling users needs at least 2 of them, got {users}: evaluate on the rows of more users")
    if not resamples >= 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}: some hundreds give a stable interval")
    generator = np.random.default_rng(seed)
    draws = (generator.integers(users, size=users) for _ in range(resamples))
    return (np.bincount(drawn, minlength=users).astype(np.float64) for drawn in draws)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike, user: Ints) -> Statistic:
    """Make ratios of sums over rows a statistic: summed by user once, a resample is one matrix product.

    ``ratio[k] = Σ_i w[user_i] · numerator[i, k] / Σ_i w[user_i] · denominator[i, k]``; nan where the
    denominator is 0.

    Args:
        numerator: (n, k).
        denominator: (n, k), at least 0.
        user: (n,) code of each row's user, from 0.

    Returns:
        A statistic: weights (users,) -> ratios (k,).

    Raises:
        ValueError: shapes that do not fit, or codes that are not whole numbers from 0.

    >>> mean = ratio([[1], [2], [9]], [[1], [1], [1]], np.array([0, 0, 1]))
    >>> mean(np.array([1.0, 1.0])), mean(np.array([2.0, 0.0]))
    (array([4.]), array([1.5]))

    """
    parts = [np.asarray(part, np.float64) for part in (numerator, denominator)]
    if parts[0].ndim != 2 or parts[0].shape != parts[1].shape:
        raise ValueError(f"expected numerator and denominator (n, k), got {parts[0].shape} and {parts[1].shape}")
    check_codes(user, len(parts[0]))
    above, below = (_sums(part, user) for part in parts)

    def statistic(weights: Doubles) -> Doubles:
        with np.errstate(invalid="ignore"):  # an infinite loss of a user who was not drawn: 0 · inf
            return quotient(weights @ above, weights @ below)

    return statistic


def quotient(numerator: Doubles, denominator: Doubles) -> Doubles:
    """Divide, elementwise; nan where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def check_codes(user: npt.NDArray[Any], rows: int) -> None:
    """See that there is a code from 0 for each row.

    Raises:
        ValueError: there is not.
    """
    codes = np.asarray(user)
    if codes.shape != (rows,) or codes.dtype.kind not in "iu" or (rows and not 0 <= codes.min() <= codes.max() < 2**40):
        raise ValueError(
            f"expected the code of a user, from 0, for each of {rows} rows, got {codes.dtype} of shape {codes.shape}: "
            "number the users with np.unique(users, return_inverse=True)[1]"
        )


def _sums(values: Doubles, user: Ints) -> Doubles:
    return np.stack([np.bincount(user, column) for column in values.T], axis=1)


def interval(statistic: Statistic, users: int, *, resamples: int, seed: int, level: float) -> tuple[Doubles, Doubles]:
    """Percentile interval of a statistic under resampling of users.

    ``low`` and ``high`` are the ``(1 − level)/2`` and ``(1 + level)/2`` quantiles of the statistic's values
    over the resamples. Both are nan where a resample leaves it undefined or infinite: the sample is too small.

    Args:
        statistic: weights (users,) -> values of any one shape. For a function of row weights:
            ``lambda weights: metric(…, weights=weights[user])``.
        users: number of users.
        resamples: number of resamples.
        seed: the same seed gives the same interval, and two statistics the same resamples.
        level: share of the resamples inside the interval, in (0, 1).

    Returns:
        ``low`` and ``high``, each of the shape that the statistic has.

    Raises:
        ValueError: fewer than 2 users, no resample, or a level outside (0, 1).

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.

    >>> values = np.arange(100.0)
    >>> low, high = interval(lambda w: w @ values / w.sum(), 100, resamples=500, seed=0, level=0.95)
    >>> bool(40 < low < 49.5 < high < 59)
    True

    """
    return percentiles(resampled(statistic, users, resamples=resamples, seed=seed), level)


def resampled(statistic: Statistic, users: int, *, resamples: int, seed: int) -> Doubles:
    """The statistic's values over resamples of users, (resamples, ...); arguments are those of `interval`."""
    return np.stack([statistic(weights) for weights in user_weights(users, resamples=resamples, seed=seed)])


def percentiles(draws: Doubles, level: float) -> tuple[Doubles, Doubles]:
    """The ends of `interval`, from what `resampled` returned."""
    check_level(level)
    finite = np.isfinite(draws)
    low, high = np.quantile(np.where(finite, draws, 0.0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    known = finite.all(axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def clustered_error(*samples: tuple[Ints, Doubles]) -> float:
    """Standard error of the sum of the samples' means, the rows of a user in any of them taken together.

    ``√(C/(C−1) Σ_c (Σ_s Σ_{i of c in s} (ψ_i − ψ̄_s) / n_s)²)`` over C users.

    Args:
        samples: of each the user of every row, from 0 and without gaps over all of them, and ψ (n_s,).

    Raises:
        ValueError: fewer than 2 users, or codes that do not fit.

    Source:
        Liang and Zeger (1986), Longitudinal data analysis using generalized linear models.

    >>> clustered_error((np.array([0, 1, 2, 3]), np.array([1.0, 2.0, 3.0, 4.0])))  # sd / √4
    0.6454972243679028

    """
    for user, values in samples:
        check_codes(user, len(values))
    whole = all(len(values) for _, values in samples)
    users = max((int(user.max()) for user, _ in samples), default=-1) + 1 if whole else 0
    if users < 2:
        raise ValueError(
            f"a clustered error expected rows of at least 2 users, got {users}: more users have to be seen"
        )
    pulls = sum(np.bincount(user, (values - values.mean()) / len(values), users) for user, values in samples)
    return float(np.sqrt(users / (users - 1) * np.sum(np.square(pulls))))
