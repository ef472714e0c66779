"""Means by cell, such as by item or by day, as sums over chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.statistics.sums import Totals

U = TypeVar("U", contravariant=True)


class CellRows(NamedTuple):
    """n rows of a chunk.

    Attributes:
        cell: (n,) from 0.
        weight: (n,) at least 0; None: 1 each.
        value: (n,) or (n, k).
    """

    cell: Ints
    weight: NDArray[Any] | None
    value: NDArray[Any]


def cell_sums(cell: Ints, values: NDArray[Any], cells: int) -> Doubles:
    """(cells,) sums of (n,) values."""
    return np.asarray(np.bincount(cell, values, cells), np.float64)


@dataclass(frozen=True)
class CellTotals(Totals):
    """Sums by cell.

    Attributes:
        weight: (cells,).
        value: (cells,) or (cells, k), weighted.
    """

    weight: Doubles
    value: Doubles

    @property
    def mean(self) -> Doubles:
        """(cells,) or (cells, k) weighted means; 0 in a cell without weight."""
        there = self.weight > 0
        mass = np.where(there, self.weight, 1)
        known, mass = (there, mass) if self.value.ndim == 1 else (there[:, None], mass[:, None])
        return np.where(known, self.value / mass, 0)


@dataclass(frozen=True)
class CellMeans(Generic[U]):
    """Weighted sums and means by cell.

    Attributes:
        cells: how many there are.
        read: what is averaged, of a chunk.
    """

    cells: int
    read: Callable[[U], CellRows]

    def partial(self, users: U) -> CellTotals:
        """Sums of a chunk."""
        cell, weight, value = self.read(users)
        columns = value[:, None] if value.ndim == 1 else value
        sums = [cell_sums(cell, column if weight is None else weight * column, self.cells) for column in columns.T]
        mass = np.asarray(np.bincount(cell, weight, self.cells), np.float64)
        return CellTotals(mass, sums[0] if value.ndim == 1 else np.stack(sums, axis=1))

    def solve(self, state: CellTotals) -> CellTotals:
        """The sums of all chunks; `CellTotals.mean` has the means."""
        return state
