"""Means by cell and moments of columns: of a whole, and of its parts in any order."""

from functools import reduce
from operator import add

import numpy as np
import pytest

from reward.statistics.cells import CellMeans, CellRows
from reward.statistics.moments import ColumnMoments
from reward.statistics.sums import fold


def test_means_by_cell_by_hand():
    rows = CellRows(np.array([0, 2, 2]), np.array([1.0, 1.0, 3.0]), np.array([5.0, 2.0, 6.0]))
    found = fold(CellMeans(4, lambda it: it), [rows])
    assert found.weight.tolist() == [1, 0, 4, 0]
    assert found.mean.tolist() == [5, 0, 5, 0]
    several = rows._replace(weight=None, value=np.array([[1, 2], [3, 4], [5, 8.0]]))
    counted = fold(CellMeans(3, lambda it: it), [several])
    assert counted.mean.tolist() == [[1, 2], [0, 0], [4, 6]]


def test_means_by_cell_are_those_of_the_parts():
    rng = np.random.default_rng(0)
    rows = CellRows(rng.integers(0, 5, 99), rng.random(99), rng.normal(size=(99, 3)))
    parts = [CellRows(*(column[place::7] for column in rows)) for place in range(7)]
    means = CellMeans(5, lambda it: it)
    np.testing.assert_allclose(fold(means, parts).mean, fold(means, [rows]).mean, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_spreads_are_merged_without_loss(offset):
    table = np.random.default_rng(1).normal(size=(1000, 2)) + offset
    parts = [ColumnMoments.of(table[place::9]) for place in range(9)]
    whole = ColumnMoments.of(table)
    for order in (parts, parts[::-1]):
        merged = reduce(add, order)
        np.testing.assert_allclose(merged.spread, table.std(axis=0), rtol=1e-9)
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    assert merged.count == 1000


def test_values_that_are_all_alike_have_no_spread():
    parts = [ColumnMoments.of(np.full((size, 1), 0.1)) for size in (3, 7, 11)]
    assert reduce(add, parts).spread == 0
    none = ColumnMoments.of(np.zeros((0, 1)))
    assert (none + parts[0]).mean == pytest.approx(0.1)
    assert (parts[0] + none).count == 3
