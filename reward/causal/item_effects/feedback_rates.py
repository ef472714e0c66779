"""What is known of items that may foretell their effects: their features and the feedback they get."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Ints
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
        unopened: what an exposure that did not open the gate does, as a share of one that did.
    """

    described: Doubles
    answered: Doubles
    gate: Doubles
    doubt: Doubles
    unopened: float = 0.0

    def share(self, row: int) -> Doubles:
        """(items,) how much of an effect behind the gate a mean exposure has."""
        return self.unopened + (1 - self.unopened) * self.gate[row]


class Column(NamedTuple):
    """One described trait: a number, a place of an embedding or a category value, and how to standardise it."""

    feature: str
    part: int | str | None  # place in an embedding, value of a category, None for a number
    mean: float
    spread: float


def describing(
    items: pl.DataFrame, features: Sequence[str], group: str | None, *, most_levels: int = _MOST_CATEGORIES
) -> tuple[Column, ...]:
    """The columns that describe items: numbers as asinh, embeddings place by place, the commonest category values.

    Args:
        items: the items table of a checked log.
        features: columns of it to use; ``group`` is left out, it is pooled over and not a column.
        group: see `estimate.estimate_effects`.
        most_levels: of a category, that have a column.
    """
    found = []
    for name in features:
        column = items[name]
        if name == group:
            continue
        parts: list[int | str | None] = [None]
        if column.dtype == pl.String:
            counts = column.drop_nulls().alias("value").value_counts(sort=True, name="rows").head(most_levels)
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


class FeedbackRows(NamedTuple):
    """What some of a log's users answered to n exposures.

    Attributes:
        events: n checked rows, of which the columns that are asked for are read.
        item: (n,) from 0.
        fold: (n,) of the row's user.
    """

    events: pl.LazyFrame
    item: Ints
    fold: Ints

    def read(self, names: Iterable[str]) -> dict[str, Doubles]:
        """(n,) answers, by name."""
        frame = self.events.select(pl.col(name).cast(pl.Float64) for name in dict.fromkeys(names)).collect()
        return {name: frame[name].to_numpy() for name in frame.columns}

    def above(self, name: str) -> Bools:
        """(n,) whether an answer is above 0."""
        return self.read([name])[name] > 0


@dataclass(frozen=True)
class Flags:
    """Which feedback is only ever 0 or 1."""

    feedback: Sequence[str]

    def partial(self, users: FeedbackRows) -> Ints:
        """(feedback,) rows with another answer."""
        return np.array([int((~np.isin(it, (0.0, 1.0))).sum()) for it in users.read(self.feedback).values()], np.int64)

    def solve(self, state: Ints) -> frozenset[str]:
        """Names."""
        return frozenset(name for name, others in zip(self.feedback, state, strict=True) if not others)


@dataclass(frozen=True)
class Rates:
    """Mean feedback of each item, without each fold's users and with all.

    Attributes:
        items: how many there are.
        folds: how many there are.
        feedback: columns.
        flags: those that are only ever 0 or 1, see `Flags`.
        gate: the feedback without which an exposure does nothing, such as the click; None: there is none. The others
            are then averaged over rows that opened it.
        rare: columns where 0 means that nothing was asked: averaged over rows above 0.
    """

    items: int
    folds: int
    feedback: Sequence[str]
    flags: Collection[str]
    gate: str | None
    rare: Sequence[str]

    @property
    def answered(self) -> list[str]:
        """Columns that are averaged."""
        return [name for name in self.feedback if name != self.gate]

    def partial(self, users: FeedbackRows) -> Doubles:
        """(1 + columns, 3, folds, items) counts, sums and sums of squares: of the gate and of each column behind it."""
        answers = users.read([*self.answered, *([] if self.gate is None else [self.gate])])
        opened = np.ones(len(users.item), np.bool_) if self.gate is None else answers[self.gate] > 0
        cell, found = users.fold * self.items + users.item, []
        if self.gate is None:
            found.append(np.zeros((3, self.folds * self.items)))
        else:
            found.append(self._sums(opened.astype(np.float64), np.ones(len(opened)), cell))
        for name in self.answered:
            values = answers[name]
            told = opened & (values > 0) if name in self.rare else opened
            values = tempered(values) if name in self.flags or name in self.rare else np.log1p(values)
            found.append(self._sums(np.where(told, values, 0), told.astype(np.float64), cell))
        return np.stack(found).reshape(-1, 3, self.folds, self.items)

    def _sums(self, values: Doubles, told: Doubles, cell: Ints) -> Doubles:
        """(3, folds · items)."""
        return np.stack([np.bincount(cell, it, self.folds * self.items) for it in (told, values, values**2)])

    def solve(self, state: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """``answered``, ``gate`` and ``doubt`` of `Traits`."""
        whole = state.sum(axis=2, keepdims=True)
        opened, *columns = np.concatenate([whole - state, whole], axis=2)  # without each fold, and of all
        share = np.ones((self.folds + 1, self.items)) if self.gate is None else _shrunken(*opened)[0]
        means, doubts = [], []
        for count, total, squares in columns:
            mean, doubt = _shrunken(count, total, squares)
            means.append(np.stack([_standard(row) for row in mean]))
            doubts.append(doubt / mean[-1].var() if mean[-1].var() > 0 else np.zeros(self.items))
        answered = np.stack(means, axis=2) if means else np.zeros((self.folds + 1, self.items, 0))
        return answered, share, np.stack(doubts, axis=1) if doubts else np.zeros((self.items, 0))


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
    centred = column - column.mean()
    spread = float(centred.std())
    return centred / spread if spread > 0 else centred
