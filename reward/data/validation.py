"""The event log's vocabulary: the names of its columns, what a log is, and the check every log passes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from reward.columns import ITEM, POSITION, PROPENSITY, REASON, REQUEST, SESSION, TIMESTAMP, USER
from reward.data.cells import Reader, event_readers, feature, identifier, item_readers, moment, near_names
from reward.data.event_log import Checked, EventLog, SchemaError, click_of, minutes_of
from reward.data.outcome_events import CheckedOutcomes, check_outcomes
from reward.data.tables import Table, flaw_lines, read_table

MADE = frozenset(  # names of the columns that the model's inputs are made in: no column of a log may have one
    {
        *("row", "is_event", "slate", "visible", "weekday", "no_history", "gap_hours", "days_since_last"),
        *("new_session", "session_position", "session_minutes", "events_today", "events_per_day", "hour_sin"),
        *("hour_cos", "trace", "code", "events"),
        *(f"{kind}_{span}d" for kind in ("active", "known", "rate") for span in (2, 7, 28)),
    }
)
UNKNOWN = " is missing"  # after a number's name: the column that flags where it is unknown
_LONGEST_DAYS = 10_958  # thirty years
_LONGEST_GAP_MINUTES = 43_200.0  # thirty days
_FEW = 100  # one row in so many may lie far from all others
STRAY = f"{TIMESTAMP} is over a year away from those of all but a few rows"
DUPLICATE = f"another row has the same {USER}, {ITEM} and {TIMESTAMP}"


class SetAsideWarning(UserWarning):
    """Some rows have no score, for training sets such rows aside; it counts them and says why."""


def check(log: EventLog, *, least_users: int = 2, strays: bool | None = None) -> Checked:
    """Reads a log once, brings it to its clean form and sets aside, with the reason, the rows that do not fit it.

    A naive datetime is taken as UTC, a date as noon in ``timezone``. Of rows that share user, item and timestamp the
    one that sorts first by all its columns is kept. A row with several flaws is counted under the first of them.

    Args:
        log: the log as it came.
        least_users: users it must have: 2 to learn from, for users are what a model is validated on; 0 to score.
        strays: set aside the few rows that lie years away from all others; None: where there must be users.

    Returns:
        The clean log, with ``timestamp_unit`` None, and the rejected rows.

    Raises:
        SchemaError: if the log cannot be read, lacks what it should have, or more than ``max_rejected_share`` of its
            rows, or of outcome events of a kind, are flawed; or such a kind has nothing to say of the log's users. It
            lists every problem found.
    """
    problems = _settings(log)
    events = _without_repeats(read_table("events", log.events, partial(event_readers, log)))
    if least_users > 0 if strays is None else strays:
        events = _without_strays(events)
    problems += events.problems
    items = None if log.items is None else read_table("items", log.items, partial(item_readers, log.item_features))
    if items is not None:
        problems += items.problems + _item_problems(items, events)
    good = events.reason.is_null()
    kept = events.clean.filter(good)
    flags = _flags(log, events, kept)
    rejected = events.raw.with_columns(events.reason).filter(~good)
    share = rejected.height / max(events.raw.height, 1)
    if least_users and events.raw.width and events.raw.is_empty():
        problems.append("events is empty: expected one row for each time an item was shown to a user")
    elif share > log.max_rejected_share:
        problems.append(
            f"{rejected.height} of {events.raw.height} events ({share:.2%}) would be set aside, over "
            f"max_rejected_share={log.max_rejected_share}: mend them in the source, or allow more of them"
            + "".join(f"\n    {line}" for line in flaw_lines(events, log.timestamp_unit))
        )
    elif {USER, TIMESTAMP} <= set(kept.columns):
        problems += _extent(kept, log, least_users)
    zone = _zone(log.timezone)
    outcomes = CheckedOutcomes() if zone is None else check_outcomes(log, kept, zone, needed=least_users > 0)
    problems += outcomes.problems
    if problems:
        raise SchemaError("".join([f"the log has {len(problems)} problem(s):", *(f"\n- {it}" for it in problems)]))
    order = [name for name in (USER, TIMESTAMP, POSITION, ITEM) if name in kept.columns]
    return Checked(
        replace(
            log,
            events=kept.sort(order).lazy(),
            items=None if items is None else items.clean.sort(ITEM).lazy(),
            timestamp_unit=None,
            click=click_of(log),
            flags=flags,
            outcomes=outcomes.frames,
            outcomes_end=outcomes.end,
        ),
        rejected.sort(pl.all()),
        events.reason,
        outcomes.rejected,
        tuple(outcomes.notes),
    )


def check_items(items: pl.DataFrame, item_features: Iterable[str]) -> pl.DataFrame:
    """The columns of an items table that are read, in their clean form; see `Checked`.

    Raises:
        SchemaError: it lacks a column, or a value of it cannot be used. It lists every problem found.
    """
    names = tuple(item_features)
    there = [name for name in (ITEM, *names) if name in items.columns]
    table = read_table("items", items.lazy().select(there or pl.all()), partial(item_readers, names))
    problems = [*table.problems, *(f"{line}: mend them, every row is used" for line in flaw_lines(table))]
    if problems:
        raise SchemaError(f"the items table does not fit: {'; '.join(problems)}")
    return table.clean.select(ITEM, *names)


def unread_item_features(log: EventLog) -> tuple[str, ...]:
    """The columns of the items table that could be item features and are not named as such."""
    if log.items is None:
        return ()
    named = {ITEM, *log.item_features}
    return tuple(
        name for name, dtype in log.items.collect_schema().items() if name not in named and _readable(name, dtype)
    )


def _readable(name: str, dtype: pl.DataType) -> bool:
    try:
        feature(name, dtype)
    except SchemaError:
        return False
    return True


def row_keys(frame: pl.DataFrame, timestamp_unit: str | None, timezone: str = "UTC") -> pl.DataFrame:
    """The key columns of ``frame`` (those it has of user, item and timestamp) in their clean form, row by row.

    Args:
        frame: rows as they came.
        timestamp_unit: the unit of timestamps that are integers.
        timezone: the zone of timestamps that are dates.

    Raises:
        SchemaError: a key column is of a type that no log has.
    """
    unit = timestamp_unit if frame.schema.get(TIMESTAMP, pl.Null()).is_integer() else None
    readers: dict[str, Reader] = {USER: identifier, ITEM: identifier, TIMESTAMP: partial(moment, unit, timezone)}
    return frame.select(
        reader(name, frame.schema[name])[0].alias(name) for name, reader in readers.items() if name in frame.columns
    )


def _flags(log: EventLog, events: Table, kept: pl.DataFrame) -> tuple[str, ...]:
    """The feedback that is 0 or 1: as it is said to be, Boolean, or both numbers and no other."""
    if log.flags is not None:
        return log.flags
    return tuple(
        name
        for name in log.feedback
        if name in kept.columns
        and (events.raw.schema[name] == pl.Boolean or set(kept[name].unique().head(3)) == {0.0, 1.0})
    )


def _settings(log: EventLog) -> list[str]:
    own = (USER, ITEM, TIMESTAMP, SESSION, REQUEST, POSITION, PROPENSITY, REASON)
    problems = _twice({"the schema's own": own, "feedback": log.feedback, "context": log.context})
    problems += _twice({"the schema's own": (ITEM,), "an item feature": log.item_features})
    shared = sorted({*log.feedback, *log.context} & {*log.item_features})
    every = {*log.feedback, *log.context, *log.item_features}
    taken = sorted(every & {*MADE, *(it + UNKNOWN for it in every)} | ({"day"} & {*log.feedback}))
    patterns = sorted(
        it for it in {*log.feedback, *log.context, *log.item_features} if it == "*" or it[:1] + it[-1:] == "^$"
    )
    if patterns:
        problems.append(f"{', '.join(patterns)}: expected the names of columns, and no patterns: name each of them")
    if taken or shared:
        problems.append(
            f"{', '.join([*taken, *shared])}: a column's name is taken, by another column or by one that the model "
            "makes; expected feedback, context and item features to differ from both: rename the column"
        )
    if not log.feedback:
        problems.append("no feedback is named: expected at least one column with what the user did: name it")
    if log.items is None and log.item_features:
        problems.append(f"item_features={list(log.item_features)}, and no items: give the items table that has them")
    if not 0 <= log.max_rejected_share <= 1:
        problems.append(f"max_rejected_share={log.max_rejected_share}: expected a share between 0 and 1")
    if not 0 < log.session_gap_minutes <= _LONGEST_GAP_MINUTES:
        problems.append(
            f"session_gap_minutes={log.session_gap_minutes}: expected minutes, more than 0 and at most "
            f"{_LONGEST_GAP_MINUTES:g}"
        )
    if log.click is not None and log.click not in log.feedback:
        problems.append(
            f"click={log.click!r}{near_names(log.click, log.feedback)}: expected one of the feedback columns "
            f"{list(log.feedback)}, or null"
        )
    unknown = sorted({*(log.flags or ())} - {*log.feedback})
    if unknown:
        problems.append(f"flags={unknown}: expected some of the feedback columns {list(log.feedback)}, or null")
    try:
        minutes_of(log.day_starts_at)
    except SchemaError as error:
        problems.append(str(error))
    if _zone(log.timezone) is None:
        near = near_names(log.timezone, available_timezones())
        problems.append(f"timezone={log.timezone!r} is unknown{near}: expected an IANA name such as Europe/Paris")
    return problems


def _twice(roles: dict[str, tuple[str, ...]]) -> list[str]:
    named = [(name, role) for role, names in roles.items() for name in names]
    return [
        f"{name!r} is named {count} times, as {' and '.join(role for other, role in named if other == name)}: "
        "give a column one role"
        for name, count in Counter(name for name, _ in named).items()
        if count > 1
    ]


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        return None


def _without_repeats(events: Table) -> Table:
    """The events with a reason given to all usable rows of the same key but the one that sorts first."""
    key = [USER, ITEM, TIMESTAMP]
    if not set(key) <= set(events.clean.columns):
        return events
    order = events.clean.select(pl.arg_sort_by(events.clean.columns)).to_series()
    usable = events.reason[order].is_null()
    first = events.clean.select(key)[order].select(pl.struct(usable, *key).is_first_distinct()).to_series()
    reason = events.reason.clone().scatter(order.filter(usable & ~first).sort(), DUPLICATE)
    return replace(events, reason=reason, flaws={**events.flaws, DUPLICATE: key})


def _without_strays(events: Table) -> Table:
    """The events with a reason given to the few of them that lie over a year away from all the others."""
    if TIMESTAMP not in events.clean.columns:
        return events
    usable = events.reason.is_null()
    times = events.clean[TIMESTAMP].filter(usable).sort()
    few = len(times) // _FEW or int(len(times) > 2 * _FEW // 10)
    far = (times.diff() > timedelta(days=365)).fill_null(value=False).arg_true()
    if not len(far):
        return events
    begins, ends = far.filter(far <= few), far.filter(far >= len(times) - few)
    first = times[int(begins[-1])] if len(begins) else times.min()
    last = times[int(ends[0]) - 1] if len(ends) else times.max()
    stray = usable & ~events.clean[TIMESTAMP].is_between(first, last).fill_null(value=True)
    if not stray.any():
        return events
    reason = events.reason.clone().scatter(stray.arg_true(), STRAY)
    return replace(events, reason=reason, flaws={**events.flaws, STRAY: [TIMESTAMP]})


def _item_problems(items: Table, events: Table) -> list[str]:
    problems = [f"items: {line}: mend them, every row is used" for line in flaw_lines(items)]
    types = [table.clean.schema.get(ITEM) for table in (items, events)]
    if None not in types and types[0] != types[1]:
        problems.append(f"{ITEM} is {types[0]} in items and {types[1]} in events; expected one type: cast one of them")
    return problems


def _extent(kept: pl.DataFrame, log: EventLog, least_users: int) -> list[str]:
    """What is wrong with the users and the time that the clean events span."""
    problems = []
    if (users := kept[USER].n_unique()) < least_users:
        problems.append(
            f"events has {users} user(s); expected at least {least_users}, for users are what a model is validated on"
        )
    first, last, zone = kept[TIMESTAMP].min(), kept[TIMESTAMP].max(), _zone(log.timezone)
    if least_users and isinstance(first, datetime) and isinstance(last, datetime):
        days = (last - first).days
        if days > _LONGEST_DAYS:
            problems.append(
                f"events go from {first.date()} to {last.date()}, over {days:,} days; expected at most "
                f"{_LONGEST_DAYS:,}: mend {TIMESTAMP}, or give the years that are to be learned from"
            )
    if isinstance(last, datetime) and log.end is not None and zone is not None:
        end = log.end if log.end.tzinfo else log.end.replace(tzinfo=zone)
        if end < last:
            problems.append(
                f"end={end.isoformat()} is before the last event, at {last.astimezone(zone).isoformat()}; expected the "
                "moment up to which the log is complete: set a later one, or leave it null"
            )
    return problems
