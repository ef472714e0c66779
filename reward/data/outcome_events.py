"""Outcome events: renewals, purchases, returns by another door, each of a user at a moment; how they are checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import polars as pl

from reward.columns import TIMESTAMP, USER
from reward.data.cells import near_names, outcome_readers
from reward.data.days import day_at
from reward.data.event_log import EventLog, SchemaError
from reward.data.tables import Table, flaw_lines, read_table

COPY = "another row is the same"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass
class CheckedOutcomes:
    """Outcome events in their clean form, and what was found on the way.

    Attributes:
        frames: of each kind ``user_id`` (of the events' type), ``timestamp`` (Datetime("us", "UTC")) and, where it
            came, ``value`` (Float64), sorted by these; none at or after the end that was declared.
        end: of each kind that has one, the moment in UTC up to which its events are complete.
        rejected: of each kind the rows set aside, as they came, with ``reason``; kinds without any are not named.
        problems: why the log cannot be used.
        notes: what to say of events that are kept and count for nobody.
    """

    frames: dict[str, pl.LazyFrame] = field(default_factory=dict)
    end: dict[str, datetime] = field(default_factory=dict)
    rejected: dict[str, pl.DataFrame] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_outcomes(log: EventLog, events: pl.DataFrame, zone: ZoneInfo, *, needed: bool) -> CheckedOutcomes:
    """Read the outcome events of a log once, and bring them to their clean form.

    Args:
        log: the log as it came.
        events: its exposures in their clean form, as far as they could be read.
        zone: the log's.
        needed: every kind must have an event of a user of the log within the log's time, for it is to be learned.
    """
    found = CheckedOutcomes(problems=_name_problems(log))
    for kind, end in log.outcomes_end.items():
        found.end[kind] = (end if end.tzinfo else end.replace(tzinfo=zone)).astimezone(UTC)
    if not found.problems:
        for kind, frame in log.outcomes.items():
            _check_kind(kind, frame, log, events, found, needed=needed)
    return found


def kind_of_outcome(log: EventLog, kind: str) -> pl.LazyFrame:
    """The outcome events of a kind, of a checked log.

    Raises:
        SchemaError: the log has none of that kind; it names those that there are.
    """
    if kind in log.outcomes:
        return log.outcomes[kind]
    if not log.outcomes:
        raise SchemaError(
            f"kind={kind!r} expected outcome events, and the log has none: give them with "
            f"data.outcomes={{{kind}: PATH}}"
        )
    raise SchemaError(
        f"kind={kind!r}{near_names(kind, log.outcomes)} expected one of the kinds of outcome events of the log, "
        f"{', '.join(log.outcomes)}: set kind to one of these, or give it with data.outcomes={{{kind}: PATH}}"
    )


def outcome_end_day(log: EventLog, kind: str, end_day: int) -> int:
    """The first day of which not all events of a kind are known: ``end_day``, or earlier where they end earlier."""
    return min(end_day, day_at(log, log.outcomes_end[kind])) if kind in log.outcomes_end else end_day


def _name_problems(log: EventLog) -> list[str]:
    problems = [
        f"outcomes has the kind {kind!r}: expected a name of letters, digits and _, such as renewal: rename it"
        for kind in log.outcomes
        if _NAME.fullmatch(kind) is None
    ]
    return problems + [
        f"outcomes_end has {kind!r}{near_names(kind, log.outcomes)}: expected one of the kinds in outcomes, "
        f"{', '.join(log.outcomes) or 'which has none'}"
        for kind in log.outcomes_end
        if kind not in log.outcomes
    ]


def _check_kind(
    kind: str, frame: pl.LazyFrame, log: EventLog, events: pl.DataFrame, found: CheckedOutcomes, *, needed: bool
) -> None:
    name = f"outcomes.{kind}"
    table = _without_copies(read_table(name, frame, partial(outcome_readers, log)))
    found.problems += table.problems
    good = table.reason.is_null()
    rejected = table.raw.with_columns(table.reason).filter(~good)
    if rejected.height:
        found.rejected[kind] = rejected.sort(pl.all())
    if rejected.height > log.max_rejected_share * table.raw.height:
        found.problems.append(
            f"{rejected.height} of {table.raw.height} rows of {name} would be set aside, over "
            f"max_rejected_share={log.max_rejected_share}: mend them in the source, or allow more of them"
            + "".join(f"\n    {line}" for line in flaw_lines(table, log.timestamp_unit))
        )
    clean = table.clean.filter(good)
    if not {USER, TIMESTAMP} <= {*clean.columns} or not {USER, TIMESTAMP} <= {*events.columns}:
        return
    if clean.schema[USER] != events.schema[USER]:
        found.problems.append(
            f"{USER} is {clean.schema[USER]} in {name} and {events.schema[USER]} in events; expected one type: cast "
            "one of them"
        )
        return
    clean = _before_end(kind, clean.sort(clean.columns), found)
    of_users = clean.join(events.select(USER), on=USER, how="semi")
    if (strangers := clean.height - of_users.height) > 0:
        found.notes.append(
            f"{strangers:,} of {clean.height:,} events of {name} are of users without an event in the log: they count "
            "for nobody"
        )
    if needed and not events.is_empty():
        found.problems += _unseen(name, of_users, events)
    found.frames[kind] = clean.lazy()


def _without_copies(table: Table) -> Table:
    """The table with a reason given to all usable rows that are the same but the first."""
    if table.problems:
        return table
    usable = table.reason.is_null()
    rows = table.clean.with_columns(usable.alias("usable"))
    copies = usable & ~rows.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    reason = table.reason.clone().scatter(copies.arg_true(), COPY)
    return replace(table, reason=reason, flaws={**table.flaws, COPY: table.clean.columns})


def _before_end(kind: str, clean: pl.DataFrame, found: CheckedOutcomes) -> pl.DataFrame:
    """The events before the end that was declared: after it they may be a part of those that there were."""
    if kind not in found.end:
        return clean
    end = found.end[kind]
    inside = clean.filter(pl.col(TIMESTAMP) < end)
    if inside.height < clean.height:
        found.notes.append(
            f"{clean.height - inside.height:,} events of outcomes.{kind} at or after outcomes_end={end.isoformat()} "
            "are not read"
        )
    return inside


def _unseen(name: str, of_users: pl.DataFrame, events: pl.DataFrame) -> list[str]:
    """A problem where no event of the log's users lies in the log's time."""
    first, last = events[TIMESTAMP].min(), events[TIMESTAMP].max()
    if of_users[TIMESTAMP].is_between(first, last).any():
        return []
    when = f", from {of_users[TIMESTAMP].min()!s} to {of_users[TIMESTAMP].max()!s}" if of_users.height else ""
    return [
        f"{name} expected events of users of the log within its time, from {first!s} to {last!s}, got none: "
        f"{of_users.height:,} events are of its users{when}. Check that {USER} is the same in both tables, and the "
        f"unit of {TIMESTAMP}"
    ]
