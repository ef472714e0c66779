"""A log of one's own: parquet files, wherever they are, or a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import polars as pl

from reward.columns import ITEM, POSITION, PROPENSITY, REQUEST, SESSION, TIMESTAMP, USER, VALUE
from reward.data import validation as schema
from reward.data.event_log import Checked, EventLog, SchemaError
from reward.data.files import Source, scan


def read(
    events: Source,
    *,
    feedback: Iterable[str],
    session_gap_minutes: float,
    max_rejected_share: float,
    context: Iterable[str] = (),
    items: Source | None = None,
    item_features: Iterable[str] = (),
    timezone: str = "UTC",
    timestamp_unit: str | None = None,
    end: str | datetime | None = None,
    click: str | None = None,
    flags: Iterable[str] | None = None,
    day_starts_at: str = "00:00",
    outcomes: Mapping[str, Source] | None = None,
    outcomes_end: Mapping[str, str | datetime] | None = None,
) -> EventLog:
    """Points at the parquet files of a log; only their schema is read.

    Args:
        events: a file, a folder, a glob or an object-store URL (``s3://``, ``gs://``) with one row an exposure; or a
            polars frame of such rows.
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
        outcomes: by kind, such as ``renewal``, where outcome events are, in the same forms as ``events``: one row an
            event, with ``user_id``, ``timestamp`` and, optionally, ``value``.
        outcomes_end: by kind the moment up to which its events are complete, like ``end``; kinds that are complete up
            to the end of the log need none.

    Returns:
        The log, to be passed through `reward.data.validation.check`.

    Raises:
        SchemaError: if a path cannot be read, a moment is no ISO 8601 time, or ``outcomes`` is no mapping.
    """
    feedback, context, item_features = columns(feedback), columns(context), columns(item_features)
    named = (USER, ITEM, TIMESTAMP, SESSION, REQUEST, POSITION, PROPENSITY, *feedback, *context)
    return EventLog(
        events=scan("events", events, named),
        feedback=feedback,
        session_gap_minutes=session_gap_minutes,
        max_rejected_share=max_rejected_share,
        context=context,
        items=None if items is None else scan("items", items, (ITEM, *item_features)),
        item_features=item_features,
        timezone=timezone,
        timestamp_unit=timestamp_unit,
        end=_moment("end", end) if isinstance(end, str) else end,
        click=click,
        flags=None if flags is None else columns(flags),
        day_starts_at=day_starts_at,
        outcomes=_outcomes(outcomes),
        outcomes_end={
            kind: _moment(f"outcomes_end.{kind}", it) if isinstance(it, str) else it
            for kind, it in (outcomes_end or {}).items()
        },
    )


def check(
    events: Source,
    *,
    feedback: Iterable[str],
    context: Iterable[str] = (),
    items: Source | None = None,
    item_features: Iterable[str] = (),
    timezone: str = "UTC",
    timestamp_unit: str | None = None,
    end: str | datetime | None = None,
    click: str | None = None,
    flags: Iterable[str] | None = None,
    day_starts_at: str = "00:00",
    outcomes: Mapping[str, Source] | None = None,
    outcomes_end: Mapping[str, str | datetime] | None = None,
    max_rejected_share: float = 1.0,
) -> Checked:
    """The clean rows of a log, and the rows that training would set aside, each with the reason.

    Args:
        events: see `read`; with `feedback` alone to be named, and what else the log has.
        feedback: see `read`.
        context: see `read`.
        items: see `read`.
        item_features: see `read`.
        timezone: see `read`.
        timestamp_unit: see `read`.
        end: see `read`.
        click: see `read`.
        flags: see `read`.
        day_starts_at: see `read`.
        outcomes: see `read`.
        outcomes_end: see `read`.
        max_rejected_share: see `read`; here rows may be set aside in any number, unless it says otherwise.

    Returns:
        ``log``, whose ``events`` are the clean rows, ``rejected``, the others as they came, with ``reason``, and
        ``reasons``, one for each row in the order in which they came. ``rejected_outcomes`` are outcome
        events that were set aside, by kind, and ``notes`` says which of the others count for nobody.

    Raises:
        SchemaError: a column is missing or of a type that cannot be read. It lists every problem found.

    >>> moments = [datetime(2024, 5, 1), datetime(2024, 5, 2), None]
    >>> frame = pl.DataFrame({"user_id": [1, 2, 2], "item_id": [7, 8, 8], "timestamp": moments, "click": [1, 0, 0]})
    >>> check(frame, feedback="click").rejected["reason"].to_list()
    ['timestamp is null']

    """
    log = read(
        events,
        feedback=feedback,
        session_gap_minutes=30,  # plays no part in a check
        max_rejected_share=max_rejected_share,
        context=context,
        items=items,
        item_features=item_features,
        timezone=timezone,
        timestamp_unit=timestamp_unit,
        end=end,
        click=click,
        flags=flags,
        day_starts_at=day_starts_at,
        outcomes=outcomes,
        outcomes_end=outcomes_end,
    )
    return schema.check(log, least_users=0, strays=True)


def columns(names: str | Iterable[str]) -> tuple[str, ...]:
    """Column names as a tuple; a string is one name."""
    return (names,) if isinstance(names, str) else tuple(names)


def _outcomes(sources: Mapping[str, Source] | None) -> dict[str, pl.LazyFrame]:
    """The outcome events of each kind."""
    if not isinstance(sources, Mapping | None):
        raise SchemaError(
            f"outcomes expected where the events of each kind are, such as {{renewal: PATH}}, got "
            f"{type(sources).__name__}: name the kind"
        )
    return {kind: scan(f"outcomes.{kind}", it, (USER, TIMESTAMP, VALUE)) for kind, it in (sources or {}).items()}


def _moment(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise SchemaError(
            f"{name}={text!r}: expected an ISO 8601 time such as 2024-05-31 or 2024-05-31T18:00Z"
        ) from error
