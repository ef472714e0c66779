"""Frames in and out: what is asked of a log, its rows as the network reads them, and scores in the rows' own order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, TypedDict

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.columns import ITEM, SESSION, TIMESTAMP, USER
from reward.data.event_log import EventLog, SchemaError
from reward.data.prepared import UserRows
from reward.data.validation import DUPLICATE, SetAsideWarning, check, row_keys
from reward.features.events import Features
from reward.outcomes.protocol import ASKED

SCORED = "scored_"  # before the name of a score where the log has a column of that name
_KEYS = [USER, ITEM, TIMESTAMP]

Progress = Callable[[Sequence[Any]], Iterable[Any]]
Rows = pl.DataFrame | UserRows  # a log as it came, or one that was checked
Counts = Mapping[str, int]  # rows by the reason why they are set aside


class ReadOptions(TypedDict, total=False):
    """How a log is read: keyword arguments of `RewardFunction.score_events`."""

    items_table: pl.DataFrame | None
    history_start: date | None
    progress: Progress


class ScoreOptions(ReadOptions, total=False):
    """The keyword arguments of `RewardFunction.score_events`, for methods that pass them on; see `Request`."""

    tasks: Sequence[str]
    habit: str | None
    as_of: datetime | None


@dataclass(frozen=True)
class Request:
    """What `RewardFunction.score_events` is asked beside the log, with its defaults; the attributes are its arguments.

    >>> Request(as_of=datetime(2024, 5, 1)).as_of
    datetime.datetime(2024, 5, 1, 0, 0)

    """

    tasks: Sequence[str] = ()
    habit: str | None = None
    as_of: datetime | None = None
    items_table: pl.DataFrame | None = None
    history_start: date | None = None
    progress: Progress = iter


@dataclass(frozen=True)
class Outputs:
    """Which of the outputs of `RewardFunction.predict` are asked for; the attributes are its arguments.

    Attributes:
        scores: whether rows are scored.
    """

    scores: bool = True
    forecast: bool = False
    expected: Mapping[str, pl.Series | None] = field(default_factory=dict)
    moments: Sequence[datetime] = ()


@dataclass(frozen=True)
class LogReader:
    """Brings frames to the schema and the types that training saw.

    Attributes:
        features: how columns become the network's inputs.
        timestamp_unit: of logs whose timestamps are integers.
        set_aside: is given the counts of rows that are set aside; None: `judge_set_aside` judges them.
    """

    features: Features
    timestamp_unit: str | None
    set_aside: Callable[[Counts], None] | None = None

    def read(self, events: Rows) -> ReadLog:
        """The rows, without those that training would have set aside.

        Args:
            events: rows as they came; or those of a prepared log, which were checked.

        Raises:
            SchemaError: a column is missing or of the wrong type, or too many rows are set aside.
        """
        if isinstance(events, UserRows):
            clean = self._as_trained(events.events)
            return ReadLog(clean, clean, pl.repeat(value=False, n=len(clean), eager=True), self)
        checked = check(self._log(events), least_users=0)
        reasons = checked.reasons
        aside = (reasons != DUPLICATE).fill_null(value=False)
        if aside.any():
            counts = dict(reasons.filter(aside).value_counts(sort=True).iter_rows())
            if self.set_aside is None:
                judge_set_aside(self.features, counts, events.height)
            else:
                self.set_aside(counts)
        return ReadLog(events, self._as_trained(checked.log.events.collect()), aside, self)

    def slots(self, clean: pl.DataFrame, now: datetime | pl.DataFrame) -> pl.DataFrame:
        """The slots that are asked about, in the schema, unknown context null.

        Args:
            clean: events that were read.
            now: see `RewardFunction.encode`.

        Raises:
            SchemaError: ``now`` does not fit.
        """
        schema = clean.schema
        if isinstance(now, datetime):
            given = clean.select(pl.col(USER).unique().sort()).with_columns(
                pl.lit(in_utc(now)).cast(schema[TIMESTAMP]).alias(TIMESTAMP)
            )
        else:
            given = self._clean_slots(now)
        for name in (USER, SESSION):
            types = [frame.schema.get(name) for frame in (given, clean)]
            if None not in types and types[0] != types[1]:
                raise SchemaError(f"now has {name} as {types[0]}, events as {types[1]}: expected one type, cast one")
        known = [name for name in (USER, TIMESTAMP, SESSION, *self.features.context) if name in schema]
        return given.select(
            (pl.col(name) if name in given.columns else pl.lit(None, schema[name])).alias(name) for name in known
        )

    def keys(self, events: pl.DataFrame) -> pl.DataFrame:
        """What tells rows apart, of rows as they came."""
        return row_keys(events, self.timestamp_unit, self.features.timezone)

    def _as_trained(self, clean: pl.DataFrame) -> pl.DataFrame:
        """Checked rows, whose columns are of the types that training saw.

        Raises:
            SchemaError: they are not.
        """
        unlike = [
            f"{name} is {clean.schema.get(name, 'missing')}, expected {dtype}"
            for name, dtype in self._types().items()
            if clean.schema.get(name) != dtype
        ]
        if unlike:
            raise SchemaError(f"events differ from those of training: {'; '.join(unlike)}: cast what differs")
        return clean

    def _types(self) -> dict[str, pl.DataType]:
        features = self.features
        types: dict[str, pl.DataType] = {ITEM: features.items.schema[ITEM]}
        return types | {
            name: pl.String() if name in features.vocabularies else pl.Float64() for name in features.context
        }

    def _log(self, events: pl.DataFrame) -> EventLog:
        """The rows as a log that may be checked, numbers of the context as such."""
        features, came, types = self.features, events.schema, self._types()
        numbers = [name for name in features.context if types[name] == pl.Float64 and name in came]
        return EventLog(
            events=events.lazy().with_columns(
                pl.col(name).cast(pl.Float64) for name in numbers if came[name].is_integer() or came[name] == pl.Null
            ),
            feedback=features.feedback,
            context=features.context,
            timezone=features.timezone,
            day_starts_at=features.day_starts_at,
            click=features.click,
            flags=features.flags,
            timestamp_unit=self.timestamp_unit if came.get(TIMESTAMP, pl.Null()).is_integer() else None,
            session_gap_minutes=features.session_gap_minutes,
            max_rejected_share=1.0,
        )

    def _clean_slots(self, now: pl.DataFrame) -> pl.DataFrame:
        """A frame of slots, row by row: checked as a log whose items are the numbers of the rows."""
        missing = [name for name in (USER, TIMESTAMP) if name not in now.columns]
        if missing:
            raise SchemaError(f"now expected a frame with user_id and timestamp, it has no {' and no '.join(missing)}")
        read = (USER, TIMESTAMP, SESSION, *self.features.context)
        rows = now.select(
            *(name for name in read if name in now.columns),
            *(pl.lit(None).alias(name) for name in self.features.context if name not in now.columns),
            *(pl.lit(0.0).alias(name) for name in self.features.feedback),
            pl.int_range(pl.len()).cast(self.features.items.schema[ITEM]).alias(ITEM),
        )

        def refuse(counts: Counts) -> None:
            judge_set_aside(self.features, counts, now.height, 0.0)

        try:
            return replace(self, set_aside=refuse).read(rows).events.sort(pl.col(ITEM).cast(pl.Int64))
        except SchemaError as error:
            raise SchemaError(f"now does not fit: {error}") from error


@dataclass(frozen=True)
class ReadLog:
    """A log that was read, and how its rows stand in the frame that came.

    Attributes:
        came: the rows as they came.
        events: the clean rows, repeated ones once.
        aside: which of the rows that came are set aside.
        reader: what read them.
    """

    came: pl.DataFrame
    events: pl.DataFrame
    aside: pl.Series
    reader: LogReader

    def asked(self, values: pl.Series) -> pl.Series:
        """What is told of each row that came, in the order of `events`; of repeated rows what the first has."""
        if self.came is self.events:
            return values
        told = self.reader.keys(self.came).select(_KEYS).with_columns(values.alias(ASKED))
        first = told.unique(_KEYS, keep="first", maintain_order=True)
        return self.events.select(_KEYS).join(first, on=_KEYS, how="left", maintain_order="left")[ASKED]

    def in_order(self, source: Ints, columns: Mapping[str, Doubles]) -> pl.DataFrame:
        """Columns, in the order of the rows that came; null for those set aside, and where there is no number.

        Args:
            source: places in `events` of what the columns tell.
            columns: by name.
        """
        place = pl.Series("place", np.argsort(source))
        if self.came is not self.events:
            clean = self.events.select(_KEYS).hstack([place])
            rows = self.reader.keys(self.came).join(clean, on=_KEYS, how="left", maintain_order="left")
            place = rows.select(pl.when(~self.aside).then("place")).to_series()
        return pl.DataFrame({name: pl.Series(column).fill_nan(None).gather(place) for name, column in columns.items()})

    def table(self, source: Ints, values: Doubles) -> Doubles:
        """(rows, columns) as `in_order` has them, nan where there is none."""
        if not values.shape[1]:
            return np.empty((self.came.height, 0))  # a frame without columns has no rows
        told = self.in_order(source, {str(place): column for place, column in enumerate(values.T)})
        return told.cast(pl.Float64).fill_null(np.nan).to_numpy()


def judge_set_aside(features: Features, counts: Counts, rows: int, most: float | None = None) -> None:
    """Warn of rows of a log that cannot be scored.

    Args:
        features: of the training log.
        counts: how many, by reason.
        rows: of the log.
        most: share that may be; None: what training allowed.

    Raises:
        SchemaError: they are more than that.
    """
    allowed = features.max_rejected_share if most is None else most
    reasons = "; ".join(f"{count} row(s): {reason}" for reason, count in counts.items())
    told = f"{sum(counts.values())} of {rows} events cannot be scored: {reasons}"
    if sum(counts.values()) > allowed * rows:
        raise SchemaError(f"{told}. Mend or drop these rows first: at most {allowed:.2%} may be set aside here")
    warnings.warn(f"{told}. They are set aside, as in training, and have no score", SetAsideWarning, stacklevel=4)


def beside(events: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """A log with its scores, which are called ``scored_NAME`` where it has a column of that name."""
    names = {name: name for name in scores.columns}
    for name in scores.columns:
        while names[name] in events.columns:
            names[name] = f"{SCORED}{names[name]}"
    return events.hstack(scores.rename(names))


def refuse_unfit_signals(events: pl.DataFrame, names: Sequence[str]) -> None:
    """See that columns are finite numbers, as signals of a composite are.

    Args:
        events: the log.
        names: of the columns.

    Raises:
        SchemaError: one is missing, is no number, or has nulls or what is not finite.
    """
    schema = events.schema
    problems = [f"{name} is missing" for name in names if name not in schema]
    for name in names:
        if name in schema and not (schema[name].is_numeric() or schema[name] == pl.Boolean):
            problems.append(f"{name} is {schema[name]}, expected a number")
        elif name in schema and (nulls := events[name].null_count()):
            problems.append(f"{name} has {nulls} nulls")
        elif name in schema and (odd := events[name].len() - int(events[name].cast(pl.Float64).is_finite().sum())):
            problems.append(f"{name} has {odd} values that are NaN or infinite")
    if problems:
        raise SchemaError(f"signals of the composite do not fit: {'; '.join(problems)}")


def in_utc(moment: datetime) -> datetime:
    """A moment in UTC, which a naive one is taken to be in."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
