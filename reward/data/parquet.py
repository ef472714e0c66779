"""A log of one's own: parquet files, wherever they are, or a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Unpack

import polars as pl

from reward.columns import ITEM, POSITION, PROPENSITY, REQUEST, SESSION, TIMESTAMP, USER, VALUE
from reward.data import validation as schema
from reward.data.declared import Declared, declares, with_defaults
from reward.data.event_log import Checked, EventLog, SchemaError
from reward.data.files import Source, scan


@declares
def read(
    events: Source,
    *,
    feedback: Iterable[str],
    session_gap_minutes: float,
    max_rejected_share: float,
    **declared: Unpack[Declared],
) -> EventLog:
    """Points at the parquet files of a log; only their schema is read.

    Args:
        events: a file, a folder, a glob or an object-store URL (``s3://``, ``gs://``) with one row an exposure; or a
            polars frame of such rows.
        feedback: columns with what the user did, known after the exposure. A string is the name of one column.
        session_gap_minutes: idleness after which a new session starts, where there is no ``session_id``.
        max_rejected_share: share of rows that may be set aside before the log is refused.
        declared: what else is to be said of the log, see `reward.data.declared.Declared`.

    Returns:
        The log, to be passed through `reward.data.validation.check`.

    Raises:
        SchemaError: if a path cannot be read, a moment is no ISO 8601 time, or ``outcomes`` is no mapping.
        TypeError: there is no such argument.
    """
    told = with_defaults(declared)
    context, item_features = columns(told["context"]), columns(told["item_features"])
    feedback, items, end, flags = columns(feedback), told["items"], told["end"], told["flags"]
    named = (USER, ITEM, TIMESTAMP, SESSION, REQUEST, POSITION, PROPENSITY, *feedback, *context)
    return EventLog(
        events=scan("events", events, named),
        feedback=feedback,
        session_gap_minutes=session_gap_minutes,
        max_rejected_share=max_rejected_share,
        context=context,
        items=None if items is None else scan("items", items, (ITEM, *item_features)),
        item_features=item_features,
        timezone=told["timezone"],
        timestamp_unit=told["timestamp_unit"],
        end=_moment("end", end) if isinstance(end, str) else end,
        click=told["click"],
        flags=None if flags is None else columns(flags),
        day_starts_at=told["day_starts_at"],
        outcomes=_outcomes(told["outcomes"]),
        outcomes_end={
            kind: _moment(f"outcomes_end.{kind}", it) if isinstance(it, str) else it
            for kind, it in (told["outcomes_end"] or {}).items()
        },
    )


@declares
def check(
    events: Source, *, feedback: Iterable[str], max_rejected_share: float = 1.0, **declared: Unpack[Declared]
) -> Checked:
    """The clean rows of a log, and the rows that training would set aside, each with the reason.

    Args:
        events: see `read`; with `feedback` alone to be named, and what else the log has.
        feedback: see `read`.
        max_rejected_share: see `read`; here rows may be set aside in any number, unless it says otherwise.
        declared: see `reward.data.declared.Declared`.

    Returns:
        ``log``, whose ``events`` are the clean rows, ``rejected``, the others as they came, with ``reason``, and
        ``reasons``, one for each row in the order in which they came. ``rejected_outcomes`` are outcome
        events that were set aside, by kind, and ``notes`` says which of the others count for nobody.

    Raises:
        SchemaError: a column is missing or of a type that cannot be read. It lists every problem found.
        TypeError: there is no such argument.

    >>> moments = [datetime(2024, 5, 1), datetime(2024, 5, 2), None]
    >>> frame = pl.DataFrame({"user_id": [1, 2, 2], "item_id": [7, 8, 8], "timestamp": moments, "click": [1, 0, 0]})
    >>> check(frame, feedback="click").rejected["reason"].to_list()
    ['timestamp is null']

    """
    gap = 30  # plays no part in a check
    log = read(events, feedback=feedback, session_gap_minutes=gap, max_rejected_share=max_rejected_share, **declared)
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
