"""Columns as numbers of one scale, whose means, spreads and levels are sums over chunks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints

ROUNDING = 1e-12  # of the largest value, below which a standard deviation is of numbers that are all alike
_NOTHING = -10_000  # exponent of a column without a value


@dataclass(frozen=True)
class ColumnScales:
    """Means and spreads of the known values of columns, in units of 2^``exponent``, in which the largest is about 1.

    Attributes:
        exponent: (columns,).
        count: (columns,) known values.
        mean: (columns,).
        squares: (columns,) sums of squared distances from the mean.

    Source:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (The American Statistician 1983).
    """

    exponent: Ints
    count: Ints
    mean: Doubles
    squares: Doubles

    @classmethod
    def of(cls, values: NDArray[np.floating[Any]]) -> Self:
        """Of (rows, columns); what is not finite is unknown."""
        known = np.isfinite(values)
        count = known.sum(axis=0)
        largest = np.where(known, np.abs(values), 0).max(axis=0, initial=0)
        exponent = np.where(largest > 0, np.frexp(largest)[1], _NOTHING).astype(np.int64)
        scaled = _scaled(values, known, exponent)
        mean = scaled.sum(axis=0) / np.maximum(count, 1)
        return cls(exponent, count, mean, (np.where(known, scaled - mean, 0) ** 2).sum(axis=0))

    def __add__(self, other: Self, /) -> Self:
        """Of the rows of both."""
        exponent = np.maximum(self.exponent, other.exponent)
        (mean, squares), (theirs, more) = (it._in_units(exponent) for it in (self, other))
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = theirs - mean
        squares = squares + more + apart**2 * (self.count * share)
        return type(self)(exponent, count, mean + apart * share, squares)

    def standard(self, values: NDArray[np.floating[Any]]) -> Doubles:
        """Columns of mean 0 and standard deviation 1, a constant one 0; 0, the average, where a value is unknown."""
        known = np.isfinite(values)
        spread = np.sqrt(self.squares / np.maximum(self.count, 1))
        centred = np.where(known, _scaled(values, known, self.exponent) - self.mean, 0)
        return np.where(spread > ROUNDING, centred / np.where(spread > ROUNDING, spread, 1), 0)

    def _in_units(self, exponent: Ints) -> tuple[Doubles, Doubles]:
        return np.ldexp(self.mean, self.exponent - exponent), np.ldexp(self.squares, 2 * (self.exponent - exponent))


def _scaled(values: NDArray[np.floating[Any]], known: NDArray[np.bool_], exponent: Ints) -> Doubles:
    """Exact, and at most 1."""
    return np.ldexp(np.where(known, values, 0).astype(np.float64), -exponent)


@dataclass(frozen=True)
class Levels:
    """How often each category of a column occurs.

    Attributes:
        counts: ``value`` and ``n``.
    """

    counts: pl.DataFrame

    @classmethod
    def of(cls, column: pl.Series) -> Self:
        """Of the known values of a column."""
        counts = column.drop_nulls().alias("value").value_counts(name="n")
        return cls(counts.with_columns(pl.col("n").cast(pl.Int64)))

    def __add__(self, other: Self, /) -> Self:
        """Of both columns."""
        both = pl.concat([self.counts, other.counts])
        return type(self)(both.group_by("value").agg(pl.col("n").sum()))

    def common(self, most: int) -> pl.Series:
        """The most frequent categories, in turn."""
        return self.counts.sort(["n", "value"], descending=[True, False])["value"].head(most)


def one_hot(column: pl.Series, levels: pl.Series) -> Doubles:
    """(rows, levels) 1 where a value is the level; a column of zeros where there is no level."""
    return np.stack(
        [(column == name).fill_null(value=False).to_numpy() for name in levels] or [np.zeros(len(column))], axis=1
    ).astype(np.float64)
