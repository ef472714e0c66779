"""Ratios of sums over the rows of slices as an estimator: `partial` of some users' rows, states that add, `solve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Bools, Doubles, Ints
from reward.statistics.bootstrap import RatioRows, Ratios, Resamples, Sums, Users, check_codes


class SlicedRows(NamedTuple):
    """Rows of some users, and the slices that they are in."""

    numerator: Doubles  # (n, m)
    denominator: Doubles  # (n, m), at least 0
    inside: Bools  # (n, slices)
    users: Users


@dataclass(frozen=True)
class SliceState:
    """What some users add.

    Attributes:
        sums: see `Ratios`, of m ratios in each slice.
        sizes: (slices, 2) rows and users of each.
    """

    sums: Sums
    sizes: Ints

    def __add__(self, other: SliceState) -> SliceState:
        """What the users of both add."""
        return SliceState(self.sums + other.sums, self.sizes + other.sizes)


class SliceTable(NamedTuple):
    """Ratios (1 + resamples, m, slices), those of the sample first, and rows and users of each slice (slices, 2)."""

    ratios: Doubles
    sizes: Ints


@dataclass(frozen=True)
class SliceRatios:
    """Ratios of sums over the rows of each slice, see `Ratios`.

    >>> inside = np.array([[True, False], [True, True]])
    >>> rows = SlicedRows(np.array([[2.0], [4.0]]), np.ones((2, 1)), inside, Users.of([1, 2]))
    >>> found = SliceRatios(Resamples(2, seed=0))
    >>> found.solve(found.partial(rows)).ratios[0]
    array([[3., 4.]])

    """

    resamples: Resamples

    def partial(self, users: SlicedRows, /) -> SliceState:
        """What some users add.

        Raises:
            ValueError: shapes or codes that do not fit.
        """
        inside, (code, _) = users.inside, users.users
        check_codes(code, len(inside))
        above, below = (
            np.where(inside[:, None], part[..., None], 0.0).reshape(len(inside), part.shape[1] * inside.shape[1])
            for part in (users.numerator, users.denominator)
        )
        sums = Ratios(self.resamples).partial(RatioRows(above, below, users.users))
        sizes = [[rows.sum(), len(np.unique(code[rows]))] for rows in inside.T]
        return SliceState(sums, np.array(sizes, np.int64).reshape(-1, 2))

    def solve(self, state: SliceState, /) -> SliceTable:
        """The ratios in the sample and in each resample; nan where the denominator is 0.

        Raises:
            ValueError: fewer than 2 users.
        """
        ratios = Ratios(self.resamples).solve(state.sums)
        return SliceTable(ratios.reshape(len(ratios), -1, len(state.sizes)), state.sizes)
