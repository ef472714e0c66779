"""Rows kept for `solve`: chunks in the order of the log, whatever the order in which they were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Gathered(Generic[T]):
    """A state that holds what each chunk of users gave, see `reward.statistics.sums`.

    Attributes:
        parts: the place of each chunk's first row among all of the log's, and what the chunk gave.
    """

    parts: tuple[tuple[int, T], ...]

    @classmethod
    def of(cls, first: int, part: T) -> Gathered[T]:
        """What one chunk gives."""
        return cls(((first, part),))

    def __add__(self, other: Gathered[T]) -> Gathered[T]:
        return Gathered(self.parts + other.parts)

    @property
    def first(self) -> list[int]:
        """Place of the first row of each chunk, ascending."""
        return sorted(place for place, _ in self.parts)

    @property
    def in_order(self) -> list[T]:
        """What the chunks gave, in the order of the log."""
        return [part for _, part in sorted(self.parts, key=lambda each: each[0])]
