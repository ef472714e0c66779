"""The log of a run: read and checked once, kept prepared, and found again by what its source is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from hydra.utils import instantiate

from reward.data.event_log import Checked, EventLog
from reward.data.prepared import Origin, PreparedLog
from reward.data.split import Split, day_to_date, split
from reward.data.validation import check, unread_item_features
from reward.report.terminal import what_was_read
from reward.training.folder import CACHE, RunFolder
from reward.training.identity import placed, source_stamp, window_of
from reward.training.terminal import console, say

_STAMP_LENGTH = 16  # of the hash, in the name of a folder


@dataclass(frozen=True)
class ReadLog:
    """The log that a source gives.

    Attributes:
        prepared: the checked log.
        window: its windows.
        origin: how it came.
        checked: what the check found, with the rows set aside; None: they were written by an earlier process.
    """

    prepared: PreparedLog
    window: Split
    origin: Origin = field(default_factory=Origin)
    checked: Checked | None = None


def read_log(
    source: Mapping[str, Any], settings: Mapping[str, Any], folder: RunFolder, dates: Mapping[str, str] | None
) -> ReadLog:
    """The log of a run, checked, and its windows.

    It is kept in the folder's cache until the run has ended, for processes that go on with it: a source whose files
    are those of then is not read again.

    Args:
        source: the settings of ``data``.
        settings: of ``split``.
        folder: of the run.
        dates: of the windows of a run that is there, whose days they stay; None: of a new one.

    Raises:
        SchemaError: the log does not do.
        TypeError: ``source`` makes no log.
    """
    started_in = (folder.record or {}).get("started_in")
    given = placed(source, started_in, grown=dates is not None)
    stamp = source_stamp(given)
    place = None if stamp is None else folder.path / CACHE / stamp[:_STAMP_LENGTH]
    known = folder.record is not None  # before that, nobody has written the rows that were set aside
    found = None if place is None or stamp is None or not known else PreparedLog.read(place, stamp)
    if found is not None:
        (prepared, origin), checked = found, None
    else:
        checked, origin = _checked(given)
        prepared = PreparedLog.of(checked.log)
        if place is not None and stamp is not None and not folder.ended:
            prepared = _kept(prepared, place, stamp, origin)
    window = split(prepared.log, **settings) if dates is None else window_of(dates)
    return ReadLog(prepared, window, origin, checked)


def tell_of(read: ReadLog) -> None:
    """Say what was read."""
    prepared, days = read.prepared, [day_to_date(day) for day in read.window.days[:3]]
    items = int((prepared.exposures > 0).sum())
    for line in what_was_read(
        rows=len(prepared), users=len(prepared.users), items=items, rejected=read.origin.rejected, days=days
    ):
        console.print(line, highlight=False)
    for note in read.origin.notes:
        say(note)


def _kept(prepared: PreparedLog, place: Path, stamp: str, origin: Origin) -> PreparedLog:
    """The log on disk; in memory where it cannot be written, such as for want of space."""
    try:
        return prepared.kept_in(place, stamp, origin)
    except (OSError, pl.exceptions.PolarsError) as error:
        say(f"The prepared log cannot be kept in {place}, so it stays in memory: {error}")
        return prepared


def _checked(given: Mapping[str, Any]) -> tuple[Checked, Origin]:
    """The log that a source gives, checked, and how it came."""
    log = instantiate(given)
    if not isinstance(log, EventLog):
        raise TypeError(f"data: expected a source of an EventLog, {given['_target_']} gives {type(log).__name__}")
    checked = check(log)
    notes = [f"{note}." for note in checked.notes]
    if unread := unread_item_features(log):
        named = ",".join((*log.item_features, *unread))
        notes.append(
            f"not read of the items table: {', '.join(unread)}; to learn from them, 'data.item_features=[{named}]'"
        )
    return checked, Origin(log.timestamp_unit, checked.rejected.height, tuple(notes))
