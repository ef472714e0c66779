"""What a training log says of its columns: days, vocabularies, sizes and moments."""

from __future__ import annotations

import polars as pl

from reward.columns import ITEM
from reward.data.days import day_of
from reward.data.event_log import EventLog, SchemaError
from reward.data.validation import MADE, UNKNOWN
from reward.features.history import RATE_DAYS

CODE = "code"


def days_of(log: EventLog) -> tuple[int, int]:
    """First and last day of a checked log."""
    days = log.events.select(day_of(log).alias("day")).select(
        pl.col("day").min().alias("first"), pl.col("day").max().alias("last")
    )
    first, last = days.collect().row(0)
    return first, last


def usual_rate(frame: pl.DataFrame) -> float:
    """The share of the known past days on which users were active, of a frame made by `slots`."""
    span = max(RATE_DAYS)
    covered = float(frame[f"known_{span}d"].sum())
    return min(float(frame[f"active_{span}d"].sum()) / covered, 1.0) if covered else 0.0  # sums are rounded


def vocabulary(log: EventLog, min_item_events: int) -> pl.DataFrame:
    """One row an item of the items table or of the log: its features, and ``code``, 0 with fewer exposures."""
    counts = log.events.group_by(ITEM).len("events").collect()
    known = counts.filter(pl.col("events") >= min_item_events).sort(ITEM)[ITEM].to_list()
    items = counts.select(ITEM).lazy()
    if log.items is not None:
        items = log.items.join(items, on=ITEM, how="full", coalesce=True)
    return (
        items.select(ITEM, *log.item_features)
        .join(
            pl.LazyFrame(
                {ITEM: known, CODE: range(1, len(known) + 1)},
                schema={ITEM: counts.schema[ITEM], CODE: pl.Int64},
            ),
            on=ITEM,
            how="left",
        )
        .with_columns(pl.col(CODE).fill_null(0))
        .sort(ITEM)
        .collect()
    )


def embedding_sizes(table: pl.DataFrame, item_features: tuple[str, ...]) -> dict[str, int]:
    """Length of each embedding column of the items table."""
    return {
        name: int(table[name].list.len().max() or 0)  # type: ignore[arg-type]
        for name in item_features
        if table.schema[name].base_type() == pl.List
    }


def moments_of(column: pl.Series) -> tuple[float, float]:
    """Mean and standard deviation of the known values; 1 where they do not vary."""
    values = column.drop_nulls()
    mean, deviation = values.mean(), values.std()
    return float(mean or 0.0), float(deviation or 0.0) or 1.0  # type: ignore[arg-type]


def refuse_taken_names(log: EventLog) -> None:
    """Refuse columns with a name that the model's own inputs, or two columns, have.

    Raises:
        SchemaError: it names them.
    """
    named = [*log.feedback, *log.context, *log.item_features]
    own = {*MADE, *(name + UNKNOWN for name in named)}
    taken = sorted({name for name in named if name in own or named.count(name) > 1})
    if taken:
        raise SchemaError(
            f"{', '.join(taken)}: a column's name is taken, by another column or by one that the model makes; "
            "expected feedback, context and item features to differ from both: rename the column"
        )


def values_of(column: pl.Series, least: int) -> tuple[str, ...]:
    """Values that come so often, sorted: a vocabulary."""
    counts = column.drop_nulls().value_counts(name="events")
    return tuple(counts.filter(pl.col("events") >= least)[column.name].sort())
