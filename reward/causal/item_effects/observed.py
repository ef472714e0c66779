"""Exposures of some users with what came after them: what estimates of effects add up, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.statistics.cells import CellMeans, CellRows, cell_sums
from reward.statistics.sums import fold


class Observed(NamedTuple):
    """n exposures of some of a log's users, and what came after the days that they are on.

    Attributes:
        days: the user-days.
        effect: of each user-day.
        item: (n,) from 0.
        weight: (n,) from `inverse_weights`.
    """

    days: UserDays
    effect: DayEffects
    item: Ints
    weight: Doubles

    @property
    def when(self) -> Ints:
        """(n,) fold and day as one number, see `UserDays.fold_day`."""
        return self.days.fold_day[self.days.row]

    @property
    def mass(self) -> Doubles:
        """(n,) weight times the precision of what came after."""
        return self.weight * self.effect.precision[self.days.row]

    @property
    def value(self) -> Doubles:
        """(n,) effect of the day that each is on."""
        return self.effect.value[self.days.row]

    @property
    def noise(self) -> Doubles:
        """(n,) variance of what came after, of what it is on average."""
        noise = self.effect.noise
        return np.ones(len(self.item)) if noise is None else noise[self.days.row]

    @property
    def noise_std(self) -> Doubles:
        """(n,) standard deviation of what came after, as its precision and its noise say; 0 where nothing is known."""
        known = self.effect.precision[self.days.row]
        return np.sqrt(np.where(known > 0, self.noise / np.where(known > 0, known, 1), 0))

    def predicted(self, effects: Doubles) -> Doubles:
        """(n,) effect of each item, from (folds, items) of which each is made without its fold."""
        return effects[self.days.row_fold, self.item]


def usual_by_day(
    chunks: Iterable[Observed], read: Callable[[Observed], tuple[Doubles, Doubles]], fold_days: int
) -> Doubles:
    """(fold_days, ...) weighted means of what was shown to each fold on each day.

    Args:
        chunks: of exposures.
        read: (n,) weights and (n,) or (n, k) values of a chunk.
        fold_days: how many folds times days there are.
    """
    return fold(CellMeans(fold_days, lambda it: CellRows(it.when, *read(it))), chunks).mean


def fold_days_of(days: UserDays) -> int:
    """How many folds times days a log has."""
    return days.folds * days.span


def by_user(user: Ints, values: Doubles) -> Doubles:
    """(users there,) sums of (n,) values by user, of a chunk that holds whole users."""
    first = int(user.min(initial=0)) if len(user) else 0
    return cell_sums(user - first, values, 0)
