"""The event log's vocabulary: the names of its columns, what a log is, and the check every log passes once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

USER = "user_id"
ITEM = "item_id"
TIMESTAMP = "timestamp"
SESSION = "session_id"
REQUEST = "request_id"
POSITION = "position"
PROPENSITY = "propensity"
REASON = "reason"
CLICKS = ("click", "is_click", "clicked")  # a feedback column of such a name is the click, unless another is named

MADE = frozenset(  # names of the columns that the model's inputs are made in: no column of a log may have one
    {
        *("row", "is_event", "slate", "visible", "weekday", "no_history", "gap_hours", "days_since_last"),
        *("new_session", "session_position", "session_minutes", "events_today", "events_per_day", "hour_sin"),
        *("hour_cos", "trace", "code", "events"),
        *(f"{kind}_{span}d" for kind in ("active", "known", "rate") for span in (2, 7, 28)),
    }
)
UNKNOWN = " is missing"  # after a number's name: the column that flags where it is unknown
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_FIRST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
_LAST = int(datetime(2101, 1, 1, tzinfo=UTC).timestamp()) - 1
_LARGEST = 1e19  # every 64-bit integer is below it, and squares of it can be summed
_LARGEST_ELEMENT = 1e6  # of an embedding, which enters as it is
_LONGEST_DAYS = 10_958  # thirty years
_LONGEST_GAP_MINUTES = 43_200.0  # thirty days
_FEW = 100  # one row in so many may lie far from all others
_IMPLAUSIBLE = f"{TIMESTAMP} is before 1990 or after 2100"
STRAY = f"{TIMESTAMP} is over a year away from those of all but a few rows"
DUPLICATE = f"another row has the same {USER}, {ITEM} and {TIMESTAMP}"


class SchemaError(ValueError):
    """A log that does not fit the schema; the message lists every problem found, not the first one."""


class SetAsideWarning(UserWarning):
    """Some rows have no score, for training sets such rows aside; it counts them and says why."""


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
            (null where unknown); its other columns are as they came.
        rejected: the rows set aside, in the columns and types they came in, and ``reason``.
        reasons: why a row was set aside, for each row in the order in which they came; null where it was not.
    """

    log: EventLog
    rejected: pl.DataFrame
    reasons: pl.Series


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
            rows are flawed. It lists every problem found.
    """
    problems = _settings(log)
    events = _without_repeats(_read("events", log.events, partial(_event_readers, log)))
    if least_users > 0 if strays is None else strays:
        events = _without_strays(events)
    problems += events.problems
    items = None if log.items is None else _read("items", log.items, partial(_item_readers, log.item_features))
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
            + "".join(f"\n    {line}" for line in _flaws(events, log.timestamp_unit))
        )
    elif {USER, TIMESTAMP} <= set(kept.columns):
        problems += _extent(kept, log, least_users)
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
        ),
        rejected.sort(pl.all()),
        events.reason,
    )


def check_items(items: pl.DataFrame, item_features: Iterable[str]) -> pl.DataFrame:
    """The columns of an items table that are read, in their clean form; see `Checked`.

    Raises:
        SchemaError: it lacks a column, or a value of it cannot be used. It lists every problem found.
    """
    names = tuple(item_features)
    there = [name for name in (ITEM, *names) if name in items.columns]
    table = _read("items", items.lazy().select(there or pl.all()), partial(_item_readers, names))
    problems = [*table.problems, *(f"{line}: mend them, every row is used" for line in _flaws(table))]
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
        _feature(name, dtype)
    except SchemaError:
        return False
    return True


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
    readers: dict[str, _Reader] = {USER: _identifier, ITEM: _identifier, TIMESTAMP: partial(_moment, unit, timezone)}
    return frame.select(
        reader(name, frame.schema[name])[0].alias(name) for name, reader in readers.items() if name in frame.columns
    )


_Column = tuple[pl.Expr, dict[str, pl.Expr]]  # a column's clean form, and its flaws: what is wrong, in which rows
_Reader = Callable[[str, pl.DataType], _Column]


@dataclass(frozen=True)
class _Table:
    raw: pl.DataFrame
    clean: pl.DataFrame  # the columns of raw that could be read, in their final types
    reason: pl.Series  # why a row cannot be used, null where it can
    flaws: dict[str, list[str]]  # each reason and the columns that show it
    problems: list[str]


def _read(table: str, frame: pl.LazyFrame, readers_of: Callable[[pl.Schema], dict[str, _Reader]]) -> _Table:
    with reading(table):
        schema = frame.collect_schema()
    clean: list[pl.Expr] = []
    reasons: list[pl.Expr] = []
    unread: list[str] = []
    flaws: dict[str, list[str]] = {}
    problems: list[str] = []
    readers = readers_of(schema)
    for name, reader in readers.items():
        if name not in schema:
            there = ", ".join(schema) or "none"
            problems.append(f"{table} has no column {name!r}{_near(name, schema)}; its columns are {there}")
            continue
        try:
            column, found = reader(name, schema[name])
        except SchemaError as error:
            problems.append(f"{table} has {name!r} as {schema[name]}: {error}{_units_of(frame, name, schema[name])}")
            unread.append(name)
            continue
        clean.append(column.alias(name))
        reasons += [pl.when(rows).then(pl.lit(flaw)) for flaw, rows in found.items()]
        flaws |= {flaw: [name] for flaw in found}
    scans = re.findall(r"SCAN (\[.*?\])", frame.explain(optimized=False))
    with reading(" ".join([table, *scans])):
        raw = frame.select(name for name in readers if name in schema and name not in unread).collect()
    reason = raw.select(pl.coalesce(*reasons, pl.repeat(None, pl.len(), dtype=pl.String)).alias(REASON)).to_series()
    return _Table(raw, raw.select(clean), reason, flaws, problems)


def _units_of(frame: pl.LazyFrame, name: str, dtype: pl.DataType) -> str:
    """The units in which an integer timestamp would be a plausible one, and when it would be."""
    if name != TIMESTAMP or not dtype.is_integer():
        return ""
    with reading(name):
        ticks = frame.select(pl.col(name).drop_nulls().cast(pl.Float64).median()).collect().item()
    if ticks is None:
        return ""
    told = [
        f"; in {unit} most of them are around {datetime.fromtimestamp(ticks / per, UTC).date()}"
        for unit, per in _TICKS.items()
        if _FIRST <= ticks / per <= _LAST
    ]
    return "".join(told)


def _near(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, list(names))
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def _event_readers(log: EventLog, schema: pl.Schema) -> dict[str, _Reader]:
    optional: dict[str, _Reader] = {
        SESSION: _session,
        REQUEST: _label,
        POSITION: _integer,
        PROPENSITY: _probability,
    }
    return {
        USER: _identifier,
        ITEM: _identifier,
        TIMESTAMP: partial(_moment, log.timestamp_unit, log.timezone),
        **{name: reader for name, reader in optional.items() if name in schema},
        **{name: _flag if name in (log.flags or ()) else _quantity for name in log.feedback},
        **dict.fromkeys(log.context, _attribute),
    }


def _item_readers(item_features: tuple[str, ...], schema: pl.Schema) -> dict[str, _Reader]:
    there = (name for name, dtype in schema.items() if dtype != pl.Object)
    as_they_came: dict[str, _Reader] = dict.fromkeys(there, lambda name, _: (pl.col(name), {}))
    return as_they_came | dict.fromkeys(item_features, _feature) | {ITEM: _unique}


def _label(name: str, dtype: pl.DataType) -> _Column:
    if dtype.is_nested() or dtype in (pl.Object, pl.Duration, pl.Unknown):
        raise SchemaError("expected one value a row, for example an integer or a string: take it apart or leave it out")
    if dtype == pl.Binary:
        return pl.col(name).bin.encode("hex"), {}
    return pl.col(name).cast(pl.String) if dtype in (pl.Categorical, pl.Enum) else pl.col(name), {}


def _session(name: str, dtype: pl.DataType) -> _Column:
    column, _ = _label(name, dtype)
    return column, {f"{name} is null": column.is_null()}


def _integer(name: str, dtype: pl.DataType) -> _Column:
    if not dtype.is_integer():
        raise SchemaError("expected an integer: cast it")
    column = pl.col(name).cast(pl.Int64, strict=False)
    beyond = column.is_null() & pl.col(name).is_not_null()
    return column, {f"{name} is beyond a signed 64-bit integer, cast it to a string": beyond}


def _identifier(name: str, dtype: pl.DataType) -> _Column:
    null = {f"{name} is null": pl.col(name).is_null()}
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return pl.col(name).cast(pl.String), null
    if not dtype.is_integer():
        raise SchemaError("expected an integer or a string: cast it")
    column, beyond = _integer(name, dtype)
    return column, {**null, **beyond}


def _unique(name: str, dtype: pl.DataType) -> _Column:
    column, flaws = _identifier(name, dtype)
    return column, {**flaws, f"{name} is not unique": pl.col(name).is_duplicated()}


def _moment(unit: str | None, zone: str, name: str, dtype: pl.DataType) -> _Column:
    if dtype == pl.Date:
        noon = pl.col(name).cast(pl.Datetime("us")) + pl.duration(hours=12)
        moment = noon.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
        plausible = moment.dt.year().is_between(1990, 2100).fill_null(value=False)
        return pl.when(plausible).then(moment), {f"{name} is null": pl.col(name).is_null(), _IMPLAUSIBLE: ~plausible}
    if isinstance(dtype, pl.Datetime):
        if unit is not None:
            raise SchemaError(f"timestamp_unit={unit} is for integers, leave it null")
        unit = dtype.time_unit
    elif not dtype.is_integer():
        raise SchemaError("expected a datetime in UTC, or an integer and its timestamp_unit: parse or cast it")
    elif unit not in _TICKS:
        raise SchemaError(f"expected timestamp_unit to be one of {', '.join(_TICKS)}, got {unit}: set it")
    ticks = pl.col(name).to_physical().cast(pl.Int64, strict=False)
    plausible = ticks.is_between(_FIRST * _TICKS[unit], _LAST * _TICKS[unit]).fill_null(False)
    microseconds = ticks // 1000 if unit == "ns" else ticks * (_TICKS["us"] // _TICKS[unit])
    return pl.when(plausible).then(microseconds).cast(pl.Datetime("us", "UTC")), {
        f"{name} is null": pl.col(name).is_null(),
        _IMPLAUSIBLE: ~plausible,
    }


def _quantity(name: str, dtype: pl.DataType) -> _Column:
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise SchemaError("expected feedback to be a bool, 0/1 or a quantity of at least 0: cast it")
    column = pl.col(name).cast(pl.Float64)
    usable = (column.is_finite() & (column >= 0)).fill_null(False)
    return column, {
        f"{name} is not a finite number of at least 0": ~usable,
        f"{name} is over {_LARGEST:g}, too large for a sum": column > _LARGEST,
    }


def _flag(name: str, dtype: pl.DataType) -> _Column:
    column, flaws = _quantity(name, dtype)
    return column, flaws | {f"{name} is neither 0 nor 1": ~column.is_in([0.0, 1.0]).fill_null(False)}


def _probability(name: str, dtype: pl.DataType) -> _Column:
    if not dtype.is_numeric():
        raise SchemaError("expected the probability, in (0, 1], with which the item was shown: cast it")
    column = pl.col(name).cast(pl.Float64)
    usable = ((column > 0) & (column <= 1)).fill_null(False)
    return column, {f"{name} is not in (0, 1]": ~usable}


def _attribute(name: str, dtype: pl.DataType) -> _Column:
    if dtype.is_float() or dtype.is_decimal():
        column = pl.col(name).cast(pl.Float64)
        return column.fill_nan(None), {
            f"{name} is infinite": column.is_infinite(),
            f"{name} is beyond ±{_LARGEST:g}, too large for a sum": column.is_finite() & (column.abs() > _LARGEST),
        }
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration, pl.Unknown):
        raise SchemaError("expected a float, which is a number, or what a string can name, a category: cast it")
    return pl.col(name).cast(pl.String), {}


def _feature(name: str, dtype: pl.DataType) -> _Column:
    if not isinstance(dtype, pl.List | pl.Array):
        return _attribute(name, dtype)
    if dtype.inner not in (pl.Float32, pl.Float64):
        raise SchemaError("expected an embedding to be a list of floats: cast its elements")
    column = pl.col(name).cast(pl.List(pl.Float32))
    length = column.list.len()
    unknown = column.list.eval(~pl.element().is_finite().fill_null(False)).list.any()
    large = column.list.eval(pl.element().is_finite() & (pl.element().abs() > _LARGEST_ELEMENT)).list.any()
    return column, {
        f"{name} is not as long as the first one": length != length.drop_nulls().first(),
        f"{name} has elements that are not finite": unknown,
        f"{name} has elements beyond ±{_LARGEST_ELEMENT:g}, scale it": large,
    }


def _flags(log: EventLog, events: _Table, kept: pl.DataFrame) -> tuple[str, ...]:
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
            f"click={log.click!r}{_near(log.click, log.feedback)}: expected one of the feedback columns "
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
        near = _near(log.timezone, available_timezones())
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


def _without_repeats(events: _Table) -> _Table:
    """The events with a reason given to all usable rows of the same key but the one that sorts first."""
    key = [USER, ITEM, TIMESTAMP]
    if not set(key) <= set(events.clean.columns):
        return events
    order = events.clean.select(pl.arg_sort_by(events.clean.columns)).to_series()
    usable = events.reason[order].is_null()
    first = events.clean.select(key)[order].select(pl.struct(usable, *key).is_first_distinct()).to_series()
    reason = events.reason.clone().scatter(order.filter(usable & ~first).sort(), DUPLICATE)
    return replace(events, reason=reason, flaws={**events.flaws, DUPLICATE: key})


def _without_strays(events: _Table) -> _Table:
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


def _flaws(table: _Table, unit: str | None = None) -> list[str]:
    """A line for each reason: how many rows have it, the first of them and their values."""
    lines = []
    for flaw, columns in table.flaws.items():
        found = (table.reason == flaw).arg_true()
        if not found.len():
            continue
        first = found.head(3)
        values = table.raw[first].select(pl.col(columns).to_physical()).to_dicts()
        shown = "; ".join(
            f"row {row}: " + ", ".join(f"{name}={value!r}" for name, value in named.items())
            for row, named in zip(first, values, strict=True)
        )
        lines.append(f"{found.len()} row(s): {flaw} ({shown})")
        if flaw == _IMPLAUSIBLE:
            lines[-1] += _other_unit(values[0][TIMESTAMP], table.raw.schema[TIMESTAMP], unit)
    return lines


def _other_unit(ticks: int, dtype: pl.DataType, unit: str | None) -> str:
    """The year in which a moment falls, and the unit in which it would have been a plausible one."""
    stored = dtype.time_unit if isinstance(dtype, pl.Datetime) else None
    year = 1970 + ticks // (_TICKS[str(stored or unit)] * 31_556_952)
    text = f"; in {stored or unit} {ticks} is in the year {year}"
    for other, per in _TICKS.items():
        if _FIRST <= ticks // per <= _LAST:
            fix = f"write the column in {other}" if stored else f"set timestamp_unit={other}"
            text += f", in {other} on {datetime.fromtimestamp(ticks // per, UTC).date()}: {fix}"
    return text


def _item_problems(items: _Table, events: _Table) -> list[str]:
    problems = [f"items: {line}: mend them, every row is used" for line in _flaws(items)]
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
