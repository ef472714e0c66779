"""Slates and what could have been shown in them, some of a day at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.propensity.features import Slots
from reward.causal.propensity.item_features import Traits
from reward.data.prepared import UserRows
from reward.data.slates import Catalogue, Slates

GOLDEN = 0.6180339887498949  # its multiples are spread evenly between 0 and 1


class Part(NamedTuple):
    """The slates of some users: ``begin`` is the number of the first among those of all, in the log's order."""

    begin: int
    slates: Slates
    slots: Slots


@dataclass(frozen=True)
class Plan:
    """What the slates of all users share, and how those of some are read.

    Attributes:
        catalogue: items and calendar.
        traits: of the items.
        shown: (items,) how often each was shown.
        day: (slates,) of all users, in the log's order.
        mean_liking: (memories · F,) taken off each slot's.
        memories: of the liking.
        width: columns of the states.
        read: the slates of a chunk of users.
        max_candidates: live items up to which the softmax is exact.
        chunk_slates: slates computed at once.
        seed: draws candidates.
    """

    catalogue: Catalogue
    traits: Traits
    shown: Ints
    day: Ints
    mean_liking: Doubles
    memories: int
    width: int
    read: Callable[[UserRows], Part]
    max_candidates: int
    chunk_slates: int
    seed: int

    def parts(self, chunks: Iterable[UserRows]) -> Iterator[Part]:
        """The slates of each chunk in turn."""
        return map(self.read, chunks)


@dataclass(frozen=True)
class Chunk:
    """Slates of one day and the items they could have shown."""

    at: Ints  # (n,) which slates of the part
    state: Tensor  # (n, K)
    liking: Tensor  # (n, memories · F)
    items: Tensor  # (n, size), −1 where none
    candidates: Tensor  # (m,)
    weight: Tensor  # (m,) how many live items each stands for
    place: Tensor  # (n, size) of the shown items among the candidates, −1 where not drawn


def drawn(found: Ints, most: int, seed: int) -> Ints:
    """Some of what was found, at random and ascending, where there is more than ``most``."""
    if len(found) <= most:
        return found
    return np.sort(np.random.default_rng([seed, 1]).choice(found, most, replace=False))


class Draw:
    """Slates of all users in groups of a day, and what could have been shown in each group.

    Groups are made of the whole log, so that what is drawn does not depend on which users are read together.

    Args:
        plan: the slates.
        at: numbers of those that are read, ascending.
        number: seeds what is left out of the candidates.
    """

    def __init__(self, plan: Plan, at: Ints, number: int):
        self.plan, self.at = plan, at
        row = np.argsort(plan.day[at], kind="stable")
        _, begin, count = np.unique(plan.day[at][row], return_index=True, return_counts=True)
        groups = -(-count // plan.chunk_slates)
        rank = np.arange(len(row)) - np.repeat(begin, count)
        self._group = np.empty(len(row), np.int64)
        self._group[row] = np.repeat(np.cumsum(groups) - groups, count) + rank // plan.chunk_slates
        self._order = np.random.default_rng([plan.seed, 2, number]).permutation(len(plan.shown))

    def mine(self, part: Part) -> Ints:
        """Which slates of a part are read."""
        low, high = np.searchsorted(self.at, [part.begin, part.begin + len(part.slates.user)])
        return self.at[low:high] - part.begin

    def chunks(self, part: Part) -> Iterator[Chunk]:
        """These, a group at a time."""
        low = int(np.searchsorted(self.at, part.begin))
        mine = self.mine(part)
        group = self._group[low : low + len(mine)]
        row = np.argsort(group, kind="stable")
        edges = np.flatnonzero(np.r_[True, np.diff(group[row]) != 0, True]) if len(row) else np.zeros(0, np.int64)
        for begin, end in pairwise(edges):
            at = mine[row[begin:end]]
            start = int(group[row[begin]]) * GOLDEN % 1
            yield self._chunk(part, at, *self._candidates(int(part.slates.day[at[0]]), start))

    def _candidates(self, day: int, start: float) -> tuple[Ints, Doubles]:
        """All live items, or about ``max_candidates`` of them, the often shown more often, and what each stands for.

        Drawn systematically: the chances are laid end to end in a random order and an item is drawn whose stretch holds
        one of start, start + 1, ..; starts that are spread evenly over groups draw every item evenly over them.
        """
        live, most = self.plan.catalogue.live(day), self.plan.max_candidates
        if len(live) <= most:
            return live, np.ones(len(live))
        shown = self.plan.shown[live]
        chance = np.minimum(most * (0.5 * shown / shown.sum() + 0.5 / len(live)), 1)
        row = np.argsort(self._order[live])
        until = np.cumsum(chance[row]) + start
        found = np.sort(row[np.floor(until) > np.floor(until - chance[row])])
        return live[found], 1 / chance[found]

    def _chunk(self, part: Part, at: Ints, candidates: Ints, weight: Doubles) -> Chunk:
        items = part.slates.items[at]
        place = np.full(len(self.plan.shown) + 1, -1)  # the last for where no item is
        place[candidates] = np.arange(len(candidates))
        return Chunk(
            at,
            torch.from_numpy(part.slots.state[at]),
            torch.from_numpy(part.slots.liking[at] - self.plan.mean_liking),
            torch.from_numpy(items),
            torch.from_numpy(candidates),
            torch.from_numpy(weight),
            torch.from_numpy(place[items]),
        )
