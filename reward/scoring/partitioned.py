"""Scores logs of any size in bounded memory: some users at a time, and the rows in the order they came in."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import polars as pl

from reward.columns import ITEM, USER
from reward.data.event_log import reading
from reward.data.files import scan
from reward.moved import keywords_of_before
from reward.scoring.composite import Composite
from reward.scoring.function import RewardFunction
from reward.scoring.requests import Progress, ScoreOptions, beside, judge_set_aside
from reward.writing import scratch_folder, whole

ROWS_AT_ONCE = 50_000  # scoring takes some 3 KB a row
_READ_AT_ONCE = 8  # times as many rows are read at once, which takes much less
_LEAST_GROUP_ROWS = 4096


class Scored(NamedTuple):
    """What was scored: rows, their users, and rows that show an item which training did not know."""

    rows: int
    users: int
    unknown: int


@keywords_of_before(also="tasks")
def score_parquet(
    function: RewardFunction | Composite,
    events: str | os.PathLike[str] | pl.LazyFrame,
    out: str | os.PathLike[str],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    **options: Unpack[ScoreOptions],
) -> Scored:
    """Write a log's rows with what `RewardFunction.score_events` adds to them, in the order they came in.

    A log of more than ``rows_at_once`` rows is scored in parts, each with all events of its users. The parts and their
    scores lie in a folder beside ``out`` until all is written. Memory is that of ``rows_at_once`` rows, or of the
    largest user's or the largest row group's, if these are more. What scoring has freed goes back to the system after
    each batch and each part, where the C library can do that (glibc): else it keeps the pieces, and the process grows
    with the log.

    A row's scores depend on its own user's rows alone, so the parts change none of them. They can differ from those of
    `RewardFunction.score_events` by rounding, by less than 1e-5 of a day: the network computes in float32 on histories
    padded to the longest of their batch, and batches of another shape are added up in another order.

    Args:
        function: what scores.
        events: a parquet file, a folder, a glob, an object-store URL, or a frame that is read lazily.
        out: parquet file to write, whole or not at all.
        rows_at_once: rows of a part, on the mean.
        options: the other arguments of `RewardFunction.score_events`; ``progress`` wraps the parts, or the batches of a
            log that is scored at once.

    Raises:
        SchemaError: the log cannot be read; or see `RewardFunction.score_events`: rows that training would set aside
            are judged on the whole log.
        ValueError: ``rows_at_once`` is below 1; or see `RewardFunction.score_events`.
    """
    if rows_at_once < 1:
        raise ValueError(f"rows_at_once must be at least 1, got {rows_at_once}")
    log = _Log.of(events)
    progress = options.get("progress", iter)
    scoring = _Scoring(function, log.rows, options)
    scoring.scores(log.read(0, 0))  # what is asked for is refused before the log is read
    if log.rows <= rows_at_once:
        frame = log.read(0, log.rows)
        scored = beside(frame, scoring.scores(frame, progress))
        scoring.warn()
        with whole(out) as scratch:
            scored.write_parquet(scratch)
    else:
        with scratch_folder(out) as folder:
            _in_parts(log, scoring, folder, rows_at_once, progress)
            scoring.warn()
            with whole(out) as scratch:
                _scan(folder, "scored").sink_parquet(scratch)
    return scoring.found()


@dataclass(frozen=True)
class _Log:
    """A log that is read a slice at a time."""

    frame: pl.LazyFrame
    name: str
    rows: int

    @classmethod
    def of(cls, events: str | os.PathLike[str] | pl.LazyFrame) -> _Log:
        name = "events" if isinstance(events, pl.LazyFrame) else f"events {os.fspath(events)}"
        frame = scan("events", events)
        with reading(name):
            return cls(frame, name, frame.select(pl.len()).collect().item())

    def read(self, start: int, rows: int) -> pl.DataFrame:
        with reading(self.name):
            return self.frame.slice(start, rows).collect()

    def slices(self, rows: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """First row and rows of each slice."""
        for start in range(0, self.rows, rows):
            yield start, self.read(start, rows)


@dataclass
class _Scoring:
    """A function at work on the parts of a log, and what it found."""

    function: RewardFunction | Composite
    rows: int
    options: ScoreOptions
    users: int = 0
    unknown: int = 0
    aside: dict[int, tuple[RewardFunction, Counter[str]]] = field(default_factory=dict)

    def scores(self, part: pl.DataFrame, progress: Progress = iter) -> pl.DataFrame:
        """Scores of all events of some users, row by row."""

        def releasing(batches: Sequence[Any]) -> Iterator[Any]:
            return _releasing(progress(batches))

        options: ScoreOptions = {**self.options, "progress": releasing}
        found = self.function.scores(part, set_aside=self._set_aside, **options)
        _trim()(0)
        self.users += part[USER].n_unique() if USER in part.columns else 0
        if ITEM in part.columns:
            self.unknown += self.function.unknown_items(part[ITEM], self.options.get("items_table"))
        return found

    def warn(self) -> None:
        """Say which rows of the log have no score."""
        for function, counts in self.aside.values():
            judge_set_aside(function.features, counts, self.rows)

    def found(self) -> Scored:
        return Scored(self.rows, self.users, self.unknown)

    def _set_aside(self, function: RewardFunction, counts: Mapping[str, int]) -> None:
        """Count them, and stop as soon as they are too many for the whole log."""
        _, total = self.aside.setdefault(id(function), (function, Counter()))
        total.update(counts)
        if total.total() > function.features.max_rejected_share * self.rows:
            judge_set_aside(function.features, total, self.rows)


def _in_parts(log: _Log, scoring: _Scoring, folder: Path, rows_at_once: int, progress: Progress) -> None:
    """Write ``scored-*`` files, in the order of the log's rows."""
    count = -(-log.rows // rows_at_once)
    group_rows = max(_READ_AT_ONCE * rows_at_once // count, _LEAST_GROUP_ROWS)
    row, part = (_unlike(name, log.frame.collect_schema().names()) for name in ("row", "part"))
    for number, (start, frame) in enumerate(log.slices(_READ_AT_ONCE * rows_at_once)):
        frame.with_row_index(row, start).with_columns(_part_of(frame.schema, count).alias(part)).sort(
            part, maintain_order=True
        ).write_parquet(folder / f"rows-{number:06}", row_group_size=group_rows, compression="lz4")
    rows = _scan(folder, "rows")
    for number in progress(range(count)):
        frame = rows.filter(pl.col(part) == number).collect()
        if not frame.is_empty():
            scores = frame.select(row).hstack(scoring.scores(frame.drop(row, part)))
            scores.write_parquet(folder / f"scores-{number:06}", row_group_size=group_rows, compression="lz4")
    scores_of = _scan(folder, "scores")
    for number, (start, frame) in enumerate(log.slices(_READ_AT_ONCE * rows_at_once)):
        here = pl.col(row).is_between(start, start + frame.height, closed="left")
        found = scores_of.filter(here).collect().sort(row).drop(row)
        beside(frame, found).write_parquet(folder / f"scored-{number:06}", compression="lz4")


def _releasing(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches; after each of them the memory that it has freed goes back to the system.

    A batch's tensors are of other sizes than the last one's, so the C library keeps freed pieces that it cannot use.
    """
    for batch in batches:
        yield batch
        _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    """``malloc_trim`` of glibc; elsewhere nothing is done."""
    found = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    return found or (lambda _: None)


def _part_of(schema: pl.Schema, count: int) -> pl.Expr:
    """The part, from 0, of each row: that of its user, by a hash."""
    if USER not in schema:  # a composite of the log's columns alone: each row for itself
        return pl.int_range(pl.len(), dtype=pl.UInt32) % count
    user = pl.col(USER).cast(pl.String) if schema[USER] in (pl.Categorical, pl.Enum) else pl.col(USER)
    return (user.hash(seed=0) % count).fill_null(0).cast(pl.UInt32)


def _unlike(name: str, names: Sequence[str]) -> str:
    while name in names:
        name = f"_{name}"
    return name


def _scan(folder: Path, kind: str) -> pl.LazyFrame:
    return pl.scan_parquet(sorted(folder.glob(f"{kind}-*")), glob=False)
