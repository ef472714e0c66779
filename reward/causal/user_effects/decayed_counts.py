"""What a user had seen and answered before a moment: counts and sums over earlier events, at any moment of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reward.arrays import Doubles, Ints


@dataclass(frozen=True)
class Counts:
    """Exponentially forgotten counts of the events of each key, before any moment.

    Attributes:
        times: (distinct,) moments of events, ascending, days since 1970.
        place: (n,) key and rank of the moment of each event as one number, ascending.
        key: (n,) keys in that order.
        count: (spans, n) Σ e^(−t / span) over the key's events up to and with this one, t the days since each.
        spans_days: time in which an event is forgotten to 1/e, for each count.
    """

    times: Doubles
    place: Ints
    key: Ints
    count: Doubles
    spans_days: tuple[float, ...]

    @classmethod
    def of(cls, key: Ints, time: Doubles, spans_days: Sequence[float]) -> Counts:
        """Counts of events.

        Args:
            key: (n,) from 0, of what is counted.
            time: (n,) days since 1970.
            spans_days: see above.
        """
        times, rank = np.unique(time, return_inverse=True)
        place = key * (len(times) + 1) + rank
        order = np.argsort(place, kind="stable")
        sorted_key = key[order]
        first = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]][: len(key)])
        ones = np.ones(len(key))
        count = [decayed(ones, time[order], first, span) for span in spans_days]
        return cls(times, place[order], sorted_key, np.stack(count), tuple(spans_days))

    @cached_property
    def keys(self) -> Ints:
        """What is counted, ascending."""
        return np.unique(self.key)

    def before(self, key: Ints, time: Doubles) -> Doubles:
        """(m, spans) counts of each key before ``time``."""
        out = np.zeros((len(key), len(self.spans_days)))
        if not len(self.key):
            return out
        key = key.astype(np.int64)  # narrower codes of many would overflow
        at = np.searchsorted(self.place, key * (len(self.times) + 1) + np.searchsorted(self.times, time)) - 1
        known = np.flatnonzero((at >= 0) & (self.key[at] == key))
        since = time[known] - self.times[self.place[at[known]] % (len(self.times) + 1)]
        for row, span in enumerate(self.spans_days):
            out[known, row] = self.count[row, at[known]] * np.exp(-since / span)
        return out


@dataclass(frozen=True)
class Sums:
    """Sums over a user's earlier events, before any moment.

    Attributes:
        times: see `Counts`.
        place: (n,) user and rank of the moment of each event as one number, ascending.
        total: (n + 1, columns) sums over all events before each, of whichever user.
        begin: (users,) first event of each user.
    """

    times: Doubles
    place: Ints
    total: Doubles
    begin: Ints

    @classmethod
    def of(cls, user: Ints, time: Doubles, values: Doubles, users: int) -> Sums:
        """Sums of ``values``, (n, columns), of events sorted by user and time."""
        times, rank = np.unique(time, return_inverse=True)
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return cls(times, user * (len(times) + 1) + rank, total, np.searchsorted(user, np.arange(users)))

    def before(self, user: Ints, time: Doubles) -> Doubles:
        """(m, columns) sums of each user's events before ``time``."""
        user = user.astype(np.int64)  # see `Counts.before`
        at = np.searchsorted(self.place, user * (len(self.times) + 1) + np.searchsorted(self.times, time))
        return self.total[at] - self.total[self.begin[user]]


def decayed(values: Doubles, time: Doubles, first: Ints, span: float) -> Doubles:
    """(n,) running sums that begin anew at each of ``first``, in which what is t old counts e^(−t / span) times.

    None is the difference of two larger ones, and none grows with the time that a log spans.

    Args:
        values: (n,) what is summed.
        time: (n,) ascending from one of ``first`` to the next.
        first: (keys,) places at which a key begins, ascending from 0.
        span: in which a value falls to 1/e.
    """
    length = np.diff(np.r_[first, len(values)])
    place, out, reach = np.arange(len(values)) - np.repeat(first, length), values.copy(), 1
    while reach < int(length.max(initial=0)):  # Hillis & Steele's scan: each pass doubles what a sum covers
        later = np.flatnonzero(place >= reach)
        out[later] += out[later - reach] * np.exp((time[later - reach] - time[later]) / span)
        reach *= 2
    return out
