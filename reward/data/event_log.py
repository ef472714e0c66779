"""An event log: its tables, what its columns are for, and how its days and sessions are told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from reward.columns import CLICKS, REQUEST, TIMESTAMP, USER


class SchemaError(ValueError):
    """A log that does not fit the schema; the message lists every problem found, not the first one."""


@dataclass(frozen=True)
class EventLog:
    """A log of exposures, one row for each time an item was shown to a user, and how to read it.

    Attributes:
        events: one row an exposure: ``user_id``, ``item_id``, ``timestamp``, the feedback and context columns
            named below and, optionally, ``session_id``, ``request_id``, ``position`` and ``propensity``.
        feedback: columns with what the user did: bool, 0/1 or a quantity of at least 0. Known after the exposure.
        context: columns known before the item is chosen. A float column is a number, any other a category.
        items: one row an item: ``item_id`` and ``item_features``; None where the log has no items table.
        item_features: columns of ``items``: a float column is a number, a list of floats an embedding, any other
            a category.
        timezone: IANA name of the zone whose clock separates the days.
        timestamp_unit: ``s``, ``ms``, ``us`` or ``ns`` where ``timestamp`` is an integer; else None.
        session_gap_minutes: idleness after which a new session starts, where the log has no ``session_id``.
        end: the moment up to which the log is complete (a datetime, naive ones in ``timezone``); None: its last
            event, which leaves the last day incomplete.
        max_rejected_share: share of rows that may be set aside before the log is refused.
        click: the feedback column that says that the item was taken up, where it is above 0. None: the one that is
            called ``click``, ``is_click`` or ``clicked``; without such a one the log has no click.
        flags: feedback columns that hold 0 or 1, every other one being a quantity. None: those that are Boolean, and
            those that hold both 0 and 1 and nothing else.
        day_starts_at: local time, such as ``04:00``, at which a day begins.
        outcomes: by kind, such as ``renewal``, outcome events: ``user_id``, ``timestamp`` and, optionally, ``value``.
        outcomes_end: by kind the moment up to which its events are complete, where that is before the end of the log.
    """

    events: pl.LazyFrame
    feedback: tuple[str, ...]
    session_gap_minutes: float
    max_rejected_share: float
    context: tuple[str, ...] = ()
    items: pl.LazyFrame | None = None
    item_features: tuple[str, ...] = ()
    timezone: str = "UTC"
    timestamp_unit: str | None = None
    end: datetime | None = None
    click: str | None = None
    flags: tuple[str, ...] | None = None
    day_starts_at: str = "00:00"
    outcomes: Mapping[str, pl.LazyFrame] = field(default_factory=dict, hash=False)
    outcomes_end: Mapping[str, datetime] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Checked:
    """A log that passed `check`, and the rows that were set aside on the way.

    Attributes:
        log: the log in the clean form that all later code relies on. ``events`` has exactly ``user_id`` and
            ``item_id`` (each Int64 or String), ``timestamp`` (Datetime("us", "UTC")), those of ``session_id``,
            ``request_id``, ``position`` (Int64) and ``propensity`` (Float64) that came, the feedback columns
            (Float64, finite, at least 0) and the context columns (Float64 a number, String a category; null where
            unknown, NaN too). (user, item, timestamp) is unique and rows are sorted by user, timestamp, position and
            item, so the order in which they came plays no part. ``items`` is sorted by a unique ``item_id`` of the
            events' type; each of ``item_features`` is Float64, String or, an embedding, List(Float32) of one length
            (null where unknown); its other columns are as they came. ``outcomes`` and ``outcomes_end`` are as
            `reward.data.outcome_events.CheckedOutcomes` has them.
        rejected: the rows set aside, in the columns and types they came in, and ``reason``.
        reasons: why a row was set aside, for each row in the order in which they came; null where it was not.
        rejected_outcomes: by kind the outcome events set aside, alike; kinds of which none was are not named.
        notes: what is to be said of outcome events that are kept and count for nobody.
    """

    log: EventLog
    rejected: pl.DataFrame
    reasons: pl.Series
    rejected_outcomes: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns what goes wrong when polars reads ``what`` into a `SchemaError` that names it."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise SchemaError(
            f"{what} cannot be read: {_cause(error)}. Expected files that exist, are complete and "
            "have one schema: check the path, and write a damaged or unfinished file again"
        ) from error


def _cause(error: BaseException) -> str:
    """The first line of what went wrong, without advice that is for those who call polars."""
    line = str(error).partition("\n")[0]
    if "expanded paths were empty" in line:
        return "nothing is there"
    return re.split(
        r"[.,;]?\s*\b(?:hint|help|consider|try setting|you may)\b|\s*\((?:set|path expansion)", line, flags=re.I
    )[0]


def click_of(log: EventLog) -> str | None:
    """The feedback column that says that an item was taken up, None where the log has none."""
    return log.click or next((name for name in CLICKS if name in log.feedback), None)


def minutes_of(day_starts_at: str) -> int:
    """Minutes after midnight of a local time such as ``04:00``.

    Raises:
        SchemaError: it is no time of that form.
    """
    told = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(day_starts_at))
    if told is None:
        raise SchemaError(
            f"day_starts_at={day_starts_at!r}: expected a local time from 00:00 to 23:59, such as '04:00'"
        )
    return 60 * int(told[1]) + int(told[2])


def slate_moment(names: list[str]) -> pl.Expr:
    """When each row's slate was put together, in a frame with these columns."""
    if REQUEST not in names:
        return pl.col(TIMESTAMP)
    shown = pl.col(TIMESTAMP).min().over(USER, REQUEST)
    return pl.when(pl.col(REQUEST).is_null()).then(pl.col(TIMESTAMP)).otherwise(shown)
