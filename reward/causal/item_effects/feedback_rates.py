"""What is known of items that may foretell their effects: their features and the feedback they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.feedback import tempered

_MOST_CATEGORIES = 50
ROUNDING = 1e-12  # of the largest value, below which a standard deviation is of numbers that are all alike


@dataclass(frozen=True)
class Traits:
    """Columns that foretell an item's effect, and how much of it an exposure can have.

    Attributes:
        described: (items, columns) from the items table, standardised; the same for all folds.
        answered: (folds + 1, items, columns) mean feedback where the gate opened, shrunk and standardised; row k
            without the users of fold k, the last row of all users.
        gate: (folds + 1, items) share of exposures that opened the gate, shrunk; 1 where there is no gate.
        doubt: (items, columns) variance of an item's own mean around the last row of ``answered``.
    """

    described: Doubles
    answered: Doubles
    gate: Doubles
    doubt: Doubles


class Column(NamedTuple):
    """One described trait: a number, a place of an embedding or a category value, and how to standardise it."""

    feature: str
    part: int | str | None  # place in an embedding, value of a category, None for a number
    mean: float
    spread: float


def describing(items: pl.DataFrame, features: Sequence[str], group: str | None) -> tuple[Column, ...]:
    """The columns that describe items: numbers as asinh, embeddings place by place, the commonest category values.

    Args:
        items: the items table of a checked log.
        features: columns of it to use; ``group`` is left out, it is pooled over and not a column.
        group: see `estimate.estimate_effects`.
    """
    found = []
    for name in features:
        column = items[name]
        if name == group:
            continue
        parts: list[int | str | None] = [None]
        if column.dtype == pl.String:
            counts = column.drop_nulls().alias("value").value_counts(sort=True, name="rows").head(_MOST_CATEGORIES)
            parts = sorted(counts.filter(pl.col("rows") > 1)["value"])
        elif column.dtype.is_nested():
            parts = list(range(int(column.list.len().max() or 0)))  # type: ignore[arg-type]
        for part in parts:
            values = _raw(items, name, part)
            known = values[np.isfinite(values)]
            if len(known) and known.std() > ROUNDING * np.abs(known).max():
                found.append(Column(name, part, float(known.mean()), float(known.std())))
    return tuple(found)


def described(items: pl.DataFrame, columns: Sequence[Column]) -> Doubles:
    """(items, columns), standardised; what is missing stands at the mean."""
    table = [(_raw(items, one.feature, one.part) - one.mean) / one.spread for one in columns]
    return np.nan_to_num(np.stack(table, axis=1)) if table else np.zeros((len(items), 0))


def _raw(items: pl.DataFrame, feature: str, part: int | str | None) -> Doubles:
    column = items[feature]
    if isinstance(part, str):
        return (column == part).cast(pl.Float64).fill_null(np.nan).to_numpy()
    if part is not None:
        return column.list.get(part, null_on_oob=True).cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.arcsinh(column.cast(pl.Float64).fill_null(np.nan).to_numpy())


def rates(
    events: pl.DataFrame,
    item: Ints,
    fold: Ints,
    items: int,
    folds: int,
    *,
    feedback: Sequence[str],
    gate: str | None,
    rare: Sequence[str],
) -> tuple[Doubles, Doubles, Doubles, list[str]]:
    """Mean feedback of each item, without each fold's users and with all.

    Args:
        events: the checked log's.
        item: (events,) from 0.
        fold: (events,) of the row's user.
        items: how many there are.
        folds: how many there are.
        feedback: columns.
        gate: the feedback without which an exposure does nothing, such as the click; None: there is none. The others
            are then averaged over rows that opened it.
        rare: columns where 0 means that nothing was asked: averaged over rows above 0.

    Returns:
        ``answered``, ``gate`` and ``doubt`` of `Traits`, and the columns' names.
    """
    opened = np.ones(len(item), bool) if gate is None else events[gate].to_numpy() > 0
    share = np.ones((folds + 1, items))
    if gate is not None:
        share, _ = _shrunken(*_sums(opened.astype(np.float64), item, fold, items, folds))
    means, doubts, names = [], [], []
    for name in feedback:
        if name == gate:
            continue
        values = events[name].to_numpy().astype(np.float64)
        flag = bool(np.isin(values, (0.0, 1.0)).all())
        told = opened & (values > 0) if name in rare else opened
        values = tempered(values) if flag or name in rare else np.log1p(values)
        mean, doubt = _shrunken(*_sums(np.where(told, values, 0), item, fold, items, folds, told))
        means.append(np.stack([_standard(row) for row in mean]))
        doubts.append(doubt / mean[-1].var() if mean[-1].var() > 0 else np.zeros(items))
        names.append(f"{name} where {gate}" if gate else name)
    answered = np.stack(means, axis=2) if means else np.zeros((folds + 1, items, 0))
    return answered, share, np.stack(doubts, axis=1) if doubts else np.zeros((items, 0)), names


def _sums(
    values: Doubles,
    item: Ints,
    fold: Ints,
    items: int,
    folds: int,
    told: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None,
) -> tuple[Doubles, Doubles, Doubles]:
    """Counts, sums and sums of squares, (folds + 1, items): without each fold, and of all."""
    cell = fold * items + item
    out = []
    for column in ((np.ones(len(values)) if told is None else told.astype(np.float64)), values, values**2):
        by_fold = np.bincount(cell, column, folds * items).reshape(folds, items)
        out.append(np.concatenate([by_fold.sum(axis=0) - by_fold, by_fold.sum(axis=0, keepdims=True)]))
    return out[0], out[1], out[2]


def _shrunken(count: Doubles, total: Doubles, squares: Doubles) -> tuple[Doubles, Doubles]:
    """Means shrunk to the mean over items by empirical Bayes (method of moments), row by row; the last's variances."""
    out, left = np.empty_like(count), np.zeros(count.shape[1])
    for row in range(len(count)):
        n, seen = count[row], count[row] > 0
        if not seen.any():
            out[row] = 0
            continue
        mean = np.where(seen, total[row] / np.maximum(n, 1), 0)
        grand = total[row].sum() / n.sum()
        within = max(float((squares[row].sum() - (n * mean**2).sum()) / max(n.sum() - seen.sum(), 1)), 0)
        between = max(float(np.average((mean - grand)[seen] ** 2 - within / n[seen], weights=n[seen])), 0)
        trust = np.where(seen, n * between / np.where(seen & (between > 0), n * between + within, 1), 0)
        out[row] = grand + trust * (mean - grand)
        left = between * (1 - trust)
    return out, left


def _standard(column: Doubles) -> Doubles:
    known = np.isfinite(column)
    if not known.any():
        return np.zeros(len(column))
    centred = np.where(known, column - column[known].mean(), 0)
    spread = float(centred[known].std())
    return centred / spread if spread > 0 else centred
