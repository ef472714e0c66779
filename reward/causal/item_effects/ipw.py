"""What each item did, by inverse-propensity weighting: the log's own randomness and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.observed import Observed, fold_days_of, usual_by_day
from reward.data.event_log import SchemaError
from reward.statistics.cells import CellMeans, CellRows, CellTotals, cell_sums
from reward.statistics.sums import Totals, fold

_LEAST_FREE = 1e-9  # of the squared weights, below which what is left to vary is rounding


@dataclass(frozen=True)
class IPWEstimates:
    """Effects of items before any shrinkage, fold by fold: unbiased where the propensities are true, and noisy.

    Attributes:
        value: (folds, items) days more than the mean exposure; 0 where the item was not shown.
        variance: (folds, items) days²; infinite where it was not shown.
    """

    value: Doubles
    variance: Doubles


def inverse_weights(propensity: Sequence[Doubles], item: Sequence[Ints], items: int, *, most: float) -> list[Doubles]:
    """Inverse-propensity weights, clipped twice at ``most`` times their item's mean, then of mean 1 within the item.

    Args:
        propensity: (rows,) in (0, 1], of each chunk.
        item: (rows,) from 0.
        items: how many there are.
        most: clip; above 1.

    Returns:
        (rows,) of each chunk.

    Source:
        Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (NeurIPS 2015).
    """
    by_item: CellMeans[tuple[Ints, Doubles]] = CellMeans(items, lambda rows: CellRows(rows[0], None, rows[1]))
    weight = [1 / each for each in propensity]
    for _ in range(2):
        mean = fold(by_item, zip(item, weight, strict=True)).mean
        weight = [np.minimum(w / mean[of], most) * mean[of] for of, w in zip(item, weight, strict=True)]
    mean = fold(by_item, zip(item, weight, strict=True)).mean
    return [w / mean[of] for of, w in zip(item, weight, strict=True)]


def ipw_estimates(chunks: Sequence[Observed], items: int, *, rounds: int) -> IPWEstimates:
    """Inverse-propensity means of the day effects by item, each cleared of what else was shown that day.

    An instrumental regression of a user-day's effect on the counts of the items shown, with the weighted counts as
    instruments, solved by ``rounds`` of Jacobi steps on shrunken estimates: a term of .04 days an item is removed from
    noise of several days, so that the first round is nearly all there is.

    The variance is that of independent users: squares of weights summed within a user, times the noise of that user's
    days, times one factor that makes the squared residuals come out right over all items (a sandwich with one free
    factor; an item's own sandwich is worth little at a hundred users). Noise of one day is one and the same, and that
    of a user's different days correlates as it does where users were shown an item on several days. A residual from a
    mean that its user took part in is smaller than the noise, the more so the fewer users there are, and is counted
    for as much less.

    Args:
        chunks: exposures of all users, each user in one chunk.
        items: how many there are.
        rounds: Jacobi steps after the plain means.

    Returns:
        (folds, items).

    Raises:
        SchemaError: no item was shown to two users of one fold.
    """
    folds, cells = chunks[0].days.folds, chunks[0].days.folds * items
    fold_days = fold_days_of(chunks[0].days)
    usual = usual_by_day(chunks, lambda it: (it.mass, it.value), fold_days)
    pairs = [_Pairs.of(it, items, it.value - usual[it.when]) for it in chunks]
    found = fold(_means(cells), pairs)
    design = fold(_Designs(found.weight), pairs)
    variance, shown = fold(_Noise(found, design), pairs).of(design), found.weight > 0
    for _ in range(rounds):
        spread = max(float(np.average((found.mean**2 - variance)[shown], weights=1 / variance[shown])), 0)
        trust = np.where(shown, spread / (spread + variance), 0)
        others = [it.others(found, trust) for it in pairs]
        of_day = fold(CellMeans(fold_days, _on_days), list(zip(pairs, others, strict=True))).mean
        pairs = [
            it._replace(value=it.shown.value - usual[it.shown.when] - (other - of_day[it.shown.when]))
            for it, other in zip(pairs, others, strict=True)
        ]
        found = fold(_means(cells), pairs)
        variance = fold(_Noise(found, design), pairs).of(design)
    return IPWEstimates(found.mean.reshape(folds, items), variance.reshape(folds, items))


def _means(cells: int) -> CellMeans[_Pairs]:
    return CellMeans(cells, lambda it: CellRows(it.cell[it.place], it.shown.mass, it.value))


def _on_days(of: tuple[_Pairs, Doubles]) -> CellRows:
    return CellRows(of[0].shown.when, of[0].shown.mass, of[1])


class _Pairs(NamedTuple):
    """The exposures of some users, and the pairs of a user and an item that are among them.

    Attributes:
        shown: the exposures.
        value: (n,) what came after, beyond what is usual that day and what else was shown.
        cell: (pairs,) fold and item.
        place: (n,) pair of each exposure.
        mass: (pairs,) of its exposures.
        alone: (pairs,) Σ over its days of the square of mass times the standard deviation of what came after.
        across: (pairs,) the square of the sum of the same over its days, less ``alone``.
    """

    shown: Observed
    value: Doubles
    cell: Ints
    place: Ints
    mass: Doubles
    alone: Doubles
    across: Doubles

    @classmethod
    def of(cls, shown: Observed, items: int, value: Doubles) -> _Pairs:
        """The pairs of a chunk."""
        pair, place = np.unique(shown.days.row_user * items + shown.item, return_inverse=True)
        size, noisy = len(pair), shown.mass * shown.noise_std
        day, of_day = np.unique(place * (int(shown.days.row.max(initial=0)) + 1) + shown.days.row, return_inverse=True)
        on_day, pair_of_day = cell_sums(of_day, noisy, len(day)), np.empty(len(day), np.int64)
        pair_of_day[of_day] = place
        alone = cell_sums(pair_of_day, on_day**2, size)
        across = np.where(np.bincount(pair_of_day, minlength=size) > 1, cell_sums(place, noisy, size) ** 2 - alone, 0)
        cell = shown.days.fold[pair // items] * items + pair % items
        return cls(shown, value, cell, place, cell_sums(place, shown.mass, size), alone, across)

    def others(self, found: CellTotals, trust: Doubles) -> Doubles:
        """(n,) what the other exposures of each one's day did, as users tell who are not the one concerned.

        Else a user's own luck would be taken out of it.

        Args:
            found: weighted means of the items of each fold.
            trust: (folds · items,) what of them is believed.
        """
        own, total = cell_sums(self.place, self.shown.mass * self.value, len(self.cell)), found.weight[self.cell]
        rest = total - self.mass
        told = rest > _LEAST_FREE * total
        mean = np.where(told, (total * found.mean[self.cell] - own) / np.where(told, rest, 1), 0)
        each, row = (trust[self.cell] * mean)[self.place], self.shown.days.row
        return np.bincount(row, each, len(self.shown.days.known))[row] - each


class _Design(NamedTuple):
    """(folds · items,) variances of the means where the noise of one exposure is 1; infinite where not shown.

    Attributes:
        alone: where different days of a user had nothing in common.
        across: what is more where they were one and the same.
    """

    alone: Doubles
    across: Doubles


@dataclass(frozen=True)
class _Designs:
    total: Doubles  # (folds · items,) mass

    def partial(self, users: _Pairs) -> Doubles:
        """(2, folds · items) sums of a chunk."""
        return np.stack([cell_sums(users.cell, it, len(self.total)) for it in (users.alone, users.across)])

    def solve(self, state: Doubles) -> _Design:
        """Of all chunks."""
        shown = self.total > 0
        alone, across = state / np.where(shown, self.total, 1) ** 2
        return _Design(np.where(shown, alone, np.inf), np.where(shown, across, 0))


@dataclass(frozen=True)
class _Pulls(Totals):
    """Sums over pairs, (2,): of those of one day, and of those of several."""

    squares: Doubles  # of the weighted residuals
    alone: Doubles  # what these are expected to be where noise is 1 and days have nothing in common
    across: Doubles  # what they are expected to be more where they are one and the same
    weights: Doubles  # of squared masses


class _NoiseOfDays(NamedTuple):
    """Variance of one exposure's noise, and the correlation of the noise of different days of one user."""

    variance: float
    correlation: float

    def of(self, design: _Design) -> Doubles:
        """(folds · items,) variances of means."""
        return self.variance * (design.alone + self.correlation * design.across)


@dataclass(frozen=True)
class _Noise:
    """The noise of exposures, which is the same for all."""

    found: CellTotals
    design: _Design

    def partial(self, users: _Pairs) -> _Pulls:
        total, known = self.found.weight[users.cell], self.found.weight[users.cell] > 0
        left = users.value - self.found.mean[users.cell[users.place]]
        pull = cell_sums(users.place, users.shown.mass * left, len(users.cell))
        share = users.mass[known] / total[known]
        kind = (users.across[known] > 0).astype(np.int64)

        def summed(values: Doubles) -> Doubles:
            return cell_sums(kind, values, 2)

        def free(own: Doubles, design: Doubles) -> Doubles:
            return summed(own[known] * (1 - 2 * share) + users.mass[known] ** 2 * design[users.cell][known])

        return _Pulls(
            summed(pull[known] ** 2),
            free(users.alone, self.design.alone),
            free(users.across, self.design.across),
            summed(users.mass[known] ** 2),
        )

    def solve(self, state: _Pulls) -> _NoiseOfDays:
        """One variance of all pairs where there are too few of one day to tell two numbers apart."""
        free, weights = state.alone + state.across, state.weights
        if not free.sum() > _LEAST_FREE * weights.sum():
            raise SchemaError(
                "effects expected items that several users of a fold were shown, to tell effects from noise, and found "
                "none: give a longer log, or set fewer causal.folds"
            )
        if not state.squares.sum() > 0:
            raise SchemaError(
                "effects expected days after exposures of an item that differ from user to user, to tell effects from "
                "noise, and found none: give a longer log, or one of more users"
            )
        correlation = 1.0
        if (state.alone > _LEAST_FREE * weights).all() and state.squares[0] > 0 and state.across[1] > 0:
            variance = state.squares[0] / state.alone[0]
            correlation = float(np.clip((state.squares[1] / variance - state.alone[1]) / state.across[1], 0, 1))
        return _NoiseOfDays(float(state.squares.sum() / (state.alone + correlation * state.across).sum()), correlation)
