"""What feedback may be: what a log allows for the roles that `choosing` compares, as sums over users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import FeedbackRows
from reward.statistics.sums import States, Totals

_OPENED = (0.01, 0.99)  # share of exposures that a gate may open
_RARE = 0.2  # share of exposures that answer, below which the others may not have been asked
_ANSWERS = (3, 21)  # different answers that a scale may have
_MOST_GATES = 8


class Opened(NamedTuple):
    """Where feedback is above 0.

    Attributes:
        names: of the feedback.
        rows: exposures.
        together: (feedback, feedback) rows in which both are above 0.
    """

    names: tuple[str, ...]
    rows: int
    together: Ints

    def gates(self, first: Sequence[str]) -> Iterator[str]:
        """Feedback that opens some exposures and not nearly all; of those that open the same ones the first.

        Args:
            first: names that are tried before the others.
        """
        taken: list[int] = []
        for name in dict.fromkeys([*first, *self.names]):
            at = self.names.index(name)
            alone = self.together[at, at]
            same = any(alone == self.together[at, it] == self.together[it, it] for it in taken)
            if _OPENED[0] <= alone / max(self.rows, 1) <= _OPENED[1] and not same and len(taken) < _MOST_GATES:
                taken.append(at)
                yield name


@dataclass(frozen=True)
class _Together(Totals):
    rows: int
    together: Ints


@dataclass(frozen=True)
class Openings:
    """`Opened` of a log's feedback."""

    feedback: Sequence[str]

    def partial(self, users: FeedbackRows) -> _Together:
        """Of a chunk."""
        above = [answers > 0 for answers in users.read(self.feedback).values()]
        together = [[int((one & other).sum()) for other in above] for one in above]
        size = len(self.feedback)
        return _Together(len(users.item), np.array(together, np.int64).reshape(size, size))

    def solve(self, state: _Together) -> Opened:
        """Of all chunks."""
        return Opened(tuple(self.feedback), state.rows, state.together)


@dataclass(frozen=True)
class _Answers:
    """Answers above 0 of one column: how many rows, and the lowest different ones, one more than a scale may have."""

    count: int
    lowest: Doubles

    @classmethod
    def of(cls, answers: Doubles) -> _Answers:
        return cls(len(answers), np.unique(answers)[: _ANSWERS[1] + 1])

    def __add__(self, other: _Answers, /) -> _Answers:
        lowest = np.union1d(self.lowest, other.lowest)[: _ANSWERS[1] + 1]
        return _Answers(self.count + other.count, lowest)


@dataclass(frozen=True)
class _Asked(Totals):
    """Rows that opened the gate, and what was answered in them."""

    rows: int
    answers: States[_Answers]


@dataclass(frozen=True)
class RareAnswers:
    """Feedback that few exposures answer, and that on a scale of a few values: the others may not have been asked.

    Attributes:
        feedback: columns to look at.
        gate: the feedback above 0 in the rows to look at; None: all rows.
    """

    feedback: Sequence[str]
    gate: str | None

    def partial(self, users: FeedbackRows) -> _Asked:
        """Of a chunk."""
        found = users.read([*self.feedback, *([] if self.gate is None else [self.gate])])
        opened = np.ones(len(users.item), np.bool_) if self.gate is None else found[self.gate] > 0
        behind = [found[name][opened] for name in self.feedback]
        return _Asked(int(opened.sum()), States(tuple(_Answers.of(it[it > 0]) for it in behind)))

    def solve(self, state: _Asked) -> list[str]:
        """Names."""
        return [
            name
            for name, it in zip(self.feedback, state.answers.states, strict=True)
            if 0 < it.count <= _RARE * state.rows and _ANSWERS[0] <= len(it.lowest) <= _ANSWERS[1]
        ]


@dataclass(frozen=True)
class _Counts:
    """How often each answer above 0 was given, answers ascending."""

    answer: Doubles
    count: Ints

    def __add__(self, other: _Counts, /) -> _Counts:
        answer, place = np.unique(np.concatenate([self.answer, other.answer]), return_inverse=True)
        count = np.zeros(len(answer), np.int64)
        np.add.at(count, place, np.concatenate([self.count, other.count]))
        return _Counts(answer, count)


@dataclass(frozen=True)
class Scale:
    """Whether answers look like a scale: of a count the lowest is the commonest.

    Attributes:
        name: of the feedback.
    """

    name: str

    def partial(self, users: FeedbackRows) -> _Counts:
        """Of a chunk."""
        answers = users.read([self.name])[self.name]
        return _Counts(*np.unique(answers[answers > 0], return_counts=True))

    def solve(self, state: _Counts) -> bool:
        """Of all chunks."""
        return len(state.answer) > 1 and int(state.count.argmax()) > 0
