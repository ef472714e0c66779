"""A log as slates: what was shown together, to whom, on which day, and what the user had done before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.columns import ITEM, POSITION, REQUEST, USER
from reward.data.days import DAY, day_of
from reward.data.event_log import EventLog

HALVES = 2
_LONGEST_SILENCE = 60  # days


@dataclass(frozen=True)
class Slates:
    """The rows of a log by slate, in the log's order; n slates of at most ``size`` rows, users and items as codes.

    Attributes:
        user: (n,) code of the user.
        day: (n,) days since the log's first; a stretch of more than 60 days on which nobody was shown anything counts
            as 60, so that a stray row of another decade does not make the log as long.
        items: (n, size) code of the item at each place, from the top; −1 where the slate is shorter.
        row: (rows,) the slate of each row of the log.
        place: (rows,) its place in the slate, from 0.
        item_ids: (items,) the ids that the codes stand for, ascending.
        users: how many there are.
        first: (items,) day of the item's first exposure.
        last: (items,) day of its last: from the first to the last it is live.
    """

    user: Ints
    day: Ints
    items: Ints
    row: Ints
    place: Ints
    item_ids: pl.Series
    users: int
    first: Ints
    last: Ints

    @property
    def days(self) -> int:
        """Days from the first exposure of the log to its last."""
        return int(self.last.max()) + 1

    def live(self, day: int) -> Ints:
        """Codes of the items live on ``day``, ascending."""
        return np.flatnonzero((self.first <= day) & (day <= self.last))

    def flat(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values (n, size) of the places, as one a row of the log."""
        return values[self.row, self.place]


def slates_of(log: EventLog) -> Slates:
    """The slates of a checked log.

    A slate is the rows of one user with one ``request_id``, by ``position``; without ``request_id`` each row is a
    slate of its own. An item that a request holds twice cannot have been drawn without replacement: the second time
    it starts another slate.
    """
    names = log.events.collect_schema().names()
    events = log.events.select(
        USER, ITEM, day_of(log), *(name for name in (REQUEST, POSITION) if name in names)
    ).collect()
    item_ids = events[ITEM].unique().sort()
    events = events.with_columns(
        pl.col(USER).rank("dense").cast(pl.Int64) - 1, pl.lit(item_ids.search_sorted(events[ITEM])).alias(ITEM)
    ).with_row_index("row")
    keys = [USER, DAY, REQUEST] if REQUEST in names else ["row"]
    again = pl.int_range(pl.len()).over([*keys, ITEM]).alias("again")
    events = events.with_columns(again, position=pl.col(POSITION) if POSITION in names else pl.lit(0, pl.Int64))
    slate = pl.col("row").min().over([*keys, "again"]).rank("dense").cast(pl.Int64) - 1
    row, item = (events.select(it).to_series().to_numpy().astype(np.int64) for it in (slate, pl.col(ITEM)))
    position = events["position"].fill_null(np.iinfo(np.int64).max).to_numpy()
    order = np.lexsort((position, row))
    _, at, count = np.unique(row[order], return_index=True, return_counts=True)
    place = np.empty_like(row)
    place[order] = np.arange(len(row)) - np.repeat(at, count)
    at = order[at]
    day = _calendar(events[DAY].to_numpy().astype(np.int64))
    items = np.full((len(at), int(count.max())), -1, np.int64)
    items[row, place] = item
    first, last = np.full(len(item_ids), np.iinfo(np.int64).max), np.full(len(item_ids), -1)
    np.minimum.at(first, item, day)
    np.maximum.at(last, item, day)
    user = events[USER].to_numpy()
    return Slates(user[at], day[at], items, row, place, item_ids, int(user.max()) + 1, first, last)


def _calendar(day: Ints) -> Ints:
    """Days since the first; see `Slates`."""
    known, place = np.unique(day, return_inverse=True)
    return np.append(0, np.cumsum(np.minimum(np.diff(known), _LONGEST_SILENCE)))[place]


def halves(users: int, seed: int) -> Ints:
    """(users,) 0 or 1, as many of the one as of the other."""
    half = np.arange(users) % HALVES
    return np.random.default_rng([seed, 0]).permutation(half)


def active_days(slates: Slates) -> NDArray[np.bool_]:
    """(users, days): who was shown something on which day."""
    active = np.zeros((slates.users, slates.days), np.bool_)
    active[slates.user, slates.day] = True
    return active


def rate_before(
    active: NDArray[np.bool_],
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


def past_activity(slates: Slates, spans_days: tuple[float, ...], prior_days: float, lag_days: int = 0) -> Floats:
    """(n, 2 · spans + 1) rates of active days before each slate's day, ``lag_days`` days earlier.

    For each span one rate from the log's first day on and one from the user's first day on, for a log does not tell
    who was there before being seen; last the plain share since the user's first day.
    """
    active = active_days(slates)
    seen = active.argmax(axis=1)
    start = float(active.sum() / (slates.days - seen).sum())
    day = slates.day - lag_days
    columns = [
        rate_before(active, slates.user, day, since=since, start=start, span_days=span)
        for span in spans_days
        for since in (np.zeros_like(seen), seen)
    ]
    columns.append(
        rate_before(active, slates.user, day, since=seen, start=start, span_days=None, prior_days=prior_days)
    )
    return np.stack(columns, axis=1)


def past_liking(slates: Slates, gated: NDArray[np.bool_], features: Floats, memory: float) -> Floats:
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
        added = np.einsum("ns,nsf->nf", hits.astype(np.float32), features[slates.items[at]])
        liking[:there] = liking[:there] * keep ** hits.sum(axis=1, keepdims=True) + added / np.float32(memory)
    return out
