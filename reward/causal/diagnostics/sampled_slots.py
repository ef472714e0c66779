"""Slots of a log with the rewards of what was shown and of what could have been: what a ranker is judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.policy_shift import Slots
from reward.rewards import Rewards

_SLATES_AT_ONCE = 2_000

_Past = TypeVar("_Past")


class OrderedExposures(NamedTuple):
    """n exposures by user and time.

    Attributes:
        user: (n,) from 0, ascending.
        item: (n,) codes.
        slate: (n,) when the slate of each was put together, days since 1970.
        day: (n,) from 0.
        fold: (users,).
        weight: (n,) under which what is shown is drawn as any exposure of the day is.
        value: (n,) days gained.
    """

    user: Ints
    item: Ints
    slate: Doubles
    day: Ints
    fold: Ints
    weight: Doubles
    value: Doubles


def sampled_slots(
    shown: OrderedExposures,
    pieces: Iterable[tuple[slice, _Past]],
    rewards: Callable[[int, _Past, Ints, Doubles, Ints], Rewards],
    rng: np.random.Generator,
    *,
    slates: int,
    draws: int,
) -> Slots:
    """Slots of some of the slates, with rewards of what was shown and of items drawn beside it.

    Args:
        shown: the log.
        pieces: rows of whole users, in order and all of them, with their past.
        rewards: of a fold, made without it: given the past, (m,) users, (m,) moments and (m, k) items.
        rng: draws slates and items.
        slates: about how many are taken.
        draws: items that each could have held beside those shown, from the day's exposures.
    """
    begin = np.flatnonzero(np.r_[True, (np.diff(shown.user) != 0) | (np.diff(shown.slate) != 0)])
    length = np.diff(np.append(begin, len(shown.slate)))
    taken = np.flatnonzero(rng.random(len(begin)) < slates / len(begin))
    fold, day = shown.fold[shown.user[begin]], shown.day[begin]
    by_day = shown.item[np.argsort(shown.day, kind="stable")]
    since = np.searchsorted(np.sort(shown.day), np.arange(int(day.max()) + 2))
    order: list[Ints] = []
    told: list[Rewards] = []
    others: list[Rewards] = []
    for rows, past in pieces:
        mine = taken[slice(*np.searchsorted(begin[taken], [rows.start, rows.stop]))]
        for some in _of_one_fold(mine, fold[mine]):
            today = day[some, None]
            place = rng.random((len(some), draws)) * (since[today + 1] - since[today])
            drawn = by_day[since[today] + place.astype(np.int64)]
            row, _ = _spans(begin[some], length[some])
            for at, item, out in ((row, shown.item[row, None], told), (begin[some], drawn, others)):
                out.append(rewards(int(fold[some[0]]), past, shown.user[at], shown.slate[at], item))
            order.append(some)
    row, slate = _spans(begin[np.concatenate(order)], length[np.concatenate(order)])
    mean, std = (torch.cat(part).numpy() for part in zip(*told, strict=True))
    others_mean, others_std = (torch.cat(part).numpy() for part in zip(*others, strict=True))
    return Slots(
        mean=mean[:, 0],
        std=std[:, 0],
        others_mean=others_mean,
        others_std=others_std,
        slate=slate,
        user=shown.user[row],
        weight=shown.weight[row],
        value=shown.value[row],
    )


def _of_one_fold(slates: Ints, fold: Ints) -> Iterator[Ints]:
    """Slates of one fold, some at a time."""
    for one in np.unique(fold):
        mine = slates[fold == one]
        yield from np.array_split(mine, -(-len(mine) // _SLATES_AT_ONCE))


def _spans(begin: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Rows of spans, one span after the other, and which span each is of."""
    which = np.repeat(np.arange(len(begin)), length)
    return begin[which] + np.arange(len(which)) - (np.cumsum(length) - length)[which], which
