"""A table as it came: which columns of it could be read, and what is wrong with which rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from reward.columns import REASON, TIMESTAMP
from reward.data.cells import FIRST, IMPLAUSIBLE, LAST, TICKS, Reader, near_names, units_of
from reward.data.event_log import SchemaError, reading


@dataclass(frozen=True)
class Table:
    """A table that was read once.

    Attributes:
        raw: the columns that were asked for, as they came.
        clean: those of them that could be read, in their final types.
        reason: why a row cannot be used; null where it can.
        flaws: each reason and the columns that show it.
        problems: columns that are missing or of a type that cannot be read.
    """

    raw: pl.DataFrame
    clean: pl.DataFrame
    reason: pl.Series
    flaws: dict[str, list[str]]
    problems: list[str]


def read_table(table: str, frame: pl.LazyFrame, readers_of: Callable[[pl.Schema], dict[str, Reader]]) -> Table:
    """Read the columns of a table, each by its reader.

    Args:
        table: its name in messages.
        frame: as it came.
        readers_of: how each column that is asked for is read, by its name, for a schema.

    Raises:
        SchemaError: it cannot be read at all.
    """
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
            problems.append(f"{table} has no column {name!r}{near_names(name, schema)}; its columns are {there}")
            continue
        try:
            column, found = reader(name, schema[name])
        except SchemaError as error:
            problems.append(f"{table} has {name!r} as {schema[name]}: {error}{units_of(frame, name, schema[name])}")
            unread.append(name)
            continue
        clean.append(column.alias(name))
        reasons += [pl.when(rows).then(pl.lit(flaw)) for flaw, rows in found.items()]
        flaws |= {flaw: [name] for flaw in found}
    scans = re.findall(r"SCAN (\[.*?\])", frame.explain(optimized=False))
    with reading(" ".join([table, *scans])):
        raw = frame.select(name for name in readers if name in schema and name not in unread).collect()
    reason = raw.select(pl.coalesce(*reasons, pl.repeat(None, pl.len(), dtype=pl.String)).alias(REASON)).to_series()
    return Table(raw, raw.select(clean), reason, flaws, problems)


def flaw_lines(table: Table, unit: str | None = None) -> list[str]:
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
        if flaw == IMPLAUSIBLE:
            lines[-1] += _other_unit(values[0][TIMESTAMP], table.raw.schema[TIMESTAMP], unit)
    return lines


def _other_unit(ticks: int, dtype: pl.DataType, unit: str | None) -> str:
    """The year in which a moment falls, and the unit in which it would have been a plausible one."""
    stored = dtype.time_unit if isinstance(dtype, pl.Datetime) else None
    year = 1970 + ticks // (TICKS[str(stored or unit)] * 31_556_952)
    text = f"; in {stored or unit} {ticks} is in the year {year}"
    for other, per in TICKS.items():
        if FIRST <= ticks // per <= LAST:
            fix = f"write the column in {other}" if stored else f"set timestamp_unit={other}"
            text += f", in {other} on {datetime.fromtimestamp(ticks // per, UTC).date()}: {fix}"
    return text
