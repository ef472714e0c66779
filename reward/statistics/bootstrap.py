"""The bootstrap by user: the rows of one user are not independent, so users are resampled and never rows.

A resample gives every user a count. The count is a function of the user's hash, the number of the resample and the
seed alone, so a log may be read in chunks of whole users, in any order and in any number of places: each user has the
same counts everywhere. Sums over users, in the sample and in each resample, are therefore states that add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints, Words
from reward.statistics.intervals import check_level
from reward.statistics.user_hash import mixed, user_hash

# how many of 65,536 draws are 0, 1, .., 8: Poisson(1), rounded so that mean and variance are 1 exactly
POISSON = (24109, 24109, 12056, 4018, 1005, 200, 33, 5, 1)
_COUNTS = np.repeat(np.arange(len(POISSON), dtype=np.uint8), POISSON)
_LANES = 4  # draws of 16 bits that one word of 64 gives
_STEP = np.uint64(0x9E3779B97F4A7C15)  # between the counters of SplitMix64
_CELLS, _PART = 1 << 20, 1 << 12  # counts, and resamples of some users, that are held at one time


class Users(NamedTuple):
    """Whose rows some are: each row's user as a code, and each user's hash."""

    code: Ints  # (n,) from 0
    hashes: Words  # (users,), see `user_hash`

    @classmethod
    def of(cls, ids: npt.ArrayLike) -> Users:
        """Users of rows, from their ids: whole numbers or texts.

        Raises:
            ValueError: see `user_hash`.
        """
        hashes, code = np.unique(user_hash(ids), return_inverse=True)
        return cls(code.astype(np.int64), hashes)


@dataclass(frozen=True)
class Resamples:
    """How often each user is drawn, in each of some resamples: independent counts with mean 1 and variance 1.

    The multinomial counts of Efron's bootstrap are such counts that also sum to the number of users, which has to be
    known beforehand. Without that sum a statistic that does not change with the number of users, such as a ratio of
    sums, has the same distribution up to a relative error of the order of 1 / users.

    Attributes:
        count: how many resamples.
        seed: the same seed gives the same counts, and two statistics the same resamples.

    Raises:
        ValueError: no resample.

    Source:
        Hanley and MacGibbon (2006), Creating non-parametric bootstrap samples using Poisson frequencies; Chamandy,
        Muralidharan, Najmi and Naidu (2012), Estimating uncertainty for massive data streams; Owen and Eckles (2012),
        Bootstrapping data arrays of arbitrary order (any law with mean 1 and variance 1); for clusters, Cameron,
        Gelbach and Miller (2008), Bootstrap-based improvements for inference with clustered errors.
    """

    count: int
    seed: int

    def __post_init__(self) -> None:
        if not self.count >= 1:
            raise ValueError(f"resamples must be at least 1, got {self.count}: some hundreds give a stable interval")

    def weights(self, hashes: Words) -> Iterator[tuple[slice, Doubles]]:
        """Counts of all users, some resamples at a time: which resamples, and their counts (resamples, users)."""
        at_once = max(_CELLS // max(len(hashes), 1) // _LANES, 1) * _LANES
        for first in range(0, self.count, at_once):
            some = slice(first, min(first + at_once, self.count))
            yield some, np.ascontiguousarray(self._counts(hashes, some).T, dtype=np.float64)

    def sums(self, values: npt.ArrayLike, users: Users) -> Sums:
        """Sums of rows over users: as they are, and with the counts of each resample.

        Args:
            values: (n, k).
            users: whose rows they are.

        Raises:
            ValueError: shapes that do not fit, or codes that are not whole numbers from 0.
        """
        rows = np.asarray(values, np.float64)
        if rows.ndim != 2:
            raise ValueError(f"expected values (n, k), got shape {rows.shape}: pass a column for each sum")
        check_codes(users.code, len(rows))
        of_user = sums_by(users.code, rows, len(users.hashes))
        table = np.zeros((1 + self.count, rows.shape[1]))
        table[0] = of_user.sum(axis=0)
        with np.errstate(invalid="ignore"):  # an infinite loss of a user who was not drawn: 0 · inf
            for part in self._parts():
                users_at_once = _CELLS // (part.stop - part.start)
                for first in range(0, len(of_user), users_at_once):
                    some = slice(first, first + users_at_once)
                    counts = self._counts(users.hashes[some], part).astype(np.float64)
                    table[1 + part.start : 1 + part.stop] += counts.T @ of_user[some]
        return Sums(table, len(of_user))

    def _parts(self) -> Iterator[slice]:
        return (slice(at, min(at + _PART, self.count)) for at in range(0, self.count, _PART))

    def _counts(self, hashes: Words, part: slice) -> npt.NDArray[np.uint8]:
        """(users, resamples) counts in the resamples ``part``, whose first is a multiple of `_LANES`."""
        word = np.arange(part.start // _LANES, -(-part.stop // _LANES)).astype(np.uint64)
        key = mixed(mixed(np.array([self.seed % 2**64], np.uint64)) + (word + np.uint64(1)) * _STEP)
        drawn = mixed(hashes[:, None] ^ key).astype("<u8", copy=False).view("<u2")
        return _COUNTS[drawn[:, : part.stop - part.start]]


@dataclass(frozen=True)
class Sums:
    """Sums over users, in the sample and in each resample.

    Attributes:
        table: (1 + resamples, k); the first row is the sample's.
        users: how many they are of.
    """

    table: Doubles
    users: int

    def __add__(self, other: Sums) -> Sums:
        """Sums over the users of both."""
        return Sums(self.table + other.table, self.users + other.users)


class RatioRows(NamedTuple):
    """Rows of some users, for `Ratios`."""

    numerator: Doubles  # (n, k)
    denominator: Doubles  # (n, k), at least 0
    users: Users


@dataclass(frozen=True)
class Ratios:
    """Ratios of sums over rows, in the sample and in each resample: ``Σ_i w_i numerator_ik / Σ_i w_i denominator_ik``.

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 10.

    >>> ratios = Ratios(Resamples(2, seed=0))
    >>> rows = RatioRows(np.array([[1.0], [2.0], [9.0]]), np.ones((3, 1)), Users.of([7, 7, 8]))
    >>> ratios.solve(ratios.partial(rows))[0]
    array([4.])

    """

    resamples: Resamples

    def partial(self, rows: RatioRows, /) -> Sums:
        """The two sums over the rows of some users, (1 + resamples, 2k).

        Raises:
            ValueError: shapes that do not fit, or codes that are not whole numbers from 0.
        """
        parts = [np.asarray(part, np.float64) for part in rows[:2]]
        if parts[0].ndim != 2 or parts[0].shape != parts[1].shape:
            raise ValueError(f"expected numerator and denominator (n, k), got {parts[0].shape} and {parts[1].shape}")
        return self.resamples.sums(np.concatenate(parts, axis=1), rows.users)

    def solve(self, state: Sums, /) -> Doubles:
        """(1 + resamples, k) ratios, those of the sample first; nan where the denominator is 0.

        Raises:
            ValueError: fewer than 2 users.
        """
        check_users(state.users)
        above, below = np.split(state.table, 2, axis=1)
        return quotient(above, below)


def check_users(users: int) -> None:
    """See that there are users to resample.

    Raises:
        ValueError: fewer than 2.
    """
    if not users >= 2:
        raise ValueError(f"resampling users needs at least 2 of them, got {users}: evaluate on the rows of more users")


def quotient(numerator: Doubles, denominator: Doubles) -> Doubles:
    """Divide, elementwise; nan where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def sums_by(code: Ints, values: Doubles, groups: int) -> Doubles:
    """(groups, k) sums of rows (n, k) by their code."""
    columns = [np.bincount(code, column, groups) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((groups, 0))


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


def percentiles(draws: Doubles, level: float) -> tuple[Doubles, Doubles]:
    """Percentile interval of a statistic, from its values over resamples (resamples, ...).

    ``low`` and ``high`` are the ``(1 − level)/2`` and ``(1 + level)/2`` quantiles of the values. Both are nan where a
    resample leaves the statistic undefined or infinite: the sample is too small.

    Raises:
        ValueError: a level outside (0, 1).

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.
    """
    check_level(level)
    finite = np.isfinite(draws)
    low, high = np.quantile(np.where(finite, draws, 0.0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    known = finite.all(axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)
