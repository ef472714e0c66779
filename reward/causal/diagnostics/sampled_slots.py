"""Slots of a log with the rewards of what was shown and of what could have been: what a ranker is judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.policy_shift import Slots
from reward.causal.user_effects.exposed import DailyItems, ExposedUsers
from reward.rewards import Rewards
from reward.statistics.gathered import Gathered
from reward.statistics.random import uniforms
from reward.statistics.sums import fold

_SLATES_AT_ONCE = 2_000

Past = TypeVar("Past")


def sampled_slots(
    chunks: Iterable[ExposedUsers],
    shown: DailyItems,
    past: Callable[[ExposedUsers], Past],
    rewards: Callable[[int, Past, Ints, Doubles, Ints], Rewards],
    seed: tuple[int, ...],
    *,
    slates: int,
    draws: int,
) -> Slots:
    """Slots of some of the slates, with rewards of what was shown and of items drawn beside it.

    Args:
        chunks: all users of a log, some at a time; read three times.
        shown: what could have been: the exposures of the same day.
        past: of some users.
        rewards: of a fold, made without it: given the past, (m,) users, (m,) moments and (m, k) items.
        seed: of the stream of random numbers that draws slates and items.
        slates: about how many are taken.
        draws: items that each could have held beside those shown, from the day's exposures.
    """
    first, count = fold(_Count(), chunks)
    taken = fold(_Taking(seed, slates / count, first), chunks)
    return fold(_Rewarding(shown, past, rewards, seed, count, draws, taken), chunks)


class _Count:
    """How many slates there are: all of them, and before each chunk of users, which is known by its first row."""

    def partial(self, users: ExposedUsers) -> Gathered[int]:
        return Gathered.of(users.first, len(_slates(users)[0]))

    def solve(self, state: Gathered[int]) -> tuple[Mapping[int, int], int]:
        before = np.cumsum([0, *state.in_order]).tolist()
        return dict(zip(state.first, before, strict=False)), before[-1]


class _Taken(NamedTuple):
    """Slates of a chunk that are taken.

    Attributes:
        place: (m,) of each among the chunk's.
        fold: (m,) of the users.
        rank: (m,) place of each among all that are taken, by fold and then in the log's order.
    """

    place: Ints
    fold: Ints
    rank: Ints


@dataclass(frozen=True)
class _Taking:
    """Draws the slates.

    Attributes:
        seed: the first random numbers are the slates'.
        share: of the slates that is taken.
        first: slates before each chunk.
    """

    seed: tuple[int, ...]
    share: float
    first: Mapping[int, int]

    def partial(self, users: ExposedUsers) -> Gathered[tuple[Ints, Ints]]:
        begin, _ = _slates(users)
        place = np.flatnonzero(uniforms(self.seed, self.first[users.first], len(begin)) < self.share)
        return Gathered.of(users.first, (place, users.fold[begin[place]]))

    def solve(self, state: Gathered[tuple[Ints, Ints]]) -> Mapping[int, _Taken]:
        parts = state.in_order
        order = np.argsort(np.concatenate([each for _, each in parts]), kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        ranks = np.split(rank, np.cumsum([len(place) for place, _ in parts])[:-1])
        return {first: _Taken(*part, own) for first, part, own in zip(state.first, parts, ranks, strict=True)}


class _Rewarded(NamedTuple):
    """Slots of some slates of a chunk; `Slots` says what the others are.

    Attributes:
        rank: (m,) of each slate, see `_Taken`.
        length: (m,) slots in each.
    """

    rank: Ints
    length: Ints
    mean: Doubles
    std: Doubles
    others_mean: Doubles
    others_std: Doubles
    user: Ints
    weight: Doubles
    value: Doubles


@dataclass(frozen=True)
class _Rewarding(Generic[Past]):
    """Rewards of the slates taken; ``count`` is that of all slates, the others are as in `sampled_slots`."""

    shown: DailyItems
    past: Callable[[ExposedUsers], Past]
    rewards: Callable[[int, Past, Ints, Doubles, Ints], Rewards]
    seed: tuple[int, ...]
    count: int
    draws: int
    taken: Mapping[int, _Taken]

    def partial(self, users: ExposedUsers) -> Gathered[list[_Rewarded]]:
        taken, past = self.taken[users.first], self.past(users)
        begin, length = _slates(users)
        return Gathered.of(
            users.first,
            [
                self._rewarded(users, past, begin[taken.place[some]], length[taken.place[some]], taken.rank[some])
                for some in _of_one_fold(taken.fold)
            ],
        )

    def solve(self, state: Gathered[list[_Rewarded]]) -> Slots:
        found = _Rewarded(*map(np.concatenate, zip(*(each for part in state.in_order for each in part), strict=True)))
        order = np.argsort(found.rank)
        row, slate = _spans((np.cumsum(found.length) - found.length)[order], found.length[order])
        return Slots(
            mean=found.mean[row],
            std=found.std[row],
            others_mean=found.others_mean[order],
            others_std=found.others_std[order],
            slate=slate,
            user=found.user[row],
            weight=found.weight[row],
            value=found.value[row],
        )

    def _rewarded(self, users: ExposedUsers, past: Past, begin: Ints, length: Ints, rank: Ints) -> _Rewarded:
        """Slates of one fold, whose ranks follow one another."""
        size = (len(begin), self.draws)
        place = uniforms(self.seed, self.count + int(rank[0]) * self.draws, size[0] * size[1]).reshape(size)
        drawn = self.shown.drawn(users.day[begin, None], place)
        row, _ = _spans(begin, length)
        fold, user = int(users.fold[begin[0]]), users.events.user
        own = self.rewards(fold, past, user[row], users.slate[row], users.events.item[row, None])
        others = self.rewards(fold, past, user[begin], users.slate[begin], drawn)
        mean, std, others_mean, others_std = (part.numpy() for part in (*own, *others))
        return _Rewarded(
            rank, length, mean[:, 0], std[:, 0], others_mean, others_std, user[row], users.weight[row], users.value[row]
        )


def _slates(users: ExposedUsers) -> tuple[Ints, Ints]:
    """The first row of each slate, and how many it has."""
    user, moment = users.events.user, users.slate
    begin = np.flatnonzero(np.r_[True, (np.diff(user) != 0) | (np.diff(moment) != 0)])
    return begin, np.diff(np.append(begin, len(moment)))


def _of_one_fold(fold: Ints) -> Iterator[Ints]:
    """Places of slates of one fold, some at a time."""
    for one in np.unique(fold):
        mine = np.flatnonzero(fold == one)
        yield from np.array_split(mine, -(-len(mine) // _SLATES_AT_ONCE))


def _spans(begin: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Rows of spans, one span after the other, and which span each is of."""
    which = np.repeat(np.arange(len(begin)), length)
    return begin[which] + np.arange(len(which)) - (np.cumsum(length) - length)[which], which
