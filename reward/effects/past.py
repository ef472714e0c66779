"""What a user had seen and answered before a moment: counts and sums over earlier events, at any moment of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.effects.residuals import Doubles, Ints

_SECONDS = 86_400.0
_FURTHEST = 600.0  # e-folds between the first and the last event of a key, beyond which counts of the first are lost


@dataclass(frozen=True)
class Counts:
    """Exponentially forgotten counts of the events of each key, before any moment.

    Attributes:
        place: (n,) key and second of each event as one number, ascending.
        key: (n,) keys in that order.
        grown: (spans, n) Σ e^(t / span) over the key's events up to and with this one.
        spans_days: time in which an event is forgotten to 1/e, for each count.
        start: days since 1970 of the first event.
        seconds: seconds that the events cover, and one more.
    """

    place: Ints
    key: Ints
    grown: Doubles
    spans_days: tuple[float, ...]
    start: float
    seconds: int

    @classmethod
    def of(cls, key: Ints, time: Doubles, spans_days: Sequence[float]) -> Counts:
        """Counts of events.

        Args:
            key: (n,) from 0, of what is counted.
            time: (n,) days since 1970.
            spans_days: see above.
        """
        start = float(time.min(initial=np.inf)) if len(time) else 0.0
        second = _second(time, start)
        seconds = int(second.max(initial=0)) + 2
        place = key * seconds + second
        order = np.argsort(place, kind="stable")
        sorted_key, since = key[order], (time - start)[order]
        first = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]][: len(key)])
        length = np.diff(np.r_[first, len(key)])
        grown = np.empty((len(spans_days), len(key)))
        for row, span in enumerate(spans_days):
            grown[row] = _running(np.exp(np.minimum(since / span, _FURTHEST)), first, length)
        return cls(place[order], sorted_key, grown, tuple(spans_days), start, seconds)

    def before(self, key: Ints, time: Doubles) -> Doubles:
        """(m, spans) counts of each key in the seconds before ``time``."""
        out = np.zeros((len(key), len(self.spans_days)))
        if not len(self.key):
            return out
        second = np.clip(_second(time, self.start), 0, self.seconds - 1)
        at = np.searchsorted(self.place, key * self.seconds + second) - 1
        known = np.flatnonzero((at >= 0) & (self.key[at] == key))
        since = time[known] - self.start
        for row, span in enumerate(self.spans_days):
            out[known, row] = self.grown[row, at[known]] * np.exp(-np.minimum(since / span, _FURTHEST))
        return out


@dataclass(frozen=True)
class Sums:
    """Sums over a user's earlier events, before any moment.

    Attributes:
        place: (n,) user and second of each event as one number, ascending.
        total: (n + 1, columns) sums over all events before each, of whichever user.
        start, seconds: see `Counts`.
        begin: (users,) first event of each user.
    """

    place: Ints
    total: Doubles
    start: float
    seconds: int
    begin: Ints

    @classmethod
    def of(cls, user: Ints, time: Doubles, values: Doubles, users: int) -> Sums:
        """Sums of ``values``, (n, columns), of events sorted by user and time."""
        start = float(time.min(initial=np.inf)) if len(time) else 0.0
        second = _second(time, start)
        seconds = int(second.max(initial=0)) + 2
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return cls(user * seconds + second, total, start, seconds, np.searchsorted(user, np.arange(users)))

    def before(self, user: Ints, time: Doubles) -> Doubles:
        """(m, columns) sums of each user's events in the seconds before ``time``."""
        second = np.clip(_second(time, self.start), 0, self.seconds - 1)
        at = np.searchsorted(self.place, user * self.seconds + second)
        return self.total[at] - self.total[self.begin[user]]


def _second(time: Doubles, start: float) -> Ints:
    """Whole seconds between whole seconds: what happens within one is taken to be at once."""
    return (np.floor(time * _SECONDS + 1e-3) - np.floor(start * _SECONDS + 1e-3)).astype(np.int64)


def _running(values: Doubles, first: Ints, length: Ints) -> Doubles:
    """Running sums that begin anew at each of ``first``; no sum is the difference of two larger ones."""
    out = values.copy()
    span = 1
    place = np.arange(len(values)) - np.repeat(first, length)
    longest = int(length.max(initial=1))
    while span < longest:  # Hillis & Steele's scan: after each pass a sum covers twice as many
        reach = np.flatnonzero(place >= span)
        out[reach] += out[reach - span]
        span *= 2
    return out
