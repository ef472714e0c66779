"""Least squares of rows that are read in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from reward.arrays import Doubles


@dataclass(frozen=True)
class Triangle:
    """All that least squares ask of a table: the R of its QR decomposition, which is that of its chunks' stacked.

    Attributes:
        r: (at most columns, columns) upper triangular.
        rows: of the table.

    Source:
        Demmel, Grigori, Hoemmen and Langou, "Communication-optimal parallel and sequential QR and LU factorizations"
        (2012), TSQR. It never squares the condition of the table, as the normal equations do.

    >>> (Triangle.of(np.array([[1.0, 2.0], [2.0, 4.0]])) + Triangle.of(np.array([[3.0, 6.0]]))).coefficients
    array([2.])
    """

    r: Doubles
    rows: int

    @classmethod
    def of(cls, table: Doubles) -> Self:
        """Of (rows, columns)."""
        return cls(_r(table), len(table))

    def __add__(self, other: Self, /) -> Self:
        """Of the rows of both."""
        return type(self)(_r(np.concatenate([self.r, other.r])), self.rows + other.rows)

    @property
    def coefficients(self) -> Doubles:
        """(columns − 1,) of the fit of the last column by the others; the shortest where columns are sums of others."""
        features, outcome = self.r[:, :-1], self.r[:, -1]
        rcond = np.finfo(np.float64).eps * max(self.rows, features.shape[1])
        return np.asarray(np.linalg.lstsq(features, outcome, rcond=rcond)[0], np.float64)


def _r(table: Doubles) -> Doubles:
    return table if len(table) < 2 else np.asarray(np.linalg.qr(table, mode="r"), np.float64)
