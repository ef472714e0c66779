"""Items tables that come later: in the types of the one that training saw, or refused."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from reward.columns import ITEM
from reward.data.event_log import SchemaError
from reward.data.validation import check_items


def fitting(items_table: pl.DataFrame, expected: Mapping[str, pl.DataType], sizes: Mapping[str, int]) -> pl.DataFrame:
    """The columns of an items table that are read.

    Args:
        items_table: as it came.
        expected: types that training saw, of the ids and of each item feature.
        sizes: length of each embedding.

    Raises:
        SchemaError: it lacks a column, or has one that does not fit.
    """
    came = items_table.schema
    # what a number, an embedding or nothing at all may have come as
    casts = [
        pl.col(name).cast(dtype)
        for name, dtype in expected.items()
        if name in came
        and (
            came[name] == pl.Null
            or (dtype == pl.Float64 and came[name].is_integer())
            or (dtype == pl.List(pl.Float32) and _of_numbers(came[name]))
        )
    ]
    clean = check_items(items_table.with_columns(casts), (name for name in expected if name != ITEM))
    problems = [
        f"it has {name!r} as {clean.schema[name]}, expected {dtype}, as in training: cast it"
        for name, dtype in expected.items()
        if clean.schema[name] != dtype
    ]
    problems += [
        f"{name!r} has embeddings of another length, expected {size}"
        for name, size in sizes.items()
        if clean.schema[name] == pl.List(pl.Float32) and not (clean[name].list.len().drop_nulls() == size).all()
    ]
    if problems:
        raise SchemaError("the items table does not fit: " + "; ".join(problems))
    return clean


def _of_numbers(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.List | pl.Array) and (dtype.inner or pl.Null()).is_numeric()
