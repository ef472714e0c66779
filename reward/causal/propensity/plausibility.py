"""Whether propensities can be the probabilities with which the rows of a log were shown, or only stand in for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.columns import ITEM, POSITION, PROPENSITY, REQUEST, USER
from reward.data.days import DAY
from reward.data.event_log import EventLog
from reward.data.prepared import PreparedLog, UserRows
from reward.statistics.gathered import Gathered
from reward.statistics.sums import fold

_LEAST = 1e-60  # below which squares of 1 / p leave the range of numbers
_UNHEARD_OF = 1e-6  # expected rows of a log as unlikely as its least likely one, below which that cannot be right
_FACTOR = 1.5  # by which the sum of what could have been shown may be off, and
_LEVEL = 3.3  # standard errors by which it must be beyond that: one in a thousand by chance
_SHOWN, _ALL, _SHARE = "times shown", "times anything was", "share of others"  # no names of a log's columns
_LEAST_ROWS = 100  # that can be compared with those of other users
_INSTEAD = "leave the column out, or rename it, if that is not what it holds"


def impossible(propensity: Doubles, rows: int) -> str | None:
    """Why values cannot be used as propensities at all, as a clause that names what to do; None: they can.

    Args:
        propensity: of each row.
        rows: how many there are.
    """
    if propensity.shape != (rows,):
        return f"propensity expected one number a row, {rows}, got shape {propensity.shape}: give those of this log"
    return _Range.of(propensity, 0).impossible()


@dataclass(frozen=True)
class _Range:
    """Of some rows the number, the least and the largest propensity, and the first that is none with its row."""

    rows: int
    low: float
    high: float
    wrong: tuple[int, float] | None

    @classmethod
    def of(cls, propensity: Doubles, first: int) -> Self:
        """Of rows from ``first`` on."""
        wrong = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))
        found = (first + int(wrong[0]), float(propensity[wrong[0]])) if len(wrong) else None
        return cls(len(propensity), float(propensity.min()), float(propensity.max()), found)

    def __add__(self, other: Self, /) -> Self:
        """Of the rows of both."""
        wrong = min((it.wrong for it in (self, other) if it.wrong is not None), default=None)
        low, high = min(self.low, other.low), max(self.high, other.high)
        return type(self)(self.rows + other.rows, low, high, wrong)

    def impossible(self) -> str | None:
        if self.wrong is not None:
            return f"propensity expected numbers in (0, 1], got {self.wrong[1]:g} among others: give those of this log"
        if self.low < _LEAST:
            return (
                f"propensity expected the probability with which each row was shown, got {self.low:g}, and what is "
                f"that unlikely is never seen: {_INSTEAD}"
            )
        return None

    def unheard_of(self, items: int) -> str | None:
        if self.rows * items * self.low >= _UNHEARD_OF:
            return None
        return (
            f"propensity expected the probability with which each row was shown, got {self.low:g}, and of "
            f"{self.rows} rows none should be that unlikely: {_INSTEAD}"
        )

    def __str__(self) -> str:
        return f"{self.low:g} in every row" if self.low == self.high else f"{self.low:g} to {self.high:g}"


def check_propensities(log: EventLog | PreparedLog) -> str | None:
    """Why the column ``propensity`` of a log cannot hold the probabilities with which its rows were shown.

    If x is drawn with probability p(x), then for any shares s the mean of s(x) / p(x) over draws is Σ s(x) over all
    that could be drawn, which is 1. Here s is the item's share of what other users were shown on that day in the same
    context, less in a slate what stands above; the mean is over rows, with a standard error clustered by user. A column
    of ones gives the chance that two users see the same item, one that holds chances of being anywhere in a slate of k
    gives 1 / k. Where only one item could be shown, 1 is right and passes.

    Args:
        log: a checked log, or one that is prepared, which is read in chunks of users.

    Returns:
        A clause that says what is wrong and what to do; None: nothing is, or the log has no such column, or is too
        short to tell.
    """
    events = log.log.events if isinstance(log, PreparedLog) else log.events
    if PROPENSITY not in events.collect_schema().names():
        return None
    prepared = PreparedLog.of(log)
    return check_chunks(prepared, list(prepared.chunks()))


def check_chunks(prepared: PreparedLog, chunks: Sequence[UserRows]) -> str | None:
    """`check_propensities` of a log that has them, whose users are read in ``chunks``, in any order.

    Three sums over users: the range of propensities; how often each item was shown on each day in each context; and of
    each user what was found and what should have been, which the last state holds.
    """
    schema = prepared.log.events.collect_schema()
    cell = (DAY, *(name for name in prepared.log.context if schema[name] == pl.String))
    if not chunks:
        return None
    seen = fold(_Ranges(), chunks)
    if wrong := seen.impossible():
        return wrong
    counts = fold(_Counts(cell), chunks)
    if wrong := seen.unheard_of(counts[ITEM].n_unique()):
        return wrong
    total, se = fold(_Shares(cell, counts), chunks)
    if total + _LEVEL * se < 1 / _FACTOR or total - _LEVEL * se > _FACTOR:
        return (
            f"propensity is {seen}, by which the chances of all that could have been shown in a row's "
            f"place are about {1 / total:.2g} in all, and they must be 1: {_INSTEAD} (chances of being anywhere in a "
            "slate are to be divided by its length)"
        )
    return None


class _Ranges:
    """The range of propensities."""

    def partial(self, users: UserRows, /) -> _Range:
        propensity = users.log.events.select(PROPENSITY).collect().to_series().to_numpy()
        return _Range.of(propensity, users.rows.start)

    def solve(self, state: _Range, /) -> _Range:
        return state


@dataclass(frozen=True)
class _Count:
    """Rows of each day, context and item."""

    frame: pl.DataFrame

    def __add__(self, other: _Count, /) -> _Count:
        both = pl.concat([self.frame, other.frame])
        return _Count(both.group_by(pl.exclude(_SHOWN)).agg(pl.col(_SHOWN).sum()))


@dataclass(frozen=True)
class _Counts:
    """How often each item was shown on each day in each context."""

    cell: tuple[str, ...]

    def partial(self, users: UserRows, /) -> _Count:
        return _Count(
            _coded(users, self.cell[1:]).group_by(*self.cell, ITEM).agg(pl.len().cast(pl.Int64).alias(_SHOWN))
        )

    def solve(self, state: _Count, /) -> pl.DataFrame:
        return state.frame


@dataclass(frozen=True)
class _Shares:
    """Mean of share over propensity, against what it should be, and its standard error; 1 and 0 where few rows tell."""

    cell: tuple[str, ...]
    counts: pl.DataFrame

    def partial(self, users: UserRows, /) -> Gathered[pl.DataFrame]:
        names = users.log.events.collect_schema().names()
        slate = [name for name in (REQUEST, POSITION) if name in names]
        events = _coded(users, (*self.cell[1:], PROPENSITY, *slate))
        events = events.join(self.counts, on=[*self.cell, ITEM], how="left", nulls_equal=True, maintain_order="left")
        of_cell = self.counts.group_by(self.cell).agg(pl.col(_SHOWN).sum().alias(_ALL))
        events = events.join(of_cell, on=self.cell, how="left", nulls_equal=True, maintain_order="left")
        others = pl.col(_SHOWN) - pl.len().over([*self.cell, ITEM, USER])
        everything = pl.col(_ALL) - pl.len().over([*self.cell, USER])
        told = events.with_columns((others / everything).alias(_SHARE)).filter(everything > 0)
        left = pl.lit(1.0)
        if REQUEST in names:
            told = told.sort(POSITION, maintain_order=True) if POSITION in names else told
            above = pl.col(_SHARE).cum_sum().over(USER, *self.cell, REQUEST) - pl.col(_SHARE)
            left = pl.when(pl.col(REQUEST).is_null()).then(1.0).otherwise(1 - above)
        found = (pl.col(_SHARE) / pl.col(PROPENSITY)).sum().alias("found")
        sums = told.with_columns(left.alias("left")).group_by(USER).agg(found, pl.col("left").sum(), rows=pl.len())
        return Gathered.of(users.rows.start, sums.sort(USER))

    def solve(self, state: Gathered[pl.DataFrame], /) -> tuple[float, float]:
        sums = pl.concat(state.in_order)
        found, due = sums["found"].to_numpy(), sums["left"].to_numpy()
        if int(sums["rows"].sum()) < _LEAST_ROWS or not due.sum() > 0 or not found.sum() > 0:
            return 1.0, 0.0
        mean = float(found.sum() / due.sum())
        return mean, float(np.sqrt(np.square(found - mean * due).sum()) / due.sum())


def _coded(users: UserRows, names: Sequence[str]) -> pl.DataFrame:
    """Columns of some users' rows, with user, item and day as codes."""
    coded = pl.DataFrame({USER: users.user, ITEM: users.item, DAY: users.day})
    return coded if not names else coded.hstack(users.log.events.select(*names).collect())
