"""Kinds of values that a setting may have, each with its bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import isfinite
from typing import Any, Protocol
from zoneinfo import available_timezones


class Kind(Protocol):
    """What a setting may be."""

    def describe(self) -> str:
        """What is expected, in words that follow "expected"."""

    def admits(self, value: Any) -> bool:
        """Whether a value will do."""


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int
    even: bool = False

    def describe(self) -> str:
        """Its bounds."""
        return f"{'an even' if self.even else 'a whole'} number from {self.low} to {self.high}"

    def admits(self, value: Any) -> bool:
        """Not a truth value, and not a number with a fraction."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and not (self.even and value % 2)


@dataclass(frozen=True)
class Real:
    """A finite number from ``low`` to ``high``; ``above`` and ``below``: without the bound itself."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def describe(self) -> str:
        """Its bounds."""
        low = f"{'above' if self.above else 'of at least'} {self.low:g}"
        return f"a number {low} and {'below' if self.below else 'at most'} {self.high:g}"

    def admits(self, value: Any) -> bool:
        """Not a truth value, and not NaN."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            return False
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )


@dataclass(frozen=True)
class Text:
    """A text that is not empty."""

    what: str = "a text"

    def describe(self) -> str:
        """What the text is."""
        return self.what

    def admits(self, value: Any) -> bool:
        """Not a number, which the command line makes of digits."""
        return isinstance(value, str) and bool(value.strip())


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]

    def describe(self) -> str:
        """The values."""
        return f"one of {', '.join(map(str, self.values))}"

    def admits(self, value: Any) -> bool:
        """Of the same type, too: 1 is not true."""
        return any(type(value) is type(it) and value == it for it in self.values)


@dataclass(frozen=True)
class Parsed:
    """A text that can be read."""

    what: str
    read: Callable[[str], Any]

    def describe(self) -> str:
        """What the text is."""
        return self.what

    def admits(self, value: Any) -> bool:
        """Whether reading it fails."""
        try:
            return isinstance(value, str) and self.read(value) is not None
        except (ValueError, OverflowError):
            return False


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind, of which no two are alike unless ``repeated``."""

    kind: Kind
    least: int = 0
    most: int = 1000
    repeated: bool = False
    rising: bool = False

    def describe(self) -> str:
        """What is in it, and how many."""
        size = f"at least {self.least} of them" if self.least else "it may be empty"
        order = ", in rising order" if self.rising else "" if self.repeated else ", no two alike"
        return f"a list, each {self.kind.describe()} ({size}{order})"

    def admits(self, value: Any) -> bool:
        """Whether each of them will do."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        if not self.least <= len(value) <= self.most or not all(map(self.kind.admits, value)):
            return False
        if self.rising:
            return all(one < other for one, other in pairwise(value))
        return self.repeated or len(set(value)) == len(value)


@dataclass(frozen=True)
class Either:
    """Any of some kinds."""

    kinds: tuple[Kind, ...]

    def describe(self) -> str:
        """Each of them."""
        return ", or ".join(kind.describe() for kind in self.kinds)

    def admits(self, value: Any) -> bool:
        """Whether it is of one of them."""
        return any(kind.admits(value) for kind in self.kinds)


@dataclass(frozen=True)
class Nothing:
    """No value at all."""

    def describe(self) -> str:
        """As it is written."""
        return "null"

    def admits(self, value: Any) -> bool:
        """None."""
        return value is None


@dataclass(frozen=True)
class Anything:
    """A value that is checked elsewhere, by whom ``by`` names."""

    by: str

    def describe(self) -> str:
        """Nothing is expected."""
        return "anything"

    def admits(self, value: Any) -> bool:  # noqa: ARG002
        """Yes."""
        return True


@dataclass(frozen=True)
class Values:
    """A mapping from texts to values of one kind."""

    kind: Kind

    def describe(self) -> str:
        """What its values are."""
        return f"names with values, each {self.kind.describe()}"

    def admits(self, value: Any) -> bool:
        """Whether each will do."""
        return isinstance(value, Mapping) and all(map(self.kind.admits, value.values()))


def optional(kind: Kind) -> Either:
    """That kind, or null."""
    return Either((kind, Nothing()))


FLAG = OneOf((True, False))
SHARE = Real(0, 1)
LEVEL = Real(0, 1, above=True, below=True)
COLUMN = Text("the name of a column")
COLUMNS = Either((ListOf(COLUMN), COLUMN))
ZONE = Parsed("the IANA name of a time zone", lambda text: text if text in available_timezones() else None)
MOMENT = Parsed("a date or a moment, ISO 8601", datetime.fromisoformat)
MOST_SEED = 2**32 - 1
SEED = Whole(0, MOST_SEED)
COUNT = Whole(1, 10**9)
DAYS = Whole(1, 3650)
POSITIVE = Real(0, 1e9, above=True)
AT_LEAST_0 = Real(0, 1e9)
Z = Real(0, 30, above=True)  # standard errors
SPANS = ListOf(Real(0, 36500, above=True))
HIDDEN = Whole(1, 4096)
