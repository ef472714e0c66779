"""The activity trace: on which of the next days a user was active, and which of those days the log can tell."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from reward.columns import ITEM, USER
from reward.data.days import (
    DAY,
    MAX_HORIZON_DAYS,
    OBSERVED,
    TRACE,
    activity_words,
    day_of,
    observed_days,
    returns_alone,
)
from reward.data.event_log import EventLog, SchemaError
from reward.outcomes.protocol import STATES, Daily, Parts, Points, daily_of, day_parts


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
    reads = ()
    points = Points()

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

    def daily(self, log: EventLog, end_day: int) -> Daily:
        """Of each user-day, on which of the next days the user is active; see `DailyOutcome`."""
        return daily_of(self.label(log, end_day), self.horizon_days)

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Days, as `label` tells them."""
        return day_parts(labels, self.horizon_days)
