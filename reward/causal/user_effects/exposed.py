"""Exposures as the personal part adds them up: some of a log's users at a time, and what was shown on each day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.user_state import Events
from reward.statistics.gathered import Gathered


@dataclass(frozen=True)
class ExposedUsers:
    """n exposures, all that some of a log's users had, sorted by user and time.

    Attributes:
        first: place of the first of them among all exposures of the log in this order.
        events: n of them; users have the codes that they have in the whole log.
        slate: (n,) when the slate of each was put together, days since 1970.
        day: (n,) local day, since 1970-01-01.
        fold: (n,) cross-fitting fold of the user.
        weight: (n,) under which what is shown is drawn as any exposure of the day is.
        value: (n,) effect of the day, days of the outcome.
    """

    first: int
    events: Events
    slate: Doubles
    day: Ints
    fold: Ints
    weight: Doubles
    value: Doubles

    def __len__(self) -> int:
        return len(self.day)

    @property
    def first_user(self) -> int:
        """Code of the first of the users."""
        return int(self.events.user[0])

    def take(self, rows: slice) -> Self:
        """Some of the exposures, one after the other; ``rows`` has a start and a stop."""
        return type(self)(
            self.first + rows.start,
            self.events.take(rows),
            self.slate[rows],
            self.day[rows],
            self.fold[rows],
            self.weight[rows],
            self.value[rows],
        )

    def chunks(self, rows: int) -> Iterator[Self]:
        """Whole users in turn; a chunk has at most ``rows`` exposures, unless one user has more.

        Raises:
            ValueError: ``rows`` is below 1.
        """
        if rows < 1:
            raise ValueError(f"rows of a chunk expected at least 1, got {rows}: give more")
        user, start = self.events.user, 0
        end = np.append(np.flatnonzero(user[1:] != user[:-1]) + 1, len(user))  # of each user
        while start < len(user):
            within = end[np.searchsorted(end, start + 1) :]
            stop = int(within[max(int(np.searchsorted(within, start + rows, side="right")) - 1, 0)])
            yield self.take(slice(start, stop))
            start = stop


class Shown(NamedTuple):
    """n exposures, all that some of a log's users had, sorted by user and time: what was shown, and when.

    Attributes:
        first: place of the first of them among all exposures of the log in this order.
        day: (n,) local day, since 1970-01-01.
        item: (n,) codes.
    """

    first: int
    day: Ints
    item: Ints


@dataclass(frozen=True)
class DailyItems:
    """What a log showed on each of its days.

    Attributes:
        items: codes of items are below it.
        start: the first day, since 1970-01-01.
        begin: (days + 1,) place of the first exposure of each day in ``item``.
        item: (n,) codes of the items shown, by day and on a day in the log's order.
        cell: (cells,) day and item as one number, ascending, of each pair of them that occurs.
        count: (cells,) exposures.
    """

    items: int
    start: int
    begin: Ints
    item: NDArray[np.int32]
    cell: Ints
    count: Ints

    def __len__(self) -> int:
        return len(self.item)

    def share(self, day: Ints, item: Ints) -> Doubles:
        """(n,) share of items among all exposures of days on which they were shown."""
        today = day - self.start
        count = self.count[np.searchsorted(self.cell, today * self.items + item)]
        return np.asarray(count / (self.begin[today + 1] - self.begin[today]), np.float64)

    def drawn(self, day: Ints, place: Doubles) -> Ints:
        """Items drawn from the exposures of days, by numbers in [0, 1) of the same shape."""
        today = day - self.start
        since = self.begin[today]
        return self.item[since + (place * (self.begin[today + 1] - since)).astype(np.int64)].astype(np.int64)


class ItemsByDay:
    """What was shown on each day: 8 bytes an exposure.

    Args:
        items: codes of items are below it.
    """

    def __init__(self, items: int) -> None:
        self._items = items

    def partial(self, shown: Shown) -> Gathered[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Days and items of some users' exposures."""
        return Gathered.of(shown.first, (shown.day.astype(np.int32), shown.item.astype(np.int32)))

    def solve(self, state: Gathered[tuple[NDArray[np.int32], NDArray[np.int32]]]) -> DailyItems:
        """The days of the log."""
        day, item = map(np.concatenate, zip(*state.in_order, strict=True))
        start = int(day.min())
        today = day.astype(np.int64) - start
        order = np.argsort(today, kind="stable")
        begin = np.searchsorted(today[order], np.arange(int(today.max()) + 2))
        cell, count = np.unique(today * self._items + item, return_counts=True)
        return DailyItems(self._items, start, begin, item[order], cell, count)
