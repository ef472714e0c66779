"""Where a user stands before a slot: what the past tells of their taste, and what they have seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.decayed_counts import Counts, Sums
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.preferences import Taste

NEW_CODES = 1 << 16  # codes that items share which the log does not hold
_PRIOR_OPENED = 5.0  # openings expected before a user's own rate counts for half


class Events(NamedTuple):
    """n events as numbers.

    Attributes:
        user: (n,) from 0.
        item: (n,) from 0.
        time: (n,) days since 1970.
        answer: (n, columns) from `Answers.beyond`.
        told: (n, columns) the same.
    """

    user: Ints
    item: Ints
    time: Doubles
    answer: Doubles
    told: Doubles

    def take(self, rows: Ints | slice) -> Events:
        """Some of them."""
        return Events(self.user[rows], self.item[rows], self.time[rows], self.answer[rows], self.told[rows])

    def in_order(self) -> Ints:
        """(n,) their places by user and time."""
        return np.lexsort((self.time, self.user)).astype(np.int64)


class UserProfile(NamedTuple):
    """What the past tells of a user before a slot; every tensor starts with the slots.

    Attributes:
        taste: (n, t) posterior means of what the user likes, feedback by feedback.
        doubt: (n, t) their variances.
        rate: (n,) how much more often than expected the user opened the gate, as a share.
        shown: (n,) exposures so far.
        day: (n,) days since 1970 of the slot.
    """

    taste: Tensor
    doubt: Tensor
    rate: Tensor
    shown: Tensor
    day: Tensor


class ItemState(NamedTuple):
    """What is known of items; every tensor starts with the items' shape.

    Attributes:
        behind: effect once the gate is open, in days.
        variance: of it.
        gate: logit of the share of exposures that open the gate.
        first: days since 1970 of the first exposure.
        group: code of the group, −1 where none is known.
        taste: (..., t) places in the directions in which users' tastes differ.
        code: what tells an item from others in a user's past, see `PersonalizedEffect.codes`.
    """

    behind: Tensor
    variance: Tensor
    gate: Tensor
    first: Tensor
    group: Tensor
    taste: Tensor
    code: Tensor

    def of(self, code: Tensor) -> ItemState:
        """Those of some items."""
        return ItemState(*(part[code] for part in self))

    def to(self, device: torch.device | str) -> ItemState:
        """The same on ``device``."""
        return ItemState(*(part.to(device) for part in self))


class UserState(NamedTuple):
    """Where users stand before slots: who they are and what they have seen; rows ascend and are padded at their ends.

    Attributes:
        person: of n slots.
        items: (n, most items) codes of items seen before.
        counts: (n, most items, spans) decayed counts of their exposures.
        groups: (n, most groups) codes of groups seen before.
        group_counts: (n, most groups) decayed counts of their exposures.
    """

    person: UserProfile
    items: Tensor
    counts: Tensor
    groups: Tensor
    group_counts: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> UserState:
        """``change`` of every tensor."""
        return UserState(UserProfile(*map(change, self.person)), *map(change, self[1:]))

    def seen(self, facts: ItemState) -> tuple[Tensor, Tensor]:
        """(n, candidates, spans) counts of candidates and (n, candidates) of their groups, see `PersonalizedEffect`."""
        n = len(self.items)
        at, known = _found(self.items, facts.code.expand(n, -1))
        own = self.counts.gather(1, at.unsqueeze(-1).expand(-1, -1, self.counts.shape[-1])) * known.unsqueeze(-1)
        at, known = _found(self.groups, facts.group.expand(n, -1))
        return own, self.group_counts.gather(1, at) * known


def _found(rows: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Places of ``wanted`` (n, k) in ascending ``rows`` (n, length), and whether they are there."""
    at = torch.searchsorted(rows, wanted.contiguous()).clamp_max(rows.shape[1] - 1)
    return at, rows.gather(1, at) == wanted


@dataclass(frozen=True)
class UserHistory:
    """What users' events tell of any later moment.

    Attributes:
        item_counts, group_counts: of pairs of user and item, of user and group.
        sums: over a user's answers.
        span: codes of items and of groups are below it.
        tastes: one for each column of answers.
    """

    item_counts: Counts
    group_counts: Counts
    sums: Sums
    span: int
    tastes: tuple[Taste, ...]

    @classmethod
    def of(
        cls,
        events: Events,
        *,
        users: int,
        answers: Answers,
        tastes: tuple[Taste, ...],
        facts: ItemState,
        spans_days: Sequence[float],
    ) -> UserHistory:
        """The past of events sorted by user and time.

        Args:
            events: n of them.
            users: how many there are.
            answers: as in `PersonalizedEffect`.
            tastes: the same.
            facts: the same.
            spans_days: the same.
        """
        user, item, time, answer, told = events
        groups, vectors = facts.group.numpy(), facts.taste.numpy()
        row, span = np.minimum(item, len(groups) - 1), len(groups) + NEW_CODES
        liked = np.repeat(answer, [len(taste.prior) for taste in tastes], axis=1) * vectors[row]
        opened = [answer[:, :1], answers.mean[row, :1]] if answers.gate is not None else [np.zeros((len(user), 2))]
        sums = Sums.of(user, time, np.concatenate([liked, told, *opened, np.ones((len(user), 1))], axis=1), users)
        kin = groups[row]
        single = [spans_days[middle(len(spans_days))]]
        grouped = np.flatnonzero(kin >= 0)
        return cls(
            Counts.of(user * span + item, time, spans_days),
            Counts.of(user[grouped] * span + kin[grouped], time[grouped], single),
            sums,
            span,
            tastes,
        )

    def person(self, user: Ints, time: Doubles) -> UserProfile:
        """What is known of users before moments, (m,) each."""
        sums = self.sums.before(user, time)
        width = sum(len(taste.prior) for taste in self.tastes)
        means, doubts, at = [np.zeros((len(user), 0))], [np.zeros((len(user), 0))], 0
        for column, taste in enumerate(self.tastes):
            count = sums[:, width + column]
            means.append(taste.mean(sums[:, at : at + len(taste.prior)], count))
            doubts.append(taste.variance(count))
            at += len(taste.prior)
        more, expected, shown = sums[:, -3:].T
        told = np.concatenate(means, axis=1), np.concatenate(doubts, axis=1), more / (expected + _PRIOR_OPENED)
        return UserProfile(*map(torch.from_numpy, (*told, shown.copy(), time)))

    def seen(self, user: Ints, item: Ints, group: Ints, time: Doubles) -> tuple[Tensor, Tensor]:
        """(m, spans) counts of items in the users' past and (m,) of their groups, as `UserState.seen` has them."""
        user = user.astype(np.int64)  # narrower codes of many would overflow
        own = self.item_counts.before(user * self.span + item, time)
        kin = self.group_counts.before(user * self.span + group, time)[:, 0]
        return torch.from_numpy(own), torch.from_numpy(np.where(group < 0, 0, kin))

    def state(self, user: Ints, time: Doubles) -> UserState:
        """Where users stand at moments, (m,) each."""
        groups, kin = self._held(self.group_counts, user, time)
        return UserState(self.person(user, time), *self._held(self.item_counts, user, time), groups, kin[..., 0])

    def _held(self, counts: Counts, user: Ints, time: Doubles) -> tuple[Tensor, Tensor]:
        """(m, length) codes that users have counts of, ascending, and (m, length, spans) these."""
        keys = counts.keys
        begin, end = (np.searchsorted(keys, (user.astype(np.int64) + one) * self.span) for one in (0, 1))
        place = begin[:, None] + np.arange(max(int((end - begin).max(initial=0)), 1))
        inside = place < end[:, None]
        code, held = np.full(place.shape, np.iinfo(np.int64).max), np.zeros((*place.shape, len(counts.spans_days)))
        code[inside] = keys[place[inside]] % self.span
        held[inside] = counts.before(keys[place[inside]], np.broadcast_to(time[:, None], place.shape)[inside])
        return torch.from_numpy(code), torch.from_numpy(held)


def middle(spans: int) -> int:
    """Which of the spans speaks for what is told only once."""
    return spans // 2
