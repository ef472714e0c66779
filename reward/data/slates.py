"""A log as slates: what was shown together, to whom, on which day, and what the user had done before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Bools, Floats, Ints
from reward.columns import ITEM, POSITION, REQUEST, USER
from reward.data.days import DAY
from reward.data.event_log import EventLog
from reward.data.prepared import PreparedLog, UserRows
from reward.statistics.sums import Totals, fold

HALVES = 2
_LONGEST_SILENCE = 60  # days
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Showings:
    """When some users were shown what: a state of `Live`.

    Attributes:
        days: days on which anything was shown, ascending.
        first: (items,) day of the item's first exposure, by the log's code of items; the largest number where none.
        last: (items,) day of its last; the smallest number where none.
    """

    days: Ints
    first: Ints
    last: Ints

    def __add__(self, other: Showings, /) -> Showings:
        """When the users of both were."""
        first, last = np.minimum(self.first, other.first), np.maximum(self.last, other.last)
        return Showings(np.union1d(self.days, other.days), first, last)


@dataclass(frozen=True)
class Catalogue:
    """The items that a log showed and its calendar: what the slates of all its users share.

    Attributes:
        known: days on which anything was shown, ascending.
        day: the same as days since the first; a stretch of more than 60 days on which nobody was shown anything counts
            as 60, so that a stray row of another decade does not make the log as long.
        code: code of each of the log's items among those that were shown; −1 where it never was.
        item_ids: (items,) the ids that these codes stand for, ascending.
        first: (items,) day of the item's first exposure.
        last: (items,) day of its last: from the first to the last it is live.
    """

    known: Ints
    day: Ints
    code: Ints
    item_ids: pl.Series
    first: Ints
    last: Ints

    @property
    def days(self) -> int:
        """Days from the first exposure of the log to its last."""
        return int(self.day[-1]) + 1

    def live(self, day: int) -> Ints:
        """Codes of the items live on ``day``, ascending."""
        return np.flatnonzero((self.first <= day) & (day <= self.last))

    def days_since_first(self, day: Ints) -> Ints:
        """Known days, in days since the first."""
        return self.day[np.searchsorted(self.known, day)]


@dataclass(frozen=True)
class Live:
    """The catalogue of a log as a sum over users: the first and last day of an item are a minimum and a maximum."""

    items: pl.Series

    def partial(self, users: UserRows, /) -> Showings:
        """When these users were shown what."""
        item, day = users.item, users.day
        first, last = np.full(len(self.items), _NEVER), np.full(len(self.items), -_NEVER)
        np.minimum.at(first, item, day)
        np.maximum.at(last, item, day)
        return Showings(np.unique(day), first, last)

    def solve(self, state: Showings, /) -> Catalogue:
        """The catalogue of all users."""
        silent = np.minimum(np.diff(state.days), _LONGEST_SILENCE)
        shown = state.first < _NEVER
        day = np.append(0, np.cumsum(silent))
        first, last = (day[np.searchsorted(state.days, it[shown])] for it in (state.first, state.last))
        code = np.where(shown, np.cumsum(shown) - 1, -1)
        return Catalogue(state.days, day, code, self.items.filter(pl.Series(shown)), first, last)


@dataclass(frozen=True)
class Slates:
    """The rows of some users of a log by slate, in the log's order; n slates of at most ``size`` rows.

    Attributes:
        user: (n,) place of the user among these users.
        day: (n,) days since the log's first, as `Catalogue` counts them.
        items: (n, size) code of the item at each place, from the top; −1 where the slate is shorter.
        row: (rows,) the slate of each of these users' rows.
        place: (rows,) its place in the slate, from 0.
        users: how many there are.
        catalogue: of the whole log.
    """

    user: Ints
    day: Ints
    items: Ints
    row: Ints
    place: Ints
    users: int
    catalogue: Catalogue

    @property
    def item_ids(self) -> pl.Series:
        """(items,) the ids that the codes stand for, ascending."""
        return self.catalogue.item_ids

    @property
    def first(self) -> Ints:
        """(items,) day of the item's first exposure."""
        return self.catalogue.first

    @property
    def last(self) -> Ints:
        """(items,) day of the item's last exposure."""
        return self.catalogue.last

    @property
    def days(self) -> int:
        """Days from the first exposure of the log to its last."""
        return self.catalogue.days

    @property
    def item(self) -> Ints:
        """(rows,) code of each row's item."""
        return self.items[self.row, self.place]

    @property
    def size(self) -> Ints:
        """(n,) items in each slate."""
        return np.bincount(self.row, minlength=len(self.user))

    def live(self, day: int) -> Ints:
        """Codes of the items live on ``day``, ascending."""
        return self.catalogue.live(day)

    def flat(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values (n, size) of the places, as one a row of these users."""
        return values[self.row, self.place]


def slates_of(log: EventLog | PreparedLog) -> Slates:
    """The slates of all users of a checked log, see `slates_in`."""
    prepared = PreparedLog.of(log)
    return slates_in(prepared.every_user(), fold(Live(prepared.items[ITEM]), prepared.chunks()))


def slates_in(users: UserRows, catalogue: Catalogue) -> Slates:
    """The slates of some users.

    A slate is the rows of one user with one ``request_id``, by ``position``; without ``request_id`` each row is a
    slate of its own. An item that a request holds twice cannot have been drawn without replacement: the second time
    it starts another slate.
    """
    item, day, user = catalogue.code[users.item], catalogue.days_since_first(users.day), users.user - users.first
    names = users.log.events.collect_schema().names()
    if REQUEST in names:
        row, place = _requests(users, POSITION in names)
    else:
        row, place = np.arange(len(users)), np.zeros(len(users), np.int64)
    first = np.flatnonzero(place == 0)
    top = np.empty(len(first), np.int64)
    top[row[first]] = first
    items = np.full((len(top), int(place.max()) + 1), -1, np.int64)
    items[row, place] = item
    return Slates(user[top], day[top], items, row, place, users.last - users.first, catalogue)


def _requests(users: UserRows, ordered: bool) -> tuple[Ints, Ints]:
    """(rows,) the slate of each row, and its place in it."""
    events = users.log.events.select(REQUEST, *([POSITION] if ordered else [])).collect()
    codes = {USER: users.user, ITEM: users.item, DAY: users.day}
    events = events.with_columns(pl.Series(name, code) for name, code in codes.items()).with_row_index("row")
    keys = [USER, DAY, REQUEST]
    again = pl.int_range(pl.len()).over([*keys, ITEM]).alias("again")
    slate = pl.col("row").min().over([*keys, "again"]).rank("dense").cast(pl.Int64) - 1
    row = events.with_columns(again).select(slate).to_series().to_numpy()
    last = np.zeros(len(row), np.int64)
    position = events[POSITION].fill_null(_NEVER).to_numpy() if ordered else last
    order = np.lexsort((position, row))
    _, at, count = np.unique(row[order], return_index=True, return_counts=True)
    place = np.empty_like(row)
    place[order] = np.arange(len(row)) - np.repeat(at, count)
    return row, place


def halves(users: int, seed: int) -> Ints:
    """(users,) 0 or 1, as many of the one as of the other."""
    half = np.arange(users) % HALVES
    return np.random.default_rng([seed, 0]).permutation(half)


def active_days(slates: Slates) -> Bools:
    """(users, days): who was shown something on which day."""
    active = np.zeros((slates.users, slates.days), np.bool_)
    active[slates.user, slates.day] = True
    return active


def rate_before(
    active: Bools,
    user: Ints,
    day: Ints,
    *,
    since: Ints,
    start: float,
    span_days: float | None,
    prior_days: float = 0.0,
) -> Floats:
    """(n,) exponentially weighted share of active days strictly before ``day``.

    ``r ← r + (active − r) / span`` on each day from ``since`` on, from ``r = start``.

    Args:
        active: (users, days).
        user: (n,) rows of ``active``.
        day: (n,) days; one before the log's first gets ``start``.
        since: (users,) first day that counts.
        start: the share before any day counts.
        span_days: the weighting's memory; None: all days count alike, and ``start`` as ``prior_days`` of them.
        prior_days: see ``span_days``.
    """
    rate = np.full(len(active), start, np.float32)
    out = np.full(len(user), start, np.float32)
    order = np.argsort(day, kind="stable")
    ends = np.searchsorted(day[order], np.arange(active.shape[1] + 1))
    for today in range(active.shape[1]):
        rows = order[ends[today] : ends[today + 1]]
        out[rows] = rate[user[rows]]
        age = today - since
        span = age + 1 + prior_days if span_days is None else np.full(len(active), span_days)
        rate += (age >= 0) * (active[:, today] - rate) / np.maximum(span, 1).astype(np.float32)
    return out


@dataclass(frozen=True)
class ActiveDays(Totals):
    """Active days of some users, and days from each user's first to the log's last."""

    active: int
    possible: int

    @classmethod
    def of(cls, slates: Slates) -> ActiveDays:
        """Of the users of slates."""
        active = active_days(slates)
        return cls(int(active.sum()), int((slates.days - active.argmax(axis=1)).sum()))

    @property
    def share(self) -> float:
        """Of days that are active."""
        return self.active / self.possible


def past_activity(
    slates: Slates,
    spans_days: tuple[float, ...],
    prior_days: float,
    lag_days: int = 0,
    *,
    start: float | None = None,
) -> Floats:
    """(n, 2 · spans + 1) rates of active days before each slate's day, ``lag_days`` days earlier.

    For each span one rate from the log's first day on and one from the user's first day on, for a log does not tell
    who was there before being seen; last the plain share since the user's first day.

    Args:
        slates: of whole users.
        spans_days: memories.
        prior_days: days of average activity a new user is thought to have had.
        lag_days: see above.
        start: the average activity, `ActiveDays.share` of all users; None: ``slates`` are those of all.
    """
    active = active_days(slates)
    seen = active.argmax(axis=1)
    rate = ActiveDays.of(slates).share if start is None else start
    day = slates.day - lag_days
    columns = [
        rate_before(active, slates.user, day, since=since, start=rate, span_days=span)
        for span in spans_days
        for since in (np.zeros_like(seen), seen)
    ]
    columns.append(rate_before(active, slates.user, day, since=seen, start=rate, span_days=None, prior_days=prior_days))
    return np.stack(columns, axis=1)


def past_liking(slates: Slates, gated: Bools, features: Floats, memory: float) -> Floats:
    """(n, features) exponentially weighted sum of the features of what the user gated before each slate.

    A gated item weighs 1 / ``memory`` and all before it lose that share; a user who gated nothing has 0.

    Args:
        slates: the slates, in the log's order.
        gated: (n, size) whether the user took up the item.
        features: (items, features).
        memory: gated items over which the picture of a user forms.
    """
    out = np.zeros((len(slates.user), features.shape[1]), np.float32)
    begins = np.flatnonzero(np.r_[True, np.diff(slates.user) != 0])
    count = np.diff(np.r_[begins, len(slates.user)])
    order = np.argsort(-count, kind="stable")
    begins, count = begins[order], count[order]
    liking = np.zeros((len(begins), features.shape[1]), np.float32)
    keep = np.float32(1 - 1 / memory)
    for step in range(int(count.max(initial=0))):
        there = int(np.searchsorted(-count, -step, side="left"))
        at = begins[:there] + step
        out[at] = liking[:there]
        hits = gated[at]
        added = np.zeros((there, features.shape[1]), np.float32)
        for place in np.flatnonzero(hits.any(axis=0)):  # in turn, so that other users do not move the rounding
            added += hits[:, place, None] * features[slates.items[at, place]]
        liking[:there] = liking[:there] * keep ** hits.sum(axis=1, keepdims=True) + added / np.float32(memory)
    return out
