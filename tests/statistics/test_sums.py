"""Statistics as sums over chunks of users."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest

from reward.arrays import Doubles
from reward.statistics.sums import Chunks, fold


@dataclass(frozen=True)
class _Moments:
    count: int
    sum: float

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(self.count + other.count, self.sum + other.sum)


class _Mean:
    def partial(self, users: Doubles) -> _Moments:
        return _Moments(len(users), float(users.sum()))

    def solve(self, state: _Moments) -> float:
        return state.sum / state.count


def test_a_mean_is_the_same_over_any_chunks_in_any_order() -> None:
    values = np.random.default_rng(0).lognormal(size=100)
    for order in permutations(np.array_split(values, 3)):
        assert fold(_Mean(), order) == pytest.approx(values.mean(), rel=1e-12)


def test_no_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one chunk of users, got none"):
        fold(_Mean(), [])


def test_chunks_of_rows_add_up_to_all_of_them() -> None:
    parts = np.array_split(np.arange(10.0), 3)
    assert (Chunks((parts[0],)) + Chunks((parts[1],)) + Chunks((parts[2],))).rows == tuple(parts)
