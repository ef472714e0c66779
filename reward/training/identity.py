"""What a run is of: its log, by fingerprints, its windows, and where the files of its log are."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, date
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from reward.data.event_log import EventLog, SchemaError
from reward.data.files import matching
from reward.data.prepared import PreparedLog
from reward.data.split import EPOCH, Split, day_to_date, known_at
from reward.targets import TARGET

_PATHS = ("events", "items", "folder")  # arguments of a log source that say where files are


def window_dates(window: Split) -> dict[str, str]:
    """A split as dates."""
    names = ("start", "train_end", "validation_end", "end")
    return {name: day_to_date(day).isoformat() for name, day in zip(names, window.days, strict=True)}


def window_of(dates: Mapping[str, str]) -> Split:
    """The split that `window_dates` wrote."""
    return Split(**{name: (date.fromisoformat(day) - EPOCH).days for name, day in dates.items()})


def fingerprints(log: EventLog, window: Split) -> dict[str, str]:
    """What the run's stages read of a checked log.

    Returns:
        ``training``: the events, outcome events too, before the end of training; ``known``: these and the items before
        the end of validation, which training, its checks and the effects read; ``window``: before the end of the test
        days; ``log``: all.
    """
    return {
        "training": _of_events(known_at(log, window.train_end)),
        "known": _of_log(known_at(log, window.validation_end)),
        "window": _of_log(known_at(log, window.end)),
        "log": _of_log(log),
    }


def fingerprint(events: pl.DataFrame) -> str:
    """sha256 of a frame, as an Arrow stream."""
    with tempfile.TemporaryFile() as file:
        events.rechunk().write_ipc_stream(file)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_log(log: EventLog) -> str:
    items = "" if log.items is None else fingerprint(log.items.collect())
    return hashlib.sha256((_of_events(log) + items).encode()).hexdigest()


def _of_events(log: EventLog) -> str:
    """Of the events and, where there are any, of the outcome events and up to when they are known."""
    events = fingerprint(log.events.collect())
    if not log.outcomes:
        return events
    told = [
        f"{kind} {_known_until(log, kind)} {fingerprint(frame.collect())}"
        for kind, frame in sorted(log.outcomes.items())
    ]
    return hashlib.sha256("\n".join([events, *told]).encode()).hexdigest()


def _known_until(log: EventLog, kind: str) -> str:
    ends = [end for end in (log.end, log.outcomes_end.get(kind)) if end is not None]
    aware = [it if it.tzinfo else it.replace(tzinfo=ZoneInfo(log.timezone)) for it in ends]
    return min(aware).astimezone(UTC).isoformat() if aware else ""


def _read_of(log: EventLog) -> str:
    """What of a log may have changed beside its events."""
    return "its items or its outcome events" if log.outcomes else "or its items"


def same_log(
    prepared: PreparedLog, window: Split, written: Mapping[str, str] | None, *, to_train: bool = True
) -> tuple[PreparedLog, str | None]:
    """The part of a log that a run with these fingerprints was of, and what to say where the log has changed since.

    Args:
        prepared: the log as it is now.
        window: the run's.
        written: what `fingerprints` said then; None of a run that did not write it: nothing is compared.
        to_train: the run goes on to learn from it, and is not only judged.

    Returns:
        The log up to where the run's windows end, if it has grown, else as it is; and a sentence or None.

    Raises:
        SchemaError: what the run is to learn from has changed.
    """
    if written is None:
        return prepared, None
    log = prepared.log
    now = fingerprints(log, window)
    if now["log"] == written["log"]:
        return prepared, None
    dates = window_dates(window)
    if now["known"] != written["known"] and to_train:
        raise SchemaError(
            f"the log is another than the run's: its events before {dates['validation_end']}, {_read_of(log)}, have "
            "changed. Give the log that the run was started with (data.events=PATH, where it was moved), or start a "
            "new run"
        )
    inside = prepared.known_at(window.end)
    if now["window"] == written["window"]:
        return inside, f"The log has grown since the run: it is judged on the run's own days, before {dates['end']}."
    if now["known"] != written["known"]:
        return inside, (
            f"The log is another than the one that the run learned from: its events before {dates['validation_end']}, "
            f"{_read_of(log)}, have changed. Figures are of the log as it is now."
        )
    return inside, (
        f"The log has changed since the run: its events from {dates['validation_end']} to {dates['end']}, on which "
        "it is judged, are others than they were."
    )


def source_stamp(data: Mapping[str, Any]) -> str | None:
    """What tells whether a source still gives the log that it gave: its settings, its files, their sizes and times.

    Args:
        data: the settings of a log source, see `placed`.

    Returns:
        A hash; None where nothing tells: the source is one from elsewhere, or its files are not on this machine.
    """
    paths = [data.get(name) for name in _PATHS]
    paths += list(data["outcomes"].values()) if isinstance(data.get("outcomes"), Mapping) else []
    named = [str(path) for path in paths if path is not None]
    if not str(data[TARGET]).startswith("reward.") or any("://" in path for path in named):
        return None
    files = [(str(file.resolve()), *_stat(file)) for path in named for file in _files(path)]
    settings = {name: value for name, value in data.items() if name != "end"}  # a run that goes on leaves it out
    told = json.dumps([version("reward"), settings, files], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def _stat(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _files(path: str) -> list[Path]:
    """The files that a path, a folder or a glob stands for, sorted."""
    place = Path(path)
    found = [place] if place.exists() else matching(place)
    return sorted(file for it in found for file in ([it] if it.is_file() else it.rglob("*")) if file.is_file())


def placed(data: Mapping[str, Any], started_in: str | None, *, grown: bool) -> dict[str, Any]:
    """The settings of a log source with relative paths that hold from here.

    A path is first looked for from where this process was started, then from where the run was.

    Args:
        data: the settings.
        started_in: the working folder of the run; None: unknown.
        grown: whether the log may have grown since the run, whose days are known: up to where it was complete then,
            ``end``, is left out.
    """
    found = dict(data)
    if grown and "end" in found:
        found["end"] = None
    if started_in is not None:
        found |= {name: _found(found[name], started_in) for name in _PATHS if name in found}
        if isinstance(found.get("outcomes"), Mapping):
            found["outcomes"] = {kind: _found(path, started_in) for kind, path in found["outcomes"].items()}
    return found


def _found(path: Any, started_in: str) -> Any:
    """A relative path that holds from here, if only one from where the run was started holds."""
    if not isinstance(path, str) or "://" in path or _there(path):
        return path
    elsewhere = str(Path(started_in) / path)
    return elsewhere if _there(elsewhere) else path


def _there(path: str) -> bool:
    place = Path(path)
    return place.exists() or bool(matching(place))
