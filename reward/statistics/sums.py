"""Statistics of a log as sums over users: `partial` of some users' rows, states that add, and `solve`.

A statistic is a function of one user's rows, a sum over users, and a function of the sum. So a log may be read in
chunks of whole users, in any order and in any number of places, and the result is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Generic, Protocol, Self, TypeVar

Users = TypeVar("Users", contravariant=True)
Result = TypeVar("Result", covariant=True)
S = TypeVar("S", bound="State")
U = TypeVar("U")
R = TypeVar("R")


class State(Protocol):
    """What some users add to a statistic. Addition is associative and commutative, up to rounding."""

    def __add__(self, other: Self, /) -> Self:
        """What the users of both add."""


@dataclass(frozen=True)
class Totals:
    """A state of which every field is a number or an array, and adds to that of the other."""

    def __add__(self, other: Self, /) -> Self:
        """The sum, field by field."""
        return type(self)(*(getattr(self, it.name) + getattr(other, it.name) for it in fields(self)))


@dataclass(frozen=True)
class States(Generic[S]):
    """Several states, of which each adds to that at its place.

    Attributes:
        states: of these.
    """

    states: tuple[S, ...]

    def __add__(self, other: States[S], /) -> States[S]:
        """The sum at each place."""
        return States(tuple(one + two for one, two in zip(self.states, other.states, strict=True)))


class Estimator(Protocol[Users, S, Result]):
    """A statistic of a log.

    Source: Bird, Gibbons, Mehner, Voigtländer and Schrijvers, "Understanding idiomatic traversals backwards and
    forwards" (2013) for folds over a monoid; the three steps are those of combiners in MapReduce and Apache Beam.
    """

    def partial(self, users: Users, /) -> S:
        """What these users add: a chunk of whole users, each of which is in one chunk alone."""

    def solve(self, state: S, /) -> Result:
        """The statistic of all users that were added up."""


def total(states: Iterable[S]) -> S:
    """The sum of states.

    Raises:
        ValueError: there is none.
    """
    found = iter(states)
    first = next(found, None)
    if first is None:
        raise ValueError("expected at least one chunk of users, got none: give a log that has rows")
    return reduce(add, found, first)


def fold(estimator: Estimator[U, S, R], chunks: Iterable[U]) -> R:
    """The statistic of all chunks; one of them and its state are held at a time."""
    return estimator.solve(total(estimator.partial(users) for users in chunks))


@dataclass(frozen=True)
class Chunks(Generic[U]):
    """Rows of chunks of users, put together once and at the end."""

    rows: tuple[U, ...]

    def __add__(self, other: Chunks[U]) -> Chunks[U]:
        """The chunks of both."""
        return Chunks(self.rows + other.rows)
