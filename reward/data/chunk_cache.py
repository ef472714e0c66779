"""What was made of chunks of users, kept for the next pass over them where memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from reward.data.prepared import UserRows

T = TypeVar("T")


class ChunkCache(Generic[T]):
    """A function of a chunk of users that is not computed twice.

    Args:
        make: the function.
        rows: results are kept until their chunks have this many rows together; those of the others are made anew at
            each call. A log of one chunk is read once, one of many in bounded memory.
    """

    def __init__(self, make: Callable[[UserRows], T], rows: int):
        self._make, self._left = make, rows
        self._found: dict[tuple[int, int], T] = {}

    def __call__(self, users: UserRows) -> T:
        """What the function makes of a chunk."""
        key = (users.first, users.last)
        if key in self._found:
            return self._found[key]
        made = self._make(users)
        if len(users) <= self._left:
            self._left -= len(users)
            self._found[key] = made
        return made
