"""The activity trace: on which of the next days a user was active, and which of those days the log can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.outcomes import STATES, Parts, day_names, days_of
from reward.schema import ITEM, SESSION, TIMESTAMP, USER, EventLog, SchemaError, minutes_of

DAY = "day"
TRACE = "trace"
OBSERVED = "observed"
MAX_HORIZON_DAYS = 63
_LONGEST_IDLE_MINUTES = 240
_STILL = "still there"

Ints = NDArray[np.int64]


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


@dataclass(frozen=True)
class ActivityTrace:
    """Which of the next ``horizon_days`` days see the user active again.

    For an event on day D (local date in the log's time zone) bit d−1 of ``trace`` is set where the user, or with
    another ``scope`` the user together with the same item or creator, is active on day D+d. The window opens when the
    day after the event begins and closes at the end of day D+H; what happens later on day D does not count. Bit d−1
    of ``observed`` is set where day D+d lies wholly inside the log: a day not yet over is unknown, never silent.

    Attributes:
        horizon_days: H, 1 to 63, so that trace and mask each fit one 64-bit word.
        scope: ``user``, ``item``, or a column of the items table ("did they come back to *this*").
        active_if: a feedback column that must be above 0 for an exposure to count as activity; None: any
            exposure counts. With a scope other than ``user`` being shown a thing is not coming back to it, so
            name one there.
        whole_sessions: a session belongs to the day on which it began, and what it does after the end of that day is
            no return; False: what counts is on which days there are events.
    """

    horizon_days: int
    scope: str = "user"
    active_if: str | None = None
    whole_sessions: bool = False

    targets = (TRACE, OBSERVED)
    states = STATES

    def __post_init__(self) -> None:
        if not 1 <= self.horizon_days <= MAX_HORIZON_DAYS:
            raise ValueError(
                f"outcome.horizon_days must be from 1 to {MAX_HORIZON_DAYS}, got {self.horizon_days}: a trace is "
                "one 64-bit word"
            )

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        what = "active days" if self.scope == "user" else f"days back to the same {self.scope}"
        return f"{what} in the next {self.horizon_days} days"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return self.unit

    @property
    def keys(self) -> list[str]:
        """Columns that say who comes back to what."""
        return [USER] if self.scope == "user" else [USER, ITEM if self.scope == "item" else self.scope]

    @property
    def active(self) -> pl.Expr:
        """Whether an exposure counts as activity."""
        return pl.lit(True) if self.active_if is None else pl.col(self.active_if) > 0

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day``, ``trace`` and ``observed``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01).
            since: tell only of days that were not yet known when this was the ``end_day``.

        Raises:
            SchemaError: ``scope`` is no column of the items table, or ``active_if`` no feedback column.
        """
        events, keys = self.grouped(log), self.keys
        active = events.with_columns(self.active.alias("active"))
        days = active.group_by([*keys, DAY]).agg(pl.col("active").any())
        words = activity_words(days, keys, self.horizon_days).drop("active")
        if self.whole_sessions:
            words = returns_alone(words, active, keys, self.horizon_days, log.session_gap_minutes)
        return (
            events.join(words, on=[*keys, DAY], how="left", nulls_equal=True, maintain_order="left")
            .with_columns(self.told(end_day, since))
            .with_columns((pl.col(TRACE) & pl.col(OBSERVED)).alias(TRACE))
        )

    def grouped(self, log: EventLog) -> pl.LazyFrame:
        """The log's events with ``day`` and the column of ``scope``.

        Raises:
            SchemaError: see `label`.
        """
        events = log.events.with_columns(day_of(log))
        if self.scope not in ("user", "item"):
            columns = log.items.collect_schema().names() if log.items is not None else []
            if log.items is None or self.scope not in columns:
                raise SchemaError(
                    f"outcome.scope={self.scope!r} expected user, item or a column of the items table, which has "
                    f"{columns or 'not been given'}; name the column in data.item_features so that it is read"
                )
            groups = log.items.select(ITEM, self.scope)
            events = events.drop(self.scope, strict=False).join(groups, on=ITEM, how="left", maintain_order="left")
        if self.active_if is not None and self.active_if not in log.feedback:
            raise SchemaError(
                f"outcome.active_if={self.active_if!r} expected one of the feedback columns {list(log.feedback)}"
            )
        return events

    def told(self, end_day: int, since: int | None) -> pl.Expr:
        """``observed`` of rows with ``day`` and `keys`, as `label` tells it; 0 where it is not known to what."""
        known = observed_days(pl.col(DAY), end_day, self.horizon_days)
        if since is not None:
            known = known & ~observed_days(pl.col(DAY), since, self.horizon_days)
        return pl.when(pl.col(self.keys[-1]).is_null()).then(0).otherwise(known).alias(OBSERVED)

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Days, as `label` tells them."""
        return Parts(
            day_names(self.horizon_days),
            days_of(labels[TRACE], self.horizon_days).astype(np.float64),
            days_of(labels[OBSERVED], self.horizon_days),
        )
