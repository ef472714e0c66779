"""Slates and what could have been shown in them, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Floats, Ints
from reward.causal.propensity.features import GOLDEN, Slots, Traits
from reward.data.slates import Slates


@dataclass(frozen=True)
class Plan:
    """Slates, their features, and what limits the reading of what could have been shown."""

    slates: Slates
    slots: Slots
    traits: Traits
    max_candidates: int
    chunk_slates: int
    seed: int


@dataclass(frozen=True)
class Chunk:
    """Slates of one day and the items they could have shown."""

    at: Ints  # (n,) which slates
    state: Tensor  # (n, K)
    liking: Tensor  # (n, memories · F)
    items: Tensor  # (n, size), −1 where none
    candidates: Tensor  # (m,)
    weight: Tensor  # (m,) how many live items each stands for
    place: Tensor  # (n, size) of the shown items among the candidates, −1 where not drawn


def chunks(plan: Plan, at: Ints, draw: int) -> Iterator[Chunk]:
    """The slates ``at``, some of a day at a time, with what could have been shown; ``draw`` seeds what is left out."""
    slates = plan.slates
    at = at[np.argsort(slates.day[at], kind="stable")]
    shown = np.bincount(slates.items[slates.items >= 0], minlength=len(slates.item_ids))
    days = np.flatnonzero(np.r_[True, np.diff(slates.day[at]) != 0, True]) if len(at) else np.zeros(0, np.int64)
    order = np.random.default_rng([plan.seed, 2, draw]).permutation(len(slates.item_ids))
    count = 0
    for begin, end in pairwise(days):
        live = slates.live(int(slates.day[at[begin]]))
        for start in range(begin, end, plan.chunk_slates):
            mine = at[start : min(start + plan.chunk_slates, end)]
            candidates, weight = _candidates(live, shown[live], plan.max_candidates, order[live], count * GOLDEN % 1)
            count += 1
            yield _chunk(plan, mine, candidates, weight)


def _candidates(live: Ints, shown: Ints, most: int, order: Ints, start: float) -> tuple[Ints, Floats]:
    """All live items, or about ``most`` of them, the often shown more often, and how many each stands for.

    Drawn systematically: the chances are laid end to end in ``order`` and an item is drawn whose stretch holds one of
    start, start + 1, ..; starts that are spread evenly over chunks draw every item evenly over them.
    """
    if len(live) <= most:
        return live, np.ones(len(live), np.float32)
    chance = np.minimum(most * (0.5 * shown / shown.sum() + 0.5 / len(live)), 1)
    row = np.argsort(order)
    until = np.cumsum(chance[row]) + start
    drawn = np.sort(row[np.floor(until) > np.floor(until - chance[row])])
    return live[drawn], (1 / chance[drawn]).astype(np.float32)


def _chunk(plan: Plan, at: Ints, candidates: Ints, weight: Floats) -> Chunk:
    items = plan.slates.items[at]
    place = np.searchsorted(candidates, items)
    found = candidates[np.minimum(place, len(candidates) - 1)] == items
    return Chunk(
        at,
        torch.from_numpy(plan.slots.state[at]),
        torch.from_numpy(plan.slots.liking[at]),
        torch.from_numpy(items),
        torch.from_numpy(candidates),
        torch.from_numpy(weight),
        torch.from_numpy(np.where(found, place, -1)),
    )


def slots_live(slates: Slates, at: Ints) -> Doubles:
    """(items,) slots on the days each item was live."""
    by_day = np.bincount(slates.day[at], (slates.items[at] >= 0).sum(axis=1), minlength=slates.days)
    until = np.r_[0.0, np.cumsum(by_day)]
    return until[slates.last + 1] - until[slates.first]
