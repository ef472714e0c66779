"""Habit: whether an exposure is taken up, and how often the user is back to its item, creator or show with and without.

Source: a recommendation's long-term value by the item it brings up, Maystre, Russo & Zhao 2023 (arXiv 2302.03561).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.columns import SESSION, TIMESTAMP, USER
from reward.data.days import DAY, OBSERVED, TRACE, activity_words, day_of, returns_alone, revealed
from reward.data.event_log import EventLog, SchemaError, slate_moment
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.protocol import ABSENT, ASKED, Outcome, Parts


class Habit(NamedTuple):
    """Names of the three outcomes of which the reward of bringing an item, creator or show up is made.

    P(taken up) · (V after − V without): the chance that it is taken up, times the days that the user is then back to it
    more than where it is not shown.
    """

    taken_up: str
    after: str
    without: str


def habits(outcomes: Mapping[str, Outcome]) -> dict[str, Habit]:
    """The habits that three of ``outcomes`` tell, by their scope."""
    told = outcomes.items()
    return {
        after.scope: Habit(first, second, third)
        for first, taken in told
        if isinstance(taken, TakenUp)
        for second, after in told
        if type(after) is BackAfter and after.active_if == taken.active_if
        for third, without in told
        if isinstance(without, BackWithout) and without.days() == after.days()
    }


@dataclass(frozen=True)
class TakenUp:
    """Whether an exposure is taken up: bit 0 of ``trace``, where bit 0 of ``observed`` is set.

    It is feedback of the exposure itself, so a target of E, which knows the item, and not of F, which has read it.

    Attributes:
        active_if: a feedback column, above 0 where it is.
    """

    active_if: str

    targets = (TRACE, OBSERVED)
    states = ("exposed",)
    horizon_days = 1

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        return f"exposures taken up, by {self.active_if}"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return self.unit

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day``, ``trace`` and ``observed``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01).
            since: tell only of rows that were not yet there when this was the ``end_day``.

        Raises:
            SchemaError: ``active_if`` is no feedback column.
        """
        if self.active_if not in log.feedback:
            raise SchemaError(f"active_if={self.active_if!r} expected one of the feedback columns {list(log.feedback)}")
        fresh = revealed(end_day, since)
        taken = (pl.col(self.active_if) > 0) & fresh
        return log.events.with_columns(day_of(log)).with_columns(
            taken.cast(pl.Int64).alias(TRACE), fresh.cast(pl.Int64).alias(OBSERVED)
        )

    def parts(self, labels: pl.DataFrame) -> Parts:
        """One part, as `label` tells it."""
        taken, known = (labels[name].to_numpy()[:, None] for name in (TRACE, OBSERVED))
        return Parts(["taken up"], taken.astype(np.float64), known == 1)


@dataclass(frozen=True)
class BackAfter:
    """On which of the next days the user is back to the same item, creator or show, once an exposure is taken up.

    The trace of `ActivityTrace` with this ``scope``, of which only exposures that are taken up are told.

    Attributes:
        horizon_days: H, 1 to 63.
        scope: ``item``, or a column of the items table.
        active_if: a feedback column that must be above 0 for an exposure to count as taken up, and as being back.
        whole_sessions: a session that goes on after the end of a day is no return; see `ActivityTrace`.
    """

    horizon_days: int
    scope: str
    active_if: str
    whole_sessions: bool = field(default=False, kw_only=True)

    targets = (TRACE, OBSERVED)
    states = ("exposed",)

    def __post_init__(self) -> None:
        if self.scope == "user":
            raise ValueError("scope expected item or a column of the items table, what the user is back to; got user")
        self.days()

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        return f"{self.days().unit}, once it is taken up"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return self.unit

    def days(self) -> ActivityTrace:
        """The trace that is told."""
        return ActivityTrace(self.horizon_days, self.scope, self.active_if, self.whole_sessions)

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day``, ``trace`` and ``observed``; see `ActivityTrace.label`."""
        days = self.days()
        labels = days.label(log, end_day, since=since)
        return labels.with_columns(pl.when(days.active).then(pl.col(name)).otherwise(0) for name in self.targets)

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Days, as `label` tells them."""
        return self.days().parts(labels)


@dataclass(frozen=True)
class BackWithout(BackAfter):
    """On which of the next days the user is back to an item, creator or show that was not shown in this slot.

    Each row asks about one: with probability ``own_share`` that of something the user took up before the row's slate,
    else that of something shown to anybody before it. Both are drawn from the past alone. So what came of those drawn
    is what comes of any in the same state, and wants no weights. Of one that is in the row's slate nothing is told.

    Attributes:
        own_share: see above, 0 to 1.
        seed: of the draws.
    """

    own_share: float
    seed: int

    states = (ABSENT,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.own_share <= 1:
            raise ValueError(f"own_share expected a share, 0 to 1, got {self.own_share}")

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        return f"{self.days().unit}, where it is not shown"

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day``, ``asked`` (whose return is told), ``trace`` and ``observed``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01).
            since: tell only of days that were not yet known when this was the ``end_day``.

        Raises:
            SchemaError: see `ActivityTrace.label`.
        """
        trace = self.days()
        events = trace.grouped(log)
        names = events.collect_schema().names()
        past = events.select(
            USER,
            DAY,
            TIMESTAMP,
            slate_moment(names).alias("slate"),
            pl.col(trace.keys[1]).alias(ASKED),
            *(name for name in (SESSION,) if name in names),
            active=trace.active,
        ).collect()
        asked = self._asked(past)
        days = pl.concat([past.select(USER, DAY, ASKED, "active"), asked.with_columns(active=pl.lit(False))])
        keys = [USER, ASKED]
        words = activity_words(
            days.lazy().group_by(*keys, DAY).agg(pl.col("active").any()), keys, self.horizon_days
        ).drop("active")
        if self.whole_sessions:
            words = returns_alone(words, past.lazy(), keys, self.horizon_days, log.session_gap_minutes)
        return (
            events.with_columns(asked[ASKED])
            .join(words, on=[USER, ASKED, DAY], how="left", maintain_order="left")
            .with_columns(trace.told(end_day, since))
            .with_columns(
                pl.when(pl.col(ASKED).is_null()).then(0).otherwise(word).alias(name)
                for name, word in ((OBSERVED, pl.col(OBSERVED)), (TRACE, pl.col(TRACE) & pl.col(OBSERVED)))
            )
        )

    def _asked(self, past: pl.DataFrame) -> pl.DataFrame:
        """User, day and what is asked about of each row; null where there is nothing to ask about."""
        user, group = (past[name].rank("dense").fill_null(0).to_numpy().astype(np.int64) for name in (USER, ASKED))
        moments = np.unique(past[TIMESTAMP].to_numpy())
        time, slate = (np.searchsorted(moments, past[name].to_numpy()) for name in (TIMESTAMP, "slate"))
        taken = np.flatnonzero(past["active"].to_numpy())
        place = user * len(moments)
        taken = taken[np.argsort(place[taken] + time[taken], kind="stable")]
        first, stop = (np.searchsorted(place[taken] + time[taken], place + since) for since in (0, slate))
        shown = np.argsort(time, kind="stable")
        before = np.searchsorted(time[shown], slate)
        draw = np.random.default_rng(self.seed).random((2, len(past)))
        own = (draw[0] < self.own_share) & (stop > first)
        drawn = np.where(
            own,
            _entry(taken, first + (draw[1] * (stop - first)).astype(np.int64)),
            _entry(shown, (draw[1] * before).astype(np.int64)),
        )
        slates = np.unique(place + slate, return_inverse=True)[1] * (group.max(initial=0) + 1)
        there = np.isin(slates + group[drawn], slates + group) | ~(own | (before > 0))
        return past.select(USER, DAY, pl.col(ASKED).gather(drawn)).with_columns(
            pl.when(pl.Series(there)).then(None).otherwise(pl.col(ASKED)).alias(ASKED)
        )


def _entry(values: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """``values[place]``, and 0 where there is none."""
    return np.append(values, 0)[np.minimum(place, len(values))]
