"""What an outcome is: labels of a log's events, and the parts that a prediction is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.columns import USER
from reward.data.days import DAY, OBSERVED, TRACE
from reward.data.event_log import EventLog, SchemaError
from reward.data.outcome_events import kind_of_outcome, outcome_end_day
from reward.data.split import Split, day_to_date

STATES = ("before", "exposed", "after")
ABSENT = "absent"
ASKED = "asked"


class Parts(NamedTuple):
    """An outcome as numbers that add up to it, in the parts that `Head.expected` predicts.

    Attributes:
        names: k of them, such as the days of the horizon.
        values: (rows, k).
        known: (rows, k), which of the values the log can tell.
    """

    names: list[str]
    values: NDArray[np.float64]
    known: NDArray[np.bool_]


class Points(NamedTuple):
    """How amounts of an outcome are told.

    Attributes:
        one: what one point of it is, such as ``day``.
        many: what several are.
        total: what the sum over the horizon is.
        changed: what showing an item changes where it has an effect, a clause.
        on_a_day: what a user is on a day that counts.
        share: the sum is at most 1, the chance of one event, and is told in per cent.
    """

    one: str = "day"
    many: str = "days"
    total: str = "active days"
    changed: str = "how often users come back"
    on_a_day: str = "active"
    share: bool = False


DAYS = Points()


class Daily(NamedTuple):
    """What came of users' days, day by day.

    Attributes:
        rows: (n rows) ``user_id`` and ``day`` (days since 1970-01-01), sorted: days on which a user was shown items.
        values: (n, H) what each of the H days after brought; they add up to the outcome.
        known: (n,) how many of these days the log knows, from the first; values of the others are not read.
    """

    rows: pl.DataFrame
    values: NDArray[np.float32]
    known: NDArray[np.int64]


def daily_of(labels: pl.LazyFrame, horizon_days: int) -> Daily:
    """User-days of labelled events with ``trace`` and ``observed``, which are the same for all events of a user-day."""
    days = labels.select(USER, DAY, TRACE, OBSERVED).collect().unique([USER, DAY]).sort(USER, DAY)
    return Daily(
        days.select(USER, DAY),
        days_of(days[TRACE], horizon_days).astype(np.float32),
        np.bitwise_count(days[OBSERVED].to_numpy()).astype(np.int64),
    )


def days_of(words: pl.Series, horizon_days: int) -> NDArray[np.bool_]:
    """(rows, H) days of words."""
    return (words.to_numpy()[:, None] >> np.arange(horizon_days)) & 1 == 1


def day_names(horizon_days: int) -> list[str]:
    """A name for each day of a horizon."""
    return [f"day {day}" for day in range(1, horizon_days + 1)]


def day_parts(labels: pl.DataFrame, horizon_days: int) -> Parts:
    """The days of a horizon, of labels with ``trace`` and ``observed``."""
    trace, observed = (days_of(labels[name], horizon_days) for name in (TRACE, OBSERVED))
    return Parts(day_names(horizon_days), trace.astype(np.float64), observed)


class Outcome(Protocol):
    """What training asks of an outcome.

    Attributes:
        targets: names of the columns that `label` adds: Int64, or arrays of Float32 with a number for each day.
        horizon_days: H.
        unit: what one point of a value means.
        counted: what the outcomes of `Head.distribution` are numbers of.
        states: which states may be asked for it, of Q ``before``, E ``exposed`` and F ``after``: what the feedback
            itself tells is no target of the state after it. Or ``absent`` alone: the slot, asked about an item,
            creator or show that is not in it. Then `label` says in ``asked`` which; see `AbsentOutcome`.
    """

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def horizon_days(self) -> int: ...

    @property
    def unit(self) -> str: ...

    @property
    def counted(self) -> str: ...

    @property
    def states(self) -> tuple[str, ...]: ...

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame: ...

    def parts(self, labels: pl.DataFrame) -> Parts: ...


@runtime_checkable
class DailyOutcome(Outcome, Protocol):
    """One that is a sum over the days after a user's day: what effects of items can be estimated on.

    Attributes:
        scope: ``user`` where it is the user's, whatever was shown; else it has no effects of this kind.
        reads: kinds of outcome events that `label` reads beside the exposures.
        points: how amounts of it are told.
    """

    @property
    def scope(self) -> str: ...

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def points(self) -> Points: ...

    def daily(self, log: EventLog, end_day: int) -> Daily: ...


def has_effects(outcome: object) -> TypeGuard[DailyOutcome]:
    """Whether what showing an item did to an outcome can be estimated: it is the user's, day by day."""
    return isinstance(outcome, DailyOutcome) and outcome.scope == "user"


def is_of_exposures(outcome: object) -> TypeGuard[DailyOutcome]:
    """Whether exposures alone tell what came of each day of an outcome of the user."""
    return has_effects(outcome) and not outcome.reads


def check_known(log: EventLog, window: Split, outcomes: Mapping[str, object]) -> None:
    """Refuse outcomes that read events of which the log has none, or none in the test days.

    Args:
        log: a checked log.
        window: its split.
        outcomes: by the setting that makes each.

    Raises:
        SchemaError: it says which, and what to set.
    """
    for setting, outcome in outcomes.items():
        for kind in read_kinds(outcome):
            try:
                kind_of_outcome(log, kind)
            except SchemaError as error:
                raise SchemaError(f"{setting}.{error}") from error
            end = outcome_end_day(log, kind, window.end)
            if end < window.validation_end + 2:
                raise SchemaError(
                    f"{setting}: events of the kind {kind} are known until {day_to_date(end)}, by data.outcomes_end, "
                    f"and the test days begin on {day_to_date(window.validation_end)}, so no day after their rows is "
                    "known. Give later events, or set split.train_days and split.validation_days so that the test days "
                    "begin two days before"
                )


def read_kinds(outcome: object) -> tuple[str, ...]:
    """The kinds of outcome events that an outcome reads."""
    return tuple(getattr(outcome, "reads", ()))


class AbsentOutcome(Outcome, Protocol):
    """One whose state is ``absent``.

    Attributes:
        scope: what it asks about, ``item`` or a categorical column of the items table.
    """

    @property
    def scope(self) -> str: ...
