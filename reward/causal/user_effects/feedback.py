"""Feedback read as answers: what opens the gate, and what is told behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints

_PRIOR_ANSWERS = 20.0  # answers before an item's own mean counts for half
_PLAIN = 100.0  # up to which an answer counts as it is


def tempered(values: Doubles) -> Doubles:
    """Answers as they are up to 100, and beyond as 100 (1 + ln(x / 100)): no answer outweighs all others.

    >>> tempered(np.array([0.0, 5.0, 100.0, 271.828182846])).round(3).tolist()
    [0.0, 5.0, 100.0, 200.0]
    """
    return np.where(values > _PLAIN, _PLAIN * (1 + np.log(np.maximum(values, _PLAIN) / _PLAIN)), values)


@dataclass(frozen=True)
class Answers:
    """How feedback is read.

    Attributes:
        feedback: columns, that of the gate first where there is one.
        gate: feedback without which an exposure does nothing; None: there is none.
        rare: columns where 0 means that nothing was asked.
        flags: columns that are only ever 0 or 1; others enter as log(1 + x).
        mean: (items + 1, columns) mean answer to each item, shrunk to that of all items, which stands last.
        unopened: what an exposure that does not open the gate does, as a share of one that does.
    """

    feedback: tuple[str, ...]
    gate: str | None
    rare: tuple[str, ...]
    flags: tuple[str, ...]
    mean: Doubles
    unopened: float = 0.0

    @classmethod
    def fit(
        cls,
        events: pl.DataFrame,
        item: Ints,
        items: int,
        *,
        feedback: Sequence[str],
        flags: Sequence[str],
        gate: str | None,
        rare: Sequence[str],
        unopened: float = 0.0,
    ) -> Answers:
        """Mean answers of a log's events; ``item`` (events,) from 0, ``flags`` the log's feedback that is 0 or 1."""
        unfitted = cls.unfitted(items, feedback=feedback, flags=flags, gate=gate, rare=rare)
        means = MeanFeedback(replace(unfitted, unopened=unopened))
        return means.solve(means.partial((events, item)))

    @classmethod
    def unfitted(
        cls, items: int, *, feedback: Sequence[str], flags: Sequence[str], gate: str | None, rare: Sequence[str]
    ) -> Self:
        """How feedback is read, with means of 0, for `MeanFeedback`."""
        names = (*([] if gate is None else [gate]), *(name for name in feedback if name != gate))
        return cls(names, gate, tuple(rare), tuple(flags), np.zeros((items + 1, len(names))))

    def read(self, events: pl.DataFrame) -> tuple[Doubles, Doubles]:
        """(events, columns) values, 0 where nothing was told, and 1 where something was."""
        value, told = (np.ones((len(events), len(self.feedback))) for _ in range(2))
        opened = np.ones(len(events)) if self.gate is None else (events[self.gate].to_numpy() > 0).astype(np.float64)
        for column, name in enumerate(self.feedback):
            if name == self.gate:
                value[:, column] = opened
                continue
            raw = events[name].to_numpy().astype(np.float64)
            told[:, column] = opened * (raw > 0) if name in self.rare else opened
            known = tempered(raw) if name in self.flags or name in self.rare else np.log1p(raw)
            value[:, column] = told[:, column] * known
        return value, told

    def beyond(self, events: pl.DataFrame, item: Ints) -> tuple[Doubles, Doubles]:
        """(events, columns) answers less what all users answer to the item, and 1 where something was told."""
        value, told = self.read(events)
        return value - told * self.mean[item], told


@dataclass(frozen=True)
class FeedbackSums:
    """Answers of some users; a state that adds.

    Attributes:
        count: (items, columns) how many there are.
        total: (items, columns) their sum.
    """

    count: Doubles
    total: Doubles

    def __add__(self, other: FeedbackSums) -> FeedbackSums:
        return FeedbackSums(self.count + other.count, self.total + other.total)


@dataclass(frozen=True)
class MeanFeedback:
    """Mean answers to items, as a sum over users.

    Attributes:
        unfitted: how feedback is read.
    """

    unfitted: Answers

    def partial(self, users: tuple[pl.DataFrame, Ints]) -> FeedbackSums:
        """Sums over some users' events, of which the items have codes from 0."""
        events, item = users
        items = len(self.unfitted.mean) - 1
        value, told = self.unfitted.read(events)
        return FeedbackSums(_by_item(told, item, items), _by_item(value, item, items))

    def solve(self, state: FeedbackSums) -> Answers:
        """The means, each item's shrunk to that of all."""
        count, total = state.count, state.total
        level = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
        mean = (total + _PRIOR_ANSWERS * level) / (count + _PRIOR_ANSWERS)
        return replace(self.unfitted, mean=np.concatenate([mean, level[None]]))


def _by_item(values: Doubles, item: Ints, items: int) -> Doubles:
    """(items, columns) sums of (events, columns)."""
    out = np.zeros((items, values.shape[1]))
    for column, part in enumerate(values.T):
        out[:, column] = np.bincount(item, part, items)
    return out
