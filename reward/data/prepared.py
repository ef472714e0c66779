"""A checked log, sorted by user and time and coded to integers once: what every later stage reads.

Rows stay on disk where the log was written there: codes and offsets are memory-mapped, and the columns of a chunk of
users are read when they are asked for. `PreparedLog.chunks` gives whole users, so that a statistic is a sum over them,
see `reward.statistics.sums`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Ints
from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.days import day_of
from reward.data.event_log import EventLog
from reward.data.split import bounds, known_at, midnight
from reward.writing import whole_folder, write_json

CHUNK_ROWS = 1_000_000
FORMAT = 1
RECORD = "prepared.json"
_BATCH_ROWS = 131_072
_EVENTS, _ITEMS, _USERS, _TABLE = "events.arrow", "items.arrow", "users.arrow", "table.arrow"
_CODES = ("offsets", "item", "day")
_TABLES = ("events", "items", "outcomes")  # fields of an `EventLog` that are tables; the others are settings


class StoredRows(NamedTuple):
    """Where the rows of a log are read: a table that holds them, and rows that came later.

    Attributes:
        events: rows of a checked log.
        start, stop: (users,) places of each user's rows in ``events``.
        before: rows from this moment on are not the log's; None: all are.
    """

    events: pl.LazyFrame
    start: Ints
    stop: Ints
    before: datetime | None

    def read(self, first: int, last: int) -> pl.LazyFrame:
        """The rows of users."""
        begin = int(self.start[first]) if first < last else 0
        end = int(self.stop[last - 1]) if first < last else 0
        rows = self.events.slice(begin, end - begin)
        return rows if self.before is None else rows.filter(pl.col(TIMESTAMP) < self.before)


class Origin(NamedTuple):
    """How a log came.

    Attributes:
        timestamp_unit: of timestamps that came as integers.
        rejected: rows that were set aside.
        notes: sentences on what else there is to know.
    """

    timestamp_unit: str | None = None
    rejected: int = 0
    notes: tuple[str, ...] = ()


class Codes(NamedTuple):
    """The integers of a log's rows.

    Attributes:
        offsets: (users + 1,) first row of each user.
        item: (rows,) code of the item.
        day: (rows,) local day, since 1970-01-01.
    """

    offsets: Ints
    item: NDArray[np.int32]
    day: NDArray[np.int32]


@dataclass(frozen=True)
class UserRows:
    """The rows of some of a log's users: what a statistic adds up.

    Attributes:
        prepared: the log.
        first, last: codes of the first of these users, and of the one after the last.
    """

    prepared: PreparedLog
    first: int
    last: int

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def rows(self) -> slice:
        """Places of the rows among those of the log."""
        offsets = self.prepared.codes.offsets
        return slice(int(offsets[self.first]), int(offsets[self.last]))

    @cached_property
    def events(self) -> pl.DataFrame:
        """The checked rows, sorted by user, time, position and item."""
        return self.log.events.collect()

    @property
    def log(self) -> EventLog:
        """These rows as a log; items and outcome events are those of all users."""
        whole = self.prepared
        return replace(whole.log, events=whole.source.read(self.first, self.last))

    @property
    def user(self) -> Ints:
        """(rows,) code of each row's user among all users of the log."""
        count = np.diff(self.prepared.codes.offsets[self.first : self.last + 1])
        return np.repeat(np.arange(self.first, self.last), count)

    @property
    def item(self) -> Ints:
        """(rows,) code of each row's item among all items of the log."""
        return np.asarray(self.prepared.codes.item[self.rows], np.int64)

    @property
    def day(self) -> Ints:
        """(rows,) local day, since 1970-01-01."""
        return np.asarray(self.prepared.codes.day[self.rows], np.int64)


@dataclass(frozen=True, repr=False)
class PreparedLog:
    """A checked log and its codes.

    Attributes:
        log: the checked log; its events are those of all users, on disk or in memory.
        users: (users,) ids in the order of their codes, ascending.
        items: one row an item that was shown or is in the items table, by code: ``item_id``, ascending, and features.
        codes: of the rows.
        source: where the rows of a chunk are read.
        first_day: first day of the log, since 1970-01-01.
        end_day: first day that is not wholly inside it.
        chunk_rows: rows that `chunks` holds at a time.
    """

    log: EventLog
    users: pl.Series
    items: pl.DataFrame
    codes: Codes
    source: StoredRows
    first_day: int
    end_day: int
    chunk_rows: int = CHUNK_ROWS

    @classmethod
    def of(cls, log: EventLog | PreparedLog, *, chunk_rows: int = CHUNK_ROWS) -> PreparedLog:
        """Code a checked log, in memory; one that is prepared stays as it is.

        Raises:
            ValueError: its rows are not sorted by user, as those of a checked log are.
        """
        if isinstance(log, PreparedLog):
            return log
        events = log.events.collect()
        user = events[USER]
        first = np.flatnonzero(user.ne_missing(user.shift(1)).to_numpy()) if len(events) else np.zeros(0, np.int64)
        users = user.gather(first)
        if not (users.is_sorted() and users.n_unique() == len(users)):
            raise ValueError(f"expected the rows of a checked log, sorted by {USER}: check it with reward.check(log)")
        offsets = np.append(first, len(events)).astype(np.int64)
        held = replace(log, events=events.lazy())
        items = _all_items(log, events.select(pl.col(ITEM).unique()))
        codes = Codes(
            offsets,
            items[ITEM].search_sorted(events[ITEM]).to_numpy().astype(np.int32),
            events.select(day_of(log).cast(pl.Int32)).to_series().to_numpy(),
        )
        source = StoredRows(held.events, offsets[:-1], offsets[1:], None)
        start, end = bounds(held) if len(events) else (0, 0)
        return cls(held, users, items, codes, source, start, end, chunk_rows)

    def __len__(self) -> int:
        return len(self.codes.item)

    def __repr__(self) -> str:
        return f"PreparedLog({len(self):,} rows, {len(self.users):,} users, {len(self.items):,} items)"

    @property
    def exposures(self) -> Ints:
        """(items,) how often each item was shown."""
        return np.bincount(self.codes.item, minlength=len(self.items))

    def chunks(self, rows: int | None = None) -> Iterator[UserRows]:
        """All users in turn, some at a time.

        Args:
            rows: a chunk has as many, unless one user has more; None: ``chunk_rows``.

        Raises:
            ValueError: ``rows`` is below 1.
        """
        most = self.chunk_rows if rows is None else rows
        if most < 1:
            raise ValueError(f"rows expected at least 1, got {most}")
        offsets, first = self.codes.offsets, 0
        while first < len(self.users):
            last = max(int(np.searchsorted(offsets, offsets[first] + most, side="right")) - 1, first + 1)
            yield UserRows(self, first, last)
            first = last

    def every_user(self) -> UserRows:
        """All users at once."""
        return UserRows(self, 0, len(self.users))

    def known_at(self, day: int) -> Self:
        """The log as it was known when ``day`` began; users and items that came later have no code."""
        moment, source = midnight(day, self.log.timezone, self.log.day_starts_at), self.source
        if source.before is not None and source.before <= moment:
            return self
        log, early = known_at(self.log, day), pl.col(TIMESTAMP) < moment
        mine = self.log.events.select(early).collect().to_series().to_numpy()
        count = np.diff(np.append(0, np.cumsum(mine))[self.codes.offsets])
        there = np.flatnonzero(count)
        shown = np.zeros(len(self.items), np.bool_)
        shown[self.codes.item[mine]] = True
        if log.items is not None:
            shown |= self.items[ITEM].is_in(log.items.select(ITEM).collect()[ITEM].implode()).to_numpy()
        code = (np.cumsum(shown) - 1).astype(np.int32)
        return replace(
            self,
            log=log,
            users=self.users.gather(there),
            items=self.items.filter(shown),
            codes=Codes(np.append(0, np.cumsum(count[there])), code[self.codes.item[mine]], self.codes.day[mine]),
            source=StoredRows(source.events, source.start[there], source.stop[there], moment),
            end_day=day,
        )

    def kept_in(self, folder: str | os.PathLike[str], stamp: str, origin: Origin) -> Self:
        """Write the log; the folder is there when all of it is.

        Args:
            folder: to be; what it held goes.
            stamp: what tells whether the log is still that of its source.
            origin: what `read` gives back.

        Returns:
            The same log, on disk.
        """
        with whole_folder(folder) as scratch:
            for name, table in self._tables().items():
                table.sink_ipc(scratch / name, compression="uncompressed", record_batch_size=_BATCH_ROWS)
            for name in _CODES:
                codes: NDArray[Any] = getattr(self.codes, name)
                np.save(scratch / f"{name}.npy", codes, allow_pickle=False)
            sizes = {file.name: file.stat().st_size for file in sorted(scratch.iterdir())}
            record = {
                "format": FORMAT,
                "polars": pl.__version__,
                "stamp": stamp,
                "sizes": sizes,
                "origin": origin._asdict(),
            }
            days = [self.first_day, self.end_day]
            write_json(scratch / RECORD, {**record, "settings": _settings(self.log), "days": days})
        found = self.read(folder, stamp)
        return self if found is None else found[0]

    @classmethod
    def read(cls, folder: str | os.PathLike[str], stamp: str) -> tuple[Self, Origin] | None:
        """The log that `kept_in` wrote, and how it came; None: there is none, or it has another stamp."""
        place = Path(folder)
        try:
            record = json.loads((place / RECORD).read_text(encoding="utf-8"))
            if (record["format"], record["polars"], record["stamp"]) != (FORMAT, pl.__version__, stamp):
                return None
            if any((place / name).stat().st_size != size for name, size in record["sizes"].items()):
                return None
            codes = Codes(*(np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _CODES))
            origin = Origin(**{**record["origin"], "notes": tuple(record["origin"]["notes"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        tables = {name: pl.scan_ipc(place / name) for name in record["sizes"] if name.endswith(".arrow")}
        users, shown = (tables[name].collect() for name in (_USERS, _ITEMS))
        log = _log_of(record["settings"], tables)
        source = StoredRows(log.events, codes.offsets[:-1], codes.offsets[1:], None)
        return cls(log, users[USER], shown, codes, source, *record["days"]), origin

    def _tables(self) -> dict[str, pl.LazyFrame]:
        log = self.log
        given = {} if log.items is None else {_TABLE: log.items}
        outcomes = {f"outcome_{place}.arrow": log.outcomes[kind] for place, kind in enumerate(sorted(log.outcomes))}
        own = {_EVENTS: log.events, _ITEMS: self.items.lazy(), _USERS: self.users.alias(USER).to_frame().lazy()}
        return {**own, **given, **outcomes}


def _all_items(log: EventLog, shown: pl.DataFrame) -> pl.DataFrame:
    """Every item of the log or of its items table, ascending."""
    if log.items is None:
        return shown.sort(ITEM)
    return log.items.collect().join(shown, on=ITEM, how="full", coalesce=True).sort(ITEM)


def _settings(log: EventLog) -> dict[str, Any]:
    """All of a log but its tables, as plain values."""
    told = {name: value for name, value in vars(log).items() if name not in _TABLES}
    told |= {
        "end": None if log.end is None else log.end.isoformat(),
        "outcomes_end": {kind: end.isoformat() for kind, end in log.outcomes_end.items()},
    }
    return {**told, "kinds": sorted(log.outcomes)}


def _log_of(settings: Mapping[str, Any], tables: Mapping[str, pl.LazyFrame]) -> EventLog:
    told: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in settings.items()}
    kinds, end, ends = told.pop("kinds"), told.pop("end"), told.pop("outcomes_end")
    return EventLog(
        events=tables[_EVENTS],
        items=tables.get(_TABLE),
        outcomes={kind: tables[f"outcome_{place}.arrow"] for place, kind in enumerate(kinds)},
        end=None if end is None else datetime.fromisoformat(end),
        outcomes_end={kind: datetime.fromisoformat(moment) for kind, moment in ends.items()},
        **told,
    )
