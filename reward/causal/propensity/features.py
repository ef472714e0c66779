"""What a logging policy may have followed: of the moment in which an item was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Floats, Ints
from reward.causal.propensity.item_features import Traits
from reward.causal.propensity.scales import ColumnScales, Levels, one_hot
from reward.data.prepared import UserRows
from reward.data.slates import Slates, past_activity, past_liking
from reward.statistics.gathered import Gathered
from reward.statistics.sums import Totals


@dataclass(frozen=True)
class Followed:
    """What the policy may have followed, see `reward.causal.propensity.conditional_logit.estimate_propensities`."""

    gate: str | None
    spans_days: Sequence[float]
    prior_days: float
    memory_clicks: Sequence[float]
    context: Sequence[str]
    category_levels: int


@dataclass(frozen=True)
class Moments:
    """What is known of n slots before they are filled, as it is.

    Attributes:
        slates: of some users.
        activity: (n, spans) past activity, the last column over all days.
        context: columns (n,).
        liking: (n, memories · F) features of what the user took up before.
    """

    slates: Slates
    activity: Floats
    context: tuple[pl.Series, ...]
    liking: Floats


@dataclass(frozen=True)
class Slots:
    """What is known of n slots before they are filled, as the model reads it.

    Attributes:
        state: (n, K): z, its first column 1.
        liking: (n, memories · F): ℓ, of which the mean is still to be taken off.
        tercile: (n,) of past activity.
    """

    state: Doubles
    liking: Floats
    tercile: Ints


def gated_in(users: UserRows, slates: Slates, gate: str | None) -> Bools:
    """(n, size) what the users took up."""
    gated = slates.items >= 0
    if gate is not None:
        taken = users.log.events.select(pl.col(gate) > 0).collect().to_series().to_numpy()
        gated = np.zeros_like(gated)
        gated[slates.row, slates.place] = taken
    return gated


def moments_of(users: UserRows, slates: Slates, traits: Traits, followed: Followed, start: float) -> Moments:
    """What is known of some users' slots; ``start`` is the average activity of all users."""
    activity = past_activity(slates, tuple(followed.spans_days), followed.prior_days, start=start)
    liking = np.zeros((len(slates.user), 0), np.float32)
    if len(followed.memory_clicks):
        gated = gated_in(users, slates, followed.gate)
        memories = [past_liking(slates, gated, traits.values, it) for it in followed.memory_clicks]
        liking = np.concatenate(memories, axis=1)
    names = list(followed.context)
    columns = users.log.events.select(names).collect()[_tops(slates)] if names else pl.DataFrame()
    return Moments(slates, activity, tuple(columns[name] for name in names), liking)


def _tops(slates: Slates) -> Ints:
    """(n,) the row at the top of each slate."""
    rows = np.empty(len(slates.user), np.int64)
    top = np.flatnonzero(slates.place == 0)
    rows[slates.row[top]] = top
    return rows


@dataclass(frozen=True)
class Context:
    """The values of context columns: their scales, or how often each category occurs."""

    columns: tuple[ColumnScales | Levels, ...]

    @classmethod
    def of(cls, columns: Sequence[pl.Series]) -> Self:
        """Of some slots."""
        return cls(tuple(ColumnScales.of(_numbers(it)) if it.dtype.is_float() else Levels.of(it) for it in columns))

    def __add__(self, other: Self, /) -> Self:
        """Of the slots of both."""
        pairs = zip(self.columns, other.columns, strict=True)
        return type(self)(tuple(one + two for one, two in pairs))  # type: ignore[operator]  # of one kind by column

    def blocks(self, columns: Sequence[pl.Series], levels: int) -> list[Doubles]:
        """(n, width) numbers of each column."""
        return [
            known.standard(_numbers(it)) if isinstance(known, ColumnScales) else one_hot(it, known.common(levels))
            for known, it in zip(self.columns, columns, strict=True)
        ]


def _numbers(column: pl.Series) -> Doubles:
    return column.to_numpy().astype(np.float64)[:, None]


@dataclass(frozen=True)
class SlotSums(Totals):
    """What some users add to the scales of slots.

    Attributes:
        activity: scales of past activity.
        context: those of the context.
        liking: (memories · F,) sums.
        slots: how many there are.
        long: (n,) past activity over all days, of which the terciles are asked: it holds a number a slot.
    """

    activity: ColumnScales
    context: Context
    liking: Doubles
    slots: int
    long: Gathered[Floats]

    @classmethod
    def of(cls, first: int, moments: Moments) -> SlotSums:
        """Of some users, of whom ``first`` is the first."""
        return cls(
            ColumnScales.of(moments.activity),
            Context.of(moments.context),
            moments.liking.sum(axis=0, dtype=np.float64),
            len(moments.activity),
            Gathered.of(first, moments.activity[:, -1]),
        )


@dataclass(frozen=True)
class SlotScales:
    """The scales of slots: how the model reads what is known of them.

    Attributes:
        sums: of all users.
        edges: (2,) between the terciles of past activity.
        followed: what the policy may have followed.
    """

    sums: SlotSums
    edges: Doubles
    followed: Followed

    @classmethod
    def of(cls, sums: SlotSums, followed: Followed) -> Self:
        """Of the sums of all users."""
        return cls(sums, np.quantile(np.concatenate(sums.long.in_order), [1 / 3, 2 / 3]), followed)

    @property
    def mean_liking(self) -> Doubles:
        """(memories · F,)."""
        return self.sums.liking / max(self.sums.slots, 1)

    @property
    def width(self) -> int:
        """Columns of the states."""
        levels = self.followed.category_levels
        context = [
            1 if isinstance(it, ColumnScales) else len(it.common(levels)) or 1 for it in self.sums.context.columns
        ]
        return 1 + len(self.sums.activity.mean) * bool(self.followed.spans_days) + sum(context)

    @property
    def names(self) -> tuple[str, ...]:
        """What the states are made of."""
        return (*(f"activity over {span:g} days" for span in self.followed.spans_days), *self.followed.context)

    def slots(self, moments: Moments) -> Slots:
        """Some users' slots, as the model reads them."""
        told = self.sums.activity.standard(moments.activity)
        told = told if len(self.followed.spans_days) else told[:, :0]
        context = self.sums.context.blocks(moments.context, self.followed.category_levels)
        state = np.concatenate([np.ones((len(told), 1)), told, *context], axis=1)
        return Slots(state, moments.liking, np.searchsorted(self.edges, moments.activity[:, -1]))
