"""Means and spreads of columns, merged from those of chunks without loss of precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from reward.arrays import Doubles

_ROUNDING = 1e-12  # of the mean, below which a spread is of values that are all alike


@dataclass(frozen=True)
class ColumnMoments:
    """Moments of the columns of a table.

    Attributes:
        count: rows.
        mean: (columns,).
        squares: (columns,) sums of squared distances from the mean.

    Source:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (The American Statistician 1983), for
        the sum of two: nothing large is subtracted from anything large.

    >>> (ColumnMoments.of(np.array([[1.0], [3.0]])) + ColumnMoments.of(np.array([[8.0]]))).spread ** 2
    array([8.66666667])
    """

    count: int
    mean: Doubles
    squares: Doubles

    @classmethod
    def of(cls, table: Doubles) -> Self:
        """Moments of (rows, columns)."""
        mean = table.mean(axis=0) if len(table) else np.zeros(table.shape[1])
        return cls(len(table), mean, np.square(table - mean).sum(axis=0))

    def __add__(self, other: Self, /) -> Self:
        """Moments of the rows of both."""
        count = self.count + other.count
        share = other.count / max(count, 1)
        apart = other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * (self.count * share)
        return type(self)(count, self.mean + apart * share, squares)

    @property
    def spread(self) -> Doubles:
        """(columns,) standard deviations; 0 where all values are alike up to rounding."""
        spread = np.sqrt(self.squares / max(self.count, 1))
        return np.where(spread > _ROUNDING * np.abs(self.mean), spread, 0)
