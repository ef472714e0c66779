"""Slots: what is known of a place about to be filled, before the item in it is chosen."""

from __future__ import annotations

import math

import polars as pl

from reward.outcomes.activity import DAY, TRACE, activity_words, local_day
from reward.schema import ITEM, POSITION, SESSION, TIMESTAMP, USER, slate_moment

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
    session = pl.col(SESSION) if SESSION in names else pl.lit(None, pl.String)
    moments = (
        rows.group_by(USER, TIMESTAMP)
        .agg(
            pl.col("is_event").sum().alias("count"),
            pl.coalesce(session.filter("is_event").min(), session.min()).alias(SESSION),
        )
        .sort(USER, TIMESTAMP)
        .with_columns(local_day(timezone, starts_at=day_starts_at), *_clock(timezone), real=pl.col("count") > 0)
    )
    moments = _sessions(moments, session_gap_minutes)
    days = moments.group_by(USER, DAY).agg(pl.col("real").any().alias("active"))
    past = activity_words(days, [USER], PAST_DAYS, past=True).select(USER, DAY, *past_rates(first_day))
    known = moments.join(past, on=[USER, DAY], how="left").select(
        USER, pl.col(TIMESTAMP).alias("slate"), VISIBLE, "weekday", *TIMING, pl.col("^(active|known)_.*$")
    )
    return (
        rows.with_columns(slate_moment(names).alias("slate"))
        .join(known, on=[USER, "slate"], how="left")
        .sort(*stream_order(names), pl.col("is_event"), "row")
    )


def _clock(timezone: str) -> list[pl.Expr]:
    """Time of day on the circle, and the day of the week, both local."""
    local = pl.col(TIMESTAMP).dt.convert_time_zone(timezone).dt
    turn = (local.hour().cast(pl.Float64) + local.minute() / 60) * (2 * math.pi / 24)
    return [turn.sin().alias("hour_sin"), turn.cos().alias("hour_cos"), local.weekday().alias("weekday")]


def _sessions(moments: pl.LazyFrame, session_gap_minutes: float) -> pl.LazyFrame:
    """The timing columns of each moment (user, timestamp) from the user's moments with events before it."""

    def latest(value: pl.Expr, among: pl.Expr) -> pl.Expr:
        return pl.when(among).then(value).otherwise(None).forward_fill().over(USER)

    def hours(since: pl.Expr) -> pl.Expr:
        return (pl.col(TIMESTAMP) - since).dt.total_microseconds() / 3.6e9

    moments = moments.with_columns(
        (pl.col("count").cum_sum().over(USER) - pl.col("count")).cast(pl.Int32).alias(VISIBLE),
        latest(pl.col(TIMESTAMP), pl.col("real")).shift(1).over(USER).alias("previous"),
        latest(pl.col(SESSION), pl.col("real")).shift(1).over(USER).alias("previous_session"),
        latest(pl.col(DAY), pl.col("real")).shift(1).over(USER).alias("previous_day"),
        (pl.col("real").cum_sum().over(USER) - pl.col("real").cast(pl.UInt32)).alias("earlier"),
    ).with_columns(gap_hours=hours(pl.col("previous")))
    idle = pl.col("gap_hours") > session_gap_minutes / 60
    changed = pl.coalesce(pl.col(SESSION) != pl.col("previous_session"), idle)
    moments = moments.with_columns(
        no_history=pl.col("previous").is_null(),
        new_session=pl.col("previous").is_null() | changed,
        new_day=pl.col("real") & (pl.col(DAY) != pl.col("previous_day")).fill_null(True),
    )
    starts = pl.col("new_session") & pl.col("real")

    def since_start(value: str) -> pl.Expr:
        return pl.when(pl.col("new_session")).then(pl.col(value)).otherwise(latest(pl.col(value), starts))

    active_days = pl.col("new_day").cum_sum().over(USER).cast(pl.Float64) - pl.col("new_day")
    return moments.with_columns(
        session_position=pl.col("earlier").cast(pl.Float64) - since_start("earlier"),
        session_minutes=60 * hours(since_start(TIMESTAMP)),
        events_today=pl.col(VISIBLE) - pl.col(VISIBLE).min().over(USER, DAY),
        events_per_day=pl.col(VISIBLE) / pl.max_horizontal(active_days, pl.lit(1.0)),
        days_since_last=pl.col(DAY) - pl.col("previous_day"),
    )


def past_rates(first_day: int) -> list[pl.Expr]:
    """Exponentially weighted sums over the past days: of the active ones, and of the ones the log covers."""
    known = (pl.col(DAY) - first_day).clip(0, PAST_DAYS)
    sums = []
    for span in RATE_DAYS:
        weights = [math.exp(-day / span) for day in range(1, PAST_DAYS + 1)]
        bits = [
            pl.when(pl.col(TRACE) & (1 << day) != 0).then(weight).otherwise(0.0) for day, weight in enumerate(weights)
        ]
        decay = math.exp(-1 / span)
        sums.append(pl.sum_horizontal(bits).alias(f"active_{span}d"))
        sums.append((decay * (1 - pl.lit(decay).pow(known)) / (1 - decay)).alias(f"known_{span}d"))
    return sums
