"""An event within a horizon: whether a user renews, buys or comes by another door within so many days, and when."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from reward.columns import USER
from reward.data.days import (
    DAY,
    MAX_HORIZON_DAYS,
    OBSERVED,
    TRACE,
    activity_words,
    day_of,
    observed_days,
)
from reward.data.event_log import EventLog
from reward.data.outcome_events import kind_of_outcome, outcome_end_day
from reward.outcomes.protocol import STATES, Daily, Parts, Points, daily_of, day_parts
from reward.outcomes.returns import ENTRY_DAYS, EVENT, TIME_DAYS, waited

_CAME = "came"


@dataclass(frozen=True)
class EventWithin:
    """The first outcome event of a kind within the next ``horizon_days`` days, right-censored, with delayed entry.

    For an exposure on day D (local date in the log's time zone) ``time_days`` is d and ``event`` 1 where the user's
    first event of the kind after day D is on day D+d; where the events end first, ``time_days`` is the last day known
    to be without one and ``event`` 0. The window opens when the day after the exposure begins and closes at the end of
    day D+H: an event on day D itself does not count, for the second stage adds up all that was shown on a day, before
    the event and after it. ``entry_days`` of the days had passed when the wait began to be watched; see
    `reward.outcomes.returns.ReturnTime`. Events are known until the log ends, or until their own end that the log
    declares, if that is earlier.

    Day by day, bit d−1 of ``trace`` is set where the first event is on day D+d, so the bits add up to whether there is
    one within the horizon; and bit d−1 of ``observed`` where day D+d is known and, with ``since``, was not known before
    it. That does not depend on whether the event has come: days known of those alone for whom it has, or has not, would
    not tell how many there are.

    Attributes:
        kind: of outcome events, one of those that the log has.
        horizon_days: H, 1 to 63.
    """

    kind: str
    horizon_days: int

    targets = (TIME_DAYS, EVENT, ENTRY_DAYS)
    states = STATES
    scope = "user"
    once = True

    def __post_init__(self) -> None:
        if not 1 <= self.horizon_days <= MAX_HORIZON_DAYS:
            raise ValueError(f"horizon_days must be from 1 to {MAX_HORIZON_DAYS}, got {self.horizon_days}")

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        return f"chance of {self.kind} within {self.horizon_days} days"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return f"day of the first {self.kind}; {self.horizon_days + 1}: later or never"

    @property
    def points(self) -> Points:
        """How amounts of it are told."""
        return Points(self.kind, f"{self.kind}s", f"{self.kind}s", f"the {self.unit}", f"with {self.kind}", share=True)

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of outcome events that `label` reads."""
        return (self.kind,)

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's exposures, in their order, with ``day``, `targets`, ``trace`` and ``observed``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01); what comes on it or later is not read.
            since: tell only of days that were not yet known when this was the ``end_day``.

        Raises:
            SchemaError: the log has no outcome events of the kind.
        """
        came = kind_of_outcome(log, self.kind).select(USER, day_of(log))
        end_day = outcome_end_day(log, self.kind, end_day)
        seen = pl.lit(0, pl.Int64)
        if since is not None:
            seen = observed_days(pl.col(DAY), outcome_end_day(log, self.kind, since), self.horizon_days)
        events = log.events.with_columns(day_of(log))
        days = pl.concat(
            [
                events.select(USER, DAY, pl.lit(False).alias("active")).unique(),
                came.join(events.select(USER), on=USER, how="semi").with_columns(pl.lit(True).alias("active")).unique(),
            ]
        )
        words = activity_words(days.group_by(USER, DAY).agg(pl.col("active").any()), [USER], self.horizon_days)
        observed = observed_days(pl.col(DAY), end_day, self.horizon_days)
        trace = pl.col(_CAME) & pl.col(OBSERVED)
        first = trace & -trace  # the word's lowest bit
        return (
            events.join(
                words.select(USER, DAY, pl.col(TRACE).alias(_CAME)), on=[USER, DAY], how="left", maintain_order="left"
            )
            .with_columns(observed.alias(OBSERVED))
            .with_columns(*waited(trace, pl.col(OBSERVED), seen), first.alias(TRACE))
            .with_columns((pl.col(OBSERVED) & ~seen).alias(OBSERVED))
            .with_columns(pl.col(TRACE) & pl.col(OBSERVED))
            .drop(_CAME)
        )

    def daily(self, log: EventLog, end_day: int) -> Daily:
        """Of each user-day, on which of the next days the first event is; see `DailyOutcome`."""
        return daily_of(self.label(log, end_day), self.horizon_days)

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Days, as `label` tells them."""
        return day_parts(labels, self.horizon_days)
