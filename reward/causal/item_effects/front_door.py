"""What an item did once its mediator opened: what came after a click, against the same item shown and not clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.arrays import Bools, Doubles
from reward.causal.item_effects.observed import Observed, fold_days_of, usual_by_day
from reward.statistics.cells import cell_sums
from reward.statistics.sums import Totals, fold


@dataclass(frozen=True)
class FrontDoor:
    """What came after exposures that opened the mediator, beyond what came after those that did not, item by item.

    Where items work through the mediator, it says much more of an item than the item's exposures do: of a hundred
    exposures ten may be clicked, and the ninety others are noise. It is not randomised: users who click may come more
    often anyway. What of that is the same for all items does no harm, for only differences between items are read; what
    differs between items has a standard deviation, which `shrinkage.link` estimates against the inverse-propensity
    means.

    Attributes:
        value: (folds, items) days; 0 where an item was not shown both ways.
        variance: (folds, items) days²; infinite where it was not.
        bias_std: standard deviation between items of what is not an effect, days.

    Source:
        Pearl, "Causality" (2009), section 3.3.2, for effects through a mediator; Rosenman et al., "Combining
        observational and experimental datasets using shrinkage estimators" (Biometrics 2023) for the two together.
    """

    value: Doubles
    variance: Doubles
    bias_std: float = 0.0


def front_door(chunks: Sequence[Observed], opened: Sequence[Bools], items: int) -> FrontDoor:
    """Contrasts within items, of user-days beyond what is usual that day.

    Args:
        chunks: exposures of all users.
        opened: (n,) of each chunk, whether an exposure opened the mediator.
        items: how many there are.
    """

    def known(it: Observed) -> tuple[Doubles, Doubles]:
        return it.effect.precision[it.days.row], it.value

    usual = usual_by_day(chunks, known, fold_days_of(chunks[0].days))
    pairs = list(zip(chunks, opened, strict=True))
    return fold(_Contrasts(items, chunks[0].days.folds, usual), pairs)


@dataclass(frozen=True)
class _Sums(Totals):
    mass: Doubles  # (2, folds · items) Σ precision, of exposures that did not open the mediator and that did
    value: Doubles  # (2, folds · items) Σ precision · value
    spread: Doubles  # (2, folds · items) Σ precision · noise
    squares: float  # Σ precision · value² over all exposures of which something is known
    noise: float  # Σ noise of these


@dataclass(frozen=True)
class _Contrasts:
    items: int
    folds: int
    usual: Doubles  # (folds · days,)

    def partial(self, users: tuple[Observed, Bools]) -> _Sums:
        shown, opened = users
        known, beyond = shown.effect.precision[shown.days.row], shown.value - self.usual[shown.when]
        cells = self.folds * self.items
        cell, noise = (shown.days.row_fold * self.items + shown.item) + cells * opened, shown.noise
        parts = (known, known * beyond, known * noise)
        mass, value, spread = (cell_sums(cell, it, 2 * cells).reshape(2, cells) for it in parts)
        return _Sums(mass, value, spread, float(known @ beyond**2), float(noise[known > 0].sum()))

    def solve(self, state: _Sums) -> FrontDoor:
        both, noise = (state.mass > 0).all(axis=0), state.squares / state.noise if state.noise > 0 else 0.0
        mass = np.where(state.mass > 0, state.mass, 1)
        mean = state.value / mass
        value = np.where(both, mean[1] - mean[0], 0)
        variance = np.where(both, noise * (state.spread / mass**2).sum(axis=0), np.inf)
        variance = np.where(variance > 0, variance, np.inf)
        return FrontDoor(value.reshape(self.folds, self.items), variance.reshape(self.folds, self.items))
