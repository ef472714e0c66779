import numpy as np
import pytest

from reward.statistics.least_squares import Triangle
from reward.statistics.sums import total


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(200), rng.standard_normal((200, 3)), 1e4 + 1e-3 * rng.standard_normal(200)])
    return features, features @ [1.0, 2.0, -1.0, 0.5, 3.0] + rng.standard_normal(200)


def triangle(features, outcome):
    return Triangle.of(np.column_stack([features, outcome]))


@pytest.mark.parametrize("parts", [1, 3, 17, 200])
def test_least_squares_of_chunks_are_those_of_the_table(table, parts):
    rows = np.random.default_rng(1).permutation(parts)
    chunks = [[np.array_split(it, parts)[place] for it in table] for place in rows]
    found = total(triangle(*it) for it in chunks)
    wanted, *_ = np.linalg.lstsq(*table, rcond=None)
    assert found.rows == 200
    np.testing.assert_allclose(table[0] @ found.coefficients, table[0] @ wanted, rtol=1e-10)


def test_columns_that_are_sums_of_others_share_their_part(table):
    features = np.column_stack([table[0][:, 1:3], table[0][:, 1:3].sum(axis=1), np.zeros(200)])
    found = total(triangle(*it) for it in zip(np.array_split(features, 5), np.array_split(table[1], 5), strict=True))
    wanted, *_ = np.linalg.lstsq(features, table[1], rcond=None)
    np.testing.assert_allclose(found.coefficients, wanted, atol=1e-10)


def test_a_chunk_without_rows_adds_nothing(table):
    one = triangle(*table)
    none = triangle(table[0][:0], table[1][:0])
    np.testing.assert_allclose((none + one).coefficients, one.coefficients, rtol=1e-10)
    assert (one + none).rows == 200
