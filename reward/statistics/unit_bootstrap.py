"""The bootstrap of units that are few and all at hand, such as experiments and items; of users see `bootstrap`.

A resample gives every unit a count, and a statistic is a function of these counts. Drawing units is thereby
reweighting rows, by ``weights[unit]``: no row is copied, and a sort can be shared by all resamples. The counts sum to
the number of units, so that a resample of a handful of them is never empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints
from reward.statistics.bootstrap import check_codes, percentiles, quotient, sums_by

Statistic = Callable[[Doubles], Doubles]  # a weight for each unit (units,) -> values, of any one shape


def unit_weights(units: int, *, resamples: int, seed: int) -> Iterator[Doubles]:
    """How often each unit is drawn, one resample at a time: memory does not grow with their number.

    Multinomial counts: ``units`` draws with replacement, each unit as likely as any other.

    Args:
        units: how many there are, at least 2.
        resamples: number of resamples.
        seed: the same seed gives the same weights.

    Returns:
        An iterator over ``resamples`` arrays of shape (units,); each sums to ``units``.

    Raises:
        ValueError: fewer than 2 units, or no resample.

    Source:
        Efron (1979), Bootstrap methods: another look at the jackknife.

    >>> [weights.sum() for weights in unit_weights(3, resamples=2, seed=0)]
    [np.float64(3.0), np.float64(3.0)]

    """
    if not units >= 2:
        raise ValueError(f"resampling units needs at least 2 of them, got {units}: give more of them")
    if not resamples >= 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}: some hundreds give a stable interval")
    generator = np.random.default_rng(seed)
    draws = (generator.integers(units, size=units) for _ in range(resamples))
    return (np.bincount(drawn, minlength=units).astype(np.float64) for drawn in draws)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike, unit: Ints) -> Statistic:
    """Make ratios of sums over rows a statistic: summed by unit once, a resample is one matrix product.

    ``ratio[k] = Σ_i w[unit_i] · numerator[i, k] / Σ_i w[unit_i] · denominator[i, k]``; nan where the
    denominator is 0.

    Args:
        numerator: (n, k).
        denominator: (n, k), at least 0.
        unit: (n,) code of each row's unit, from 0.

    Returns:
        A statistic: weights (units,) -> ratios (k,).

    Raises:
        ValueError: shapes that do not fit, or codes that are not whole numbers from 0.

    >>> mean = ratio([[1], [2], [9]], [[1], [1], [1]], np.array([0, 0, 1]))
    >>> mean(np.array([1.0, 1.0])), mean(np.array([2.0, 0.0]))
    (array([4.]), array([1.5]))

    """
    parts = [np.asarray(part, np.float64) for part in (numerator, denominator)]
    if parts[0].ndim != 2 or parts[0].shape != parts[1].shape:
        raise ValueError(f"expected numerator and denominator (n, k), got {parts[0].shape} and {parts[1].shape}")
    check_codes(unit, len(parts[0]))
    units = int(np.max(unit, initial=-1)) + 1
    above, below = (sums_by(unit, part, units) for part in parts)

    def statistic(weights: Doubles) -> Doubles:
        with np.errstate(invalid="ignore"):  # an infinite value of a unit that was not drawn: 0 · inf
            return quotient(weights @ above, weights @ below)

    return statistic


def interval(statistic: Statistic, units: int, *, resamples: int, seed: int, level: float) -> tuple[Doubles, Doubles]:
    """Percentile interval of a statistic under resampling of units.

    ``low`` and ``high`` are the ``(1 − level)/2`` and ``(1 + level)/2`` quantiles of the statistic's values
    over the resamples. Both are nan where a resample leaves it undefined or infinite: the sample is too small.

    Args:
        statistic: weights (units,) -> values of any one shape. For a function of row weights:
            ``lambda weights: metric(…, weights=weights[unit])``.
        units: how many there are.
        resamples: number of resamples.
        seed: the same seed gives the same interval, and two statistics the same resamples.
        level: share of the resamples inside the interval, in (0, 1).

    Returns:
        ``low`` and ``high``, each of the shape that the statistic has.

    Raises:
        ValueError: fewer than 2 units, no resample, or a level outside (0, 1).

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.

    >>> values = np.arange(100.0)
    >>> low, high = interval(lambda w: w @ values / w.sum(), 100, resamples=500, seed=0, level=0.95)
    >>> bool(40 < low < 49.5 < high < 59)
    True

    """
    return percentiles(resampled(statistic, units, resamples=resamples, seed=seed), level)


def resampled(statistic: Statistic, units: int, *, resamples: int, seed: int) -> Doubles:
    """The statistic's values over resamples of units, (resamples, ...); arguments are those of `interval`."""
    return np.stack([statistic(weights) for weights in unit_weights(units, resamples=resamples, seed=seed)])
