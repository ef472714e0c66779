"""How far apart the users shown each item are from those who could have been, as sums over users.

One pass over the slates finds the means of covariates over each day, a second the sums of what is left by item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Bools, Doubles, Ints
from reward.data.prepared import UserRows
from reward.data.slates import HALVES, Catalogue, Slates
from reward.statistics.moments import ColumnMoments
from reward.statistics.sums import Totals, fold


@dataclass(frozen=True)
class Compared:
    """Slates of some users, n of them, and what of these is compared.

    Attributes:
        slates: of the users.
        half: (n,) 0 or 1, the half of the user.
        part: (n,) whether the slate is compared.
        weights: (w, rows) inverse propensities, in each way of weighting.
        clipped: rows whose weight was.
    """

    slates: Slates
    half: Ints
    part: Bools
    weights: Doubles
    clipped: int

    @property
    def parts(self) -> Doubles:
        """(halves, n) 1 for the slates of each half that are compared, else 0."""
        return (self.part & (self.half == np.arange(HALVES)[:, None])).astype(np.float64)


@dataclass(frozen=True)
class DaySums(Totals):
    """What some users add to the means of covariates by day.

    Attributes:
        slots: (halves, days) places of compared slates.
        value: (halves, k, days) sums of the covariates over them.
        spread: moments of the covariates, halves · k columns, over compared slates of both halves.
    """

    slots: Doubles
    value: Doubles
    spread: ColumnMoments

    @classmethod
    def of(cls, compared: Compared, values: Doubles) -> DaySums:
        """Of covariates (halves, k, n), which may differ by the half that they are compared in."""
        slates, days = compared.slates, compared.slates.days
        size = slates.size * compared.parts
        slots = np.stack([np.bincount(slates.day, it, days) for it in size]).astype(np.float64)
        value = [
            [np.bincount(slates.day, it * column, days) for column in columns]
            for it, columns in zip(size, values, strict=True)
        ]
        told = values[:, :, compared.part].reshape(-1, int(compared.part.sum())).T
        return cls(slots, np.array(value), ColumnMoments.of(told))

    @property
    def mean(self) -> Doubles:
        """(halves, k, days) means over places."""
        mean: Doubles = self.value / np.maximum(self.slots, 1)[:, None]
        return mean

    @property
    def scale(self) -> Doubles:
        """(halves, k) standard deviations over slates, at least a trifle."""
        spread = np.sqrt(self.spread.squares / max(self.spread.count, 1))
        return np.maximum(spread, 1e-12).reshape(self.value.shape[:2])


@dataclass(frozen=True)
class ItemSums(Totals):
    """What some users add to the imbalance of items, by half of the users; k covariates, w ways of weighting.

    Attributes:
        rows: (halves, items) exposures.
        below: (halves, items) places below the item in the slates that show it.
        total, square: (halves, w, items) sums of weights and of their squares.
        value, tilt: (halves, k, items) sums of covariates by weight and by its square.
        missing: (halves, k, items) sums of covariates over the places below.
    """

    rows: Doubles
    below: Doubles
    total: Doubles
    square: Doubles
    value: Doubles
    tilt: Doubles
    missing: Doubles

    @classmethod
    def of(cls, compared: Compared, values: Doubles, weighting: Ints, mean: Doubles) -> ItemSums:
        """Of covariates (halves, k, n), weighted by the weights (k,), with their means by day (halves, k, days)."""
        slates = compared.slates
        item, items, slate = slates.item, len(slates.item_ids), slates.row
        lower = slates.size[slate] - 1 - slates.place

        def by_item(it: Doubles) -> Doubles:
            return np.bincount(item, it, items).astype(np.float64)

        sides = []
        for part, columns, means in zip(compared.parts, values, mean, strict=True):
            there = part[slate]
            mine, under = compared.weights * there, there * lower
            left = [(column - level[slates.day])[slate] for column, level in zip(columns, means, strict=True)]
            by = mine[weighting]
            sides.append(
                (
                    by_item(there),
                    by_item(under),
                    np.stack([by_item(it) for it in mine]),
                    np.stack([by_item(it**2) for it in mine]),
                    np.stack([by_item(weight * it) for weight, it in zip(by, left, strict=True)]),
                    np.stack([by_item(weight**2 * it) for weight, it in zip(by, left, strict=True)]),
                    np.stack([by_item(under * it) for it in left]),
                )
            )
        return cls(*(np.stack(each) for each in zip(*sides, strict=True)))


Read = Callable[[UserRows], tuple[Compared, Doubles]]  # covariates (halves, k, n), which may differ by half


@dataclass(frozen=True)
class DayMeans:
    """The first pass: covariates by day."""

    read: Read

    def partial(self, users: UserRows, /) -> DaySums:
        """What these users add."""
        return DaySums.of(*self.read(users))

    def solve(self, state: DaySums, /) -> DaySums:
        """The sums of all users, which have means."""
        return state


class Imbalance(NamedTuple):
    """What is out of balance.

    Attributes:
        value: (halves, k, items) D of every item; 0 where it has no row.
        rows: (halves, items) exposures that were compared.
    """

    value: Doubles
    rows: Doubles


@dataclass(frozen=True)
class ItemImbalance:
    """The second pass: D of every item.

    A ratio of sums is biased where few rows carry much of the weight, and alike in both halves: to first order by
    −Σ w² (v − v̄) / (Σ w)², which is taken off. An item counts by its rows, not by how even its weights came out:
    rows of a large weight pull D as they make the weights uneven, so that would prefer one sign of D.

    Attributes:
        read: what is compared, and covariates.
        weighting: (k,) which of the weights each covariate has.
        days: what the first pass found.
        catalogue: of the log.
    """

    read: Read
    weighting: Ints
    days: DaySums
    catalogue: Catalogue

    def partial(self, users: UserRows, /) -> ItemSums:
        """What these users add."""
        return ItemSums.of(*self.read(users), self.weighting, self.days.mean)

    def solve(self, state: ItemSums, /) -> Imbalance:
        """D of all users."""
        there = state.rows[:, None] > 0
        mass, square = (it[:, self.weighting] for it in (state.total, state.square))
        mass = np.where(there, mass, 1.0)
        shown = state.value / mass
        shown += (state.tilt - shown * square) / mass**2
        # the day means are off, so over whole days only the slots below the item in its own slate are missing
        slots = self.days.slots
        until = np.concatenate([np.zeros((len(slots), 1)), np.cumsum(slots, axis=1)], axis=1)
        could = until[:, self.catalogue.last + 1] - until[:, self.catalogue.first] - state.below
        target = -state.missing / np.maximum(could, 1)[:, None]
        return Imbalance(np.where(there, shown - target, 0.0), state.rows)


def imbalance_of(
    chunks: Sequence[UserRows], read: Read, weighting: Ints, catalogue: Catalogue
) -> tuple[Imbalance, Doubles]:
    """Both passes: the imbalance of covariates, and their standard deviations (halves, k) over compared slates."""
    days = fold(DayMeans(read), chunks)
    return fold(ItemImbalance(read, weighting, days, catalogue), chunks), days.scale
