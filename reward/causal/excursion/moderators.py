"""What a user's past says before a slot, as a few numbers that an effect may depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.decayed_counts import Counts, Sums
from reward.columns import TIMESTAMP, USER
from reward.data.days import days_since_1970

_FURTHEST = 5.0  # standard deviations from the mean at which a number stops to count


class ModeratorState(NamedTuple):
    """What the past says of users before n slots.

    Attributes:
        moderators: (n, k) standardised.
    """

    moderators: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> ModeratorState:
        """``change`` of the tensor."""
        return ModeratorState(change(self.moderators))


@dataclass(frozen=True)
class Moderators:
    """How a user's past is read: exposures so far and lately, and the mean of each feedback.

    Attributes:
        feedback: columns, each as log(1 + x).
        usual: (feedback,) their means over the log.
        prior_answers: exposures before a user's own mean counts for half.
        memory_days: time in which an exposure is forgotten to 1/e, for those of late.
        centre, width: (k,) what the numbers are standardised by; a width of 1 where one does not vary.
    """

    feedback: tuple[str, ...]
    usual: Doubles
    prior_answers: float
    memory_days: float
    centre: Doubles
    width: Doubles

    @property
    def size(self) -> int:
        """K."""
        return 2 + len(self.feedback)

    @classmethod
    def fit(
        cls,
        events: pl.DataFrame,
        users: pl.Series,
        user: Ints,
        time: Doubles,
        *,
        feedback: Sequence[str],
        prior_answers: float,
        memory_days: float,
    ) -> Moderators:
        """The moderators of a log.

        Args:
            events: the checked log's.
            users: their ids, ascending.
            user: (events,) places in ``users``.
            time: (events,) moments of their slots, days since 1970.
            feedback: columns to read.
            prior_answers: see above.
            memory_days: see above.
        """
        usual = np.array([_answer(events, name).mean() for name in feedback], np.float64)
        size = 2 + len(feedback)
        plain = cls(tuple(feedback), usual, prior_answers, memory_days, np.zeros(size), np.ones(size))
        raw = plain.history(events, users).raw(user, time)
        width = raw.std(axis=0)
        centre = raw.mean(axis=0)
        return cls(plain.feedback, usual, prior_answers, memory_days, centre, np.where(width > 1e-9, width, 1.0))

    def history(self, events: pl.DataFrame, users: pl.Series) -> ModeratorHistory:
        """The past of ``users``, ids in ascending order, in their checked events."""
        user = users.search_sorted(events[USER]).to_numpy().astype(np.int64)
        time = days_since_1970(events[TIMESTAMP])
        order = np.lexsort((time, user))
        answers = [_answer(events, name) for name in self.feedback]
        values = np.stack([np.ones(len(events)), *answers], axis=1)[order]
        return ModeratorHistory(
            self,
            Sums.of(user[order], time[order], values, len(users)),
            Counts.of(user, time, [self.memory_days]),
        )


@dataclass(frozen=True)
class ModeratorHistory:
    """Users' events, read once.

    Attributes:
        read_by: what they are read as.
        sums: over a user's earlier exposures: 1 and the feedback.
        recent: decayed counts of each user's exposures.
    """

    read_by: Moderators
    sums: Sums
    recent: Counts

    def raw(self, user: Ints, time: Doubles) -> Doubles:
        """(m, k) numbers of users before moments, not standardised."""
        sums, told = self.sums.before(user, time), self.read_by
        shown = sums[:, :1]
        answers = (sums[:, 1:] + told.prior_answers * told.usual) / (shown + told.prior_answers)
        return np.concatenate([np.log1p(shown), np.log1p(self.recent.before(user, time)), answers], axis=1)

    def state(self, user: Ints, time: Doubles) -> ModeratorState:
        """Of users at moments, (m,) each."""
        found = (self.raw(user, time) - self.read_by.centre) / self.read_by.width
        return ModeratorState(torch.from_numpy(np.clip(found, -_FURTHEST, _FURTHEST)))


def _answer(events: pl.DataFrame, name: str) -> Doubles:
    return np.log1p(events[name].to_numpy().astype(np.float64))
