"""What a user had seen and answered before a moment: counts and sums over earlier events, at any moment of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reward.effects.residuals import Doubles, Ints

_FURTHEST = 600.0  # e-folds between the first and the last event of a key, beyond which counts of the first are lost


@dataclass(frozen=True)
class Counts:
    """Exponentially forgotten counts of the events of each key, before any moment.

    Attributes:
        times: (distinct,) moments of events, ascending, days since 1970.
        place: (n,) key and rank of the moment of each event as one number, ascending.
        key: (n,) keys in that order.
        grown: (spans, n) Σ e^(t / span) over the key's events up to and with this one, t since the first event of all.
        spans_days: time in which an event is forgotten to 1/e, for each count.
    """

    times: Doubles
    place: Ints
    key: Ints
    grown: Doubles
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
        sorted_key, since = key[order], time[order] - times[:1]
        first = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]][: len(key)])
        grown = np.empty((len(spans_days), len(key)))
        for row, span in enumerate(spans_days):
            grown[row] = _running(np.exp(np.minimum(since / span, _FURTHEST)), first)
        return cls(times, place[order], sorted_key, grown, tuple(spans_days))

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
        since = time[known] - self.times[0]
        for row, span in enumerate(self.spans_days):
            out[known, row] = self.grown[row, at[known]] * np.exp(-np.minimum(since / span, _FURTHEST))
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


def _running(values: Doubles, first: Ints) -> Doubles:
    """Running sums that begin anew at each of ``first``; none is the difference of two larger ones."""
    length = np.diff(np.r_[first, len(values)])
    place, out, reach = np.arange(len(values)) - np.repeat(first, length), values.copy(), 1
    while reach < int(length.max(initial=0)):  # Hillis & Steele's scan: each pass doubles what a sum covers
        later = np.flatnonzero(place >= reach)
        out[later] += out[later - reach]
        reach *= 2
    return out
