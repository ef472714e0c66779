"""Days of a log by its own clock, and a user's days of activity as the bits of a word."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.columns import SESSION, TIMESTAMP, USER
from reward.data.event_log import EventLog, minutes_of

DAY = "day"
TRACE = "trace"
OBSERVED = "observed"
MAX_HORIZON_DAYS = 63
_LONGEST_IDLE_MINUTES = 240
_STILL = "still there"


def local_day(timezone: str, column: str = TIMESTAMP, *, starts_at: str = "00:00") -> pl.Expr:
    """Days since 1970-01-01 of the local day in which ``column`` falls (Int64).

    Args:
        timezone: IANA name of the zone.
        column: moments.
        starts_at: local time at which a day begins; the hours before it belong to the day before.
    """
    local, minutes = pl.col(column).dt.convert_time_zone(timezone), minutes_of(starts_at)
    if not minutes:
        return local.dt.date().cast(pl.Int32).cast(pl.Int64).alias(DAY)
    wall = local.dt.replace_time_zone(None) - pl.duration(minutes=minutes)
    day = wall.dt.date()
    # where the clock is put back over the start of a day, the day has begun and goes on
    begun = (day.cast(pl.Datetime("us")) + pl.duration(days=1, minutes=minutes)).dt.replace_time_zone(
        timezone, ambiguous="earliest", non_existent="null"
    ) <= local
    return (day.cast(pl.Int32).cast(pl.Int64) + begun.fill_null(value=False)).alias(DAY)


def day_of(log: EventLog) -> pl.Expr:
    """`local_day` of a log's events, by the log's own clock."""
    return local_day(log.timezone, starts_at=log.day_starts_at)


def day_at(log: EventLog, moment: datetime) -> int:
    """The day in which a moment falls by a log's own clock, in days since 1970-01-01; a naive moment is in its zone."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(log.timezone))
    frame = pl.DataFrame({TIMESTAMP: [aware]}, schema={TIMESTAMP: pl.Datetime("us", "UTC")})
    return int(frame.select(day_of(log)).item())


def session_numbers(names: list[str], gap_minutes: float) -> pl.Expr:
    """A number for each session (Int64), of rows sorted by user and time that have these columns.

    A session ends after ``gap_minutes`` of idleness; or, where there is a ``session_id``, with that, and after four
    hours of idleness whatever it says: an id that lasts longer is one of a device.
    """
    idle = pl.duration(minutes=_LONGEST_IDLE_MINUTES if SESSION in names else gap_minutes)
    new = (pl.col(USER) != pl.col(USER).shift(1)) | (pl.col(TIMESTAMP) - pl.col(TIMESTAMP).shift(1) > idle)
    if SESSION in names:
        new |= pl.col(SESSION) != pl.col(SESSION).shift(1)
    return new.fill_null(value=True).cum_sum().cast(pl.Int64)


def observed_days(day: pl.Expr, end_day: int, horizon_days: int) -> pl.Expr:
    """Word whose bit d−1 says that day D+d lies wholly before ``end_day``, for d = 1..``horizon_days``.

    Args:
        day: D, the row's day (days since 1970-01-01).
        end_day: the first day that is not wholly known.
        horizon_days: H, at most 63.

    Returns:
        Int64 expression; 0 where not even the next day is known.
    """
    known = (pl.lit(end_day - 1, pl.Int64) - day).clip(0, horizon_days)
    return pl.lit(2, pl.Int64).pow(known).cast(pl.Int64) - 1


def revealed(end_day: int, since: int | None) -> pl.Expr:
    """Whether a row with ``day`` was there at ``end_day`` and, where ``since`` is given, not yet then (bool)."""
    return pl.col(DAY) < end_day if since is None else pl.col(DAY).is_between(since, end_day, closed="left")


def activity_words(days: pl.LazyFrame, keys: list[str], span_days: int, *, past: bool = False) -> pl.LazyFrame:
    """For each (keys, day), the word of the active days around it.

    Args:
        days: columns ``keys``, ``day`` and ``active`` (bool), one row for each (keys, day).
        keys: who comes back: the user, or the user and what they come back to.
        span_days: how far to look, at most 63 days.
        past: look back instead of ahead.

    Returns:
        ``days`` with ``trace`` (Int64): bit d−1 is set where ``active`` on day D+d (D−d for ``past``).
    """
    frame = days.sort([*keys, DAY]).collect()
    again = frame.select(
        pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in keys).fill_null(False).alias("again")
    )
    owner, day, active = np.cumsum(~again["again"].to_numpy()), frame[DAY].to_numpy(), frame["active"].to_numpy()
    if past:
        word = _words_ahead(owner[::-1], -day[::-1], active[::-1], span_days)[::-1]
    else:
        word = _words_ahead(owner, day, active, span_days)
    return frame.with_columns(pl.Series(TRACE, word)).lazy()


def returns_alone(
    words: pl.LazyFrame, events: pl.LazyFrame, keys: list[str], span_days: int, gap_minutes: float
) -> pl.LazyFrame:
    """`activity_words` without the days on which no session is active that began after the word's day.

    Args:
        words: ``keys``, ``day`` and ``trace``.
        events: a checked log's, with ``keys``, ``day`` and ``active`` (bool).
        keys: see `activity_words`.
        span_days: see there.
        gap_minutes: idleness that ends a session, see `session_numbers`.
    """
    begun = pl.col(DAY).min().over(session_numbers(events.collect_schema().names(), gap_minutes))
    latest = (
        events.with_columns(begun.alias("begun")).filter("active").group_by([*keys, DAY]).agg(pl.col("begun").max())
    )
    carried = latest.filter(pl.col("begun") < pl.col(DAY)).rename({DAY: "later"})
    ahead = pl.col("later") - pl.col(DAY)
    still = (
        words.select(*keys, DAY)
        .join(carried, on=keys, nulls_equal=True)
        .filter(pl.col(DAY) >= pl.col("begun"), ahead.is_between(1, span_days))
        .group_by([*keys, DAY])
        .agg(pl.lit(2, pl.Int64).pow(ahead - 1).cast(pl.Int64).sum().alias(_STILL))
    )
    words = words.join(still, on=[*keys, DAY], how="left", nulls_equal=True)
    return words.with_columns(pl.col(TRACE) & ~pl.col(_STILL).fill_null(0)).drop(_STILL)


def _words_ahead(owner: Ints, day: Ints, active: NDArray[np.bool_], span_days: int) -> Ints:
    """The words of rows sorted by owner and day: each reads twice as many rows ahead in every round."""
    word = np.zeros(len(day), np.uint64)
    apart = day[1:] - day[:-1]
    next_active = np.flatnonzero((owner[1:] == owner[:-1]) & (apart <= span_days) & active[1:])
    word[next_active] = np.uint64(1) << (apart[next_active] - 1).astype(np.uint64)
    rows = 1
    while rows < min(span_days, len(day)):
        apart = day[rows:] - day[:-rows]
        near = np.flatnonzero((owner[rows:] == owner[:-rows]) & (apart < span_days))
        word[near] |= word[near + rows] << apart[near].astype(np.uint64)
        rows *= 2
    return (word & np.uint64((1 << span_days) - 1)).astype(np.int64)


def days_since_1970(moments: pl.Series) -> Doubles:
    """(n,) with the time of the day as a fraction."""
    return moments.dt.epoch("us").to_numpy() / 86_400e6
