"""Slots: what is known of a place about to be filled, before the item in it is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Ints
from reward.columns import ITEM, POSITION, REQUEST, SESSION, TIMESTAMP, USER
from reward.data.days import DAY, TRACE, activity_words, local_day

VISIBLE = "visible"
PAST_DAYS = 63
RATE_DAYS = (2, 7, 28)
TIMING = (
    "no_history",
    "gap_hours",
    "days_since_last",
    "new_session",
    "session_position",
    "session_minutes",
    "events_today",
    "events_per_day",
    "hour_sin",
    "hour_cos",
)
OWN_COLUMNS = (
    *("row", "is_event", "slate", VISIBLE, "weekday"),
    *TIMING,
    *(f"{kind}_{span}d" for kind in ("active", "known") for span in RATE_DAYS),
)

_NO_SESSION = np.iinfo(np.int64).max  # above every session's code


def stream_order(names: list[str]) -> list[str]:
    """Columns that put a log's rows in the stream's order, whatever order they came in."""
    return [USER, TIMESTAMP, *([POSITION] if POSITION in names else []), ITEM]


def slots(
    events: pl.LazyFrame,
    *,
    timezone: str,
    session_gap_minutes: float,
    first_day: int,
    at: pl.LazyFrame | None = None,
    day_starts_at: str = "00:00",
) -> pl.LazyFrame:
    """What each row's slot knows: its own moment, and the user's events strictly before it.

    A slate (rows of one ``request_id``) was put together at its first row's timestamp, so every row of it reads the
    events before that moment and no row reads the feedback on its neighbours; without requests, rows of one user
    at one timestamp are a slate.

    Args:
        events: a checked log's events.
        timezone: IANA name of the zone whose clock separates the days.
        session_gap_minutes: idleness after which a session ends, where the log has no ``session_id``.
        first_day: first day that the history covers (days since 1970-01-01); days before it are unknown, not silent.
        at: slots without an item: ``user_id``, ``timestamp`` and any of ``session_id`` and context columns. They
            read the events and change nothing in them.
        day_starts_at: local time at which a day begins.

    Returns:
        One row for each event and each slot in stream order, with ``is_event``, ``row`` (place in ``events`` or in
        ``at``), ``visible`` (how many of the user's events the slot may read), ``weekday``, the columns of
        `TIMING` and, for each span of `RATE_DAYS`, ``active_`` and ``known_`` sums of exponentially weighted
        past days.
    """
    rows = events.with_row_index("row").with_columns(is_event=pl.lit(True))
    if at is not None:
        empty = at.with_row_index("row").with_columns(is_event=pl.lit(False))
        rows = pl.concat([rows, empty], how="diagonal")
    names = rows.collect_schema().names()
    frame = rows.collect()
    if at is not None or not _in_order(frame):
        frame = frame.sort(*stream_order(names), pl.col("is_event"), "row")
    moments = _Moments.of(frame, timezone, day_starts_at)
    slate = moments.at
    if REQUEST in names:
        shown = pl.col("moment").min().over("user", REQUEST)
        slate = (
            frame.select(REQUEST, moment=moments.at, user=moments.user[moments.at])
            .select(pl.when(pl.col(REQUEST).is_null()).then("moment").otherwise(shown))
            .to_series()
            .to_numpy()
        )
    known = pl.DataFrame(
        {
            "slate": frame[TIMESTAMP].gather(moments.start),
            **moments.timing(session_gap_minutes),
            **moments.rates(first_day),
        }
    ).hstack(moments.clock)
    own = [name for name in OWN_COLUMNS if name in known.columns]
    return frame.hstack(known.select(own)[slate]).lazy()


def _in_order(frame: pl.DataFrame) -> bool:
    """Whether rows are in the stream's order, as a checked log's are: much sooner told than sorted."""
    before = pl.lit(True)
    for name in reversed(stream_order(frame.columns)):
        this, last = pl.col(name), pl.col(name).shift(1)
        before = (last < this) | ((last == this) & before)
    return bool(frame.select(before.slice(1).fill_null(False).all()).item())


@dataclass(frozen=True)
class _Moments:
    """The moments of each user, one after the other: places and events of one timestamp are one.

    Attributes:
        at: (rows,) moment of each row.
        start: (n,) first row of each.
        user, time, day: (n,) code of the user, microseconds since 1970, and local day.
        first: (n,) the first moment of each one's user.
        count: (n,) events.
        session: (n,) code of the session, −1 where none is known.
        clock: columns of the time of day and the day of the week.
    """

    at: Ints
    start: Ints
    user: Ints
    time: Ints
    day: Ints
    first: Ints
    count: Ints
    session: Ints
    clock: pl.DataFrame

    @classmethod
    def of(cls, frame: pl.DataFrame, timezone: str, day_starts_at: str) -> _Moments:
        """The moments of rows in stream order."""
        user = frame[USER].rle_id().to_numpy().astype(np.int64)
        time = frame[TIMESTAMP].to_physical().to_numpy()
        first = np.concatenate([[True], (user[1:] != user[:-1]) | (time[1:] != time[:-1])])[: len(frame)]
        start, event = np.flatnonzero(first), frame["is_event"].to_numpy()
        session = np.full(len(start), -1)
        if SESSION in frame.columns and len(start):
            code = frame[SESSION].rank("dense").fill_null(_NO_SESSION).to_numpy().astype(np.int64)
            for among in (code, np.where(event, code, _NO_SESSION)):  # that of an event outweighs that of a place
                found = np.minimum.reduceat(among, start)
                session = np.where(found < _NO_SESSION, found, session)
        local = frame.select(pl.col(TIMESTAMP).gather(start)).select(
            local_day(timezone, starts_at=day_starts_at), *_clock(timezone)
        )
        return cls(
            np.cumsum(first) - 1,
            start,
            user[start],
            time[start],
            local[DAY].to_numpy(),
            np.flatnonzero(np.diff(user[start], prepend=-1))[user[start]],
            np.add.reduceat(event, start, dtype=np.int64) if len(start) else start,
            session,
            local.drop(DAY),
        )

    def timing(self, session_gap_minutes: float) -> dict[str, pl.Series]:
        """The columns of `TIMING` that tell of the user's events before each moment, and `VISIBLE`."""
        real = self.count > 0
        previous = self._before(real)
        no_history = previous < 0
        gap_hours = _hours(self.time - self.time[previous])
        last_session = self._before(real & (self.session >= 0))
        named = (last_session >= 0) & (self.session >= 0)
        changed = np.where(named, self.session != self.session[last_session], gap_hours > session_gap_minutes / 60)
        new_session = no_history | changed
        began = np.where(new_session, np.arange(len(real)), self._before(new_session & real))
        earlier, visible = self._earlier(real.astype(np.int64)), self._earlier(self.count)
        new_day = (real & (no_history | (self.day != self.day[previous]))).astype(np.int64)
        first, day = self._days()
        return {
            VISIBLE: pl.Series(visible.astype(np.int32)),
            "no_history": pl.Series(no_history),
            "gap_hours": _known(gap_hours, ~no_history),
            "days_since_last": _known(self.day - self.day[previous], ~no_history),
            "new_session": pl.Series(new_session),
            "session_position": pl.Series((earlier - earlier[began]).astype(np.float64)),
            "session_minutes": pl.Series(60 * _hours(self.time - self.time[began])),
            "events_today": pl.Series((visible - visible[first[day]]).astype(np.int32)),
            "events_per_day": pl.Series(visible / np.maximum(self._earlier(new_day), 1)),
        }

    def rates(self, first_day: int) -> dict[str, NDArray[np.float64]]:
        """See `past_rates`."""
        first, at = self._days()
        active = np.bincount(at, self.count, len(first)) > 0
        days = pl.LazyFrame({USER: self.user[first], DAY: self.day[first], "active": active})
        words = activity_words(days, [USER], PAST_DAYS, past=True).collect()
        return {name: rate[at] for name, rate in past_rates(words, first_day).items()}

    def _days(self) -> tuple[Ints, Ints]:
        """First moment of each user's each day, and the day of every moment by its place among them."""
        since = self.day - self.day.min(initial=0)
        _, first, day = np.unique(
            self.user * (since.max(initial=0) + 1) + since, return_index=True, return_inverse=True
        )
        return first, day

    def _before(self, among: NDArray[np.bool_]) -> Ints:
        """The user's last moment before each that is ``among`` these; −1 where there is none."""
        last = np.maximum.accumulate(np.where(among, np.arange(len(among)), -1))
        before = np.concatenate([[-1], last[:-1]])[: len(among)]
        return np.where(before >= self.first, before, -1)

    def _earlier(self, values: Ints) -> Ints:
        """Sum over the user's moments before each."""
        before = np.cumsum(values) - values
        return before - before[self.first]


def _hours(microseconds: Ints) -> NDArray[np.float64]:
    return microseconds / 3.6e9


def _known(values: NDArray[Any], known: NDArray[np.bool_]) -> pl.Series:
    """Null where not known."""
    return pl.select(pl.when(pl.Series(known)).then(pl.Series(values))).to_series()


def _clock(timezone: str) -> list[pl.Expr]:
    """Time of day on the circle, and the day of the week, both local."""
    local = pl.col(TIMESTAMP).dt.convert_time_zone(timezone).dt
    turn = (local.hour().cast(pl.Float64) + local.minute() / 60) * (2 * math.pi / 24)
    return [turn.sin().alias("hour_sin"), turn.cos().alias("hour_cos"), local.weekday().alias("weekday")]


def past_rates(words: pl.DataFrame, first_day: int) -> dict[str, NDArray[np.float64]]:
    """Exponentially weighted sums over the past days: of the active ones, and of the ones the log covers.

    Args:
        words: ``day`` and ``trace``, see `activity_words`.
        first_day: first day that the history covers.
    """
    known = (words[DAY] - first_day).clip(0, PAST_DAYS).to_numpy()
    parts = [words[TRACE].to_numpy() >> shift & 255 for shift in range(0, 64, 8)]  # bytes
    rates = {}
    for span in RATE_DAYS:
        weights = np.append(np.exp(-np.arange(1, PAST_DAYS + 1) / span), 0.0).reshape(8, 8)
        of_byte = weights @ (np.arange(256) >> np.arange(8)[:, None] & 1)  # (8, 256)
        decay = math.exp(-1 / span)
        rates[f"active_{span}d"] = np.sum([table[part] for table, part in zip(of_byte, parts, strict=True)], 0)
        rates[f"known_{span}d"] = decay * (1 - decay**known) / (1 - decay)
    return rates
