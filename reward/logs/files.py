"""A log of one's own: parquet files, wherever they are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from os import PathLike

import polars as pl

from reward.schema import EventLog, SchemaError, reading


def read(
    events: str | PathLike[str],
    *,
    feedback: Iterable[str],
    session_gap_minutes: float,
    max_rejected_share: float,
    context: Iterable[str] = (),
    items: str | PathLike[str] | None = None,
    item_features: Iterable[str] = (),
    timezone: str = "UTC",
    timestamp_unit: str | None = None,
    end: str | datetime | None = None,
    click: str | None = None,
    flags: Iterable[str] | None = None,
    day_starts_at: str = "00:00",
) -> EventLog:
    """Points at the parquet files of a log; only their schema is read.

    Args:
        events: a file, a folder, a glob or an object-store URL (``s3://``, ``gs://``) with one row an exposure.
        feedback: columns with what the user did, known after the exposure. A string is the name of one column.
        session_gap_minutes: idleness after which a new session starts, where there is no ``session_id``.
        max_rejected_share: share of rows that may be set aside before the log is refused.
        context: columns known before the item is chosen.
        items: where the items table is, in the same forms as ``events``.
        item_features: columns of the items table.
        timezone: IANA name of the zone whose clock separates the days.
        timestamp_unit: ``s``, ``ms``, ``us`` or ``ns`` where ``timestamp`` is an integer.
        end: the moment up to which the log is complete, a datetime or an ISO 8601 string; without an offset it is in
            ``timezone``.
        click: the feedback that says that the item was taken up; None: the one called ``click``, ``is_click`` or
            ``clicked``, if there is one.
        flags: the feedback that is 0 or 1; None: Boolean columns, and those that hold both and nothing else.
        day_starts_at: local time, such as ``04:00``, at which a day begins.

    Returns:
        The log, to be passed through `reward.schema.check`.

    Raises:
        SchemaError: if a path cannot be read or ``end`` is no ISO 8601 time.
    """
    return EventLog(
        events=_scan("events", events),
        feedback=columns(feedback),
        session_gap_minutes=session_gap_minutes,
        max_rejected_share=max_rejected_share,
        context=columns(context),
        items=None if items is None else _scan("items", items),
        item_features=columns(item_features),
        timezone=timezone,
        timestamp_unit=timestamp_unit,
        end=_moment(end) if isinstance(end, str) else end,
        click=click,
        flags=None if flags is None else columns(flags),
        day_starts_at=day_starts_at,
    )


def columns(names: str | Iterable[str]) -> tuple[str, ...]:
    """Column names as a tuple; a string is one name."""
    return (names,) if isinstance(names, str) else tuple(names)


def _scan(table: str, path: str | PathLike[str]) -> pl.LazyFrame:
    with reading(f"{table} at {path}"):
        frame = pl.scan_parquet(path)  # type: ignore[arg-type]
        frame.collect_schema()
    return frame


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise SchemaError(f"end={text!r}: expected an ISO 8601 time such as 2024-05-31 or 2024-05-31T18:00Z") from error
