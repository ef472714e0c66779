"""What each item did, by inverse-propensity weighting: the log's own randomness and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def beyond(it: Observed) -> CellRows:
        return CellRows(it.days.row_fold * items + it.item, it.mass, it.value - usual[it.when])

    plain = fold(CellMeans(cells, beyond), chunks)
    pairs = [_Pairs.of(it, items) for it in chunks]
    design = fold(_Designs(plain.weight), pairs)
    variance = fold(_Noise(plain, design, beyond), pairs).of(design)
    mean, shown = plain.mean, plain.weight > 0
    for _ in range(rounds):
        spread = max(float(np.average((mean**2 - variance)[shown], weights=1 / variance[shown])), 0)
        trust = np.where(shown, spread / (spread + variance), 0)
        mean = plain.mean - _others(pairs, _Apart(plain, mean - plain.mean, trust, beyond), folds * items, fold_days)
    return IPWEstimates(mean.reshape(folds, items), variance.reshape(folds, items))


class _Apart(NamedTuple):
    """What items do, as users tell who are not the one concerned: else a user's own luck would be taken out of it.

    Attributes:
        plain: weighted means.
        shift: (folds · items,) what was added to them.
        trust: (folds · items,) what of the sum is believed.
        beyond: reads the rows of the means.
    """

    plain: CellTotals
    shift: Doubles
    trust: Doubles
    beyond: Callable[[Observed], CellRows]

    def of(self, users: _Pairs) -> Doubles:
        """(n,) of each exposure's item."""
        _, _, value = self.beyond(users.shown)
        own, total = cell_sums(users.place, users.shown.mass * value, len(users.cell)), self.plain.weight[users.cell]
        rest = total - users.mass
        others = rest > _LEAST_FREE * total
        mean = (total * self.plain.mean[users.cell] - own) / np.where(others, rest, 1)
        return np.where(others, self.trust[users.cell] * (mean + self.shift[users.cell]), 0)[users.place]


def _others(pairs: Sequence[_Pairs], apart: _Apart, cells: int, fold_days: int) -> Doubles:
    """(folds · items,) means of what else was shown on the day that each exposure is on."""

    def others(it: _Pairs) -> Doubles:
        own, row = apart.of(it), it.shown.days.row
        return np.bincount(row, own, len(it.shown.days.known))[row] - own

    found = [others(it) for it in pairs]
    usual = fold(
        CellMeans(fold_days, lambda it: CellRows(it[0].shown.when, it[0].shown.mass, it[1])),
        list(zip(pairs, found, strict=True)),
    ).mean
    rows: CellMeans[tuple[_Pairs, Doubles]] = CellMeans(
        cells, lambda it: CellRows(it[0].cell[it[0].place], it[0].shown.mass, it[1] - usual[it[0].shown.when])
    )
    return fold(rows, list(zip(pairs, found, strict=True))).mean


class _Pairs(NamedTuple):
    """The exposures of some users, and the pairs of a user and an item that are among them.

    Attributes:
        shown: the exposures.
        cell: (pairs,) fold and item.
        place: (n,) pair of each exposure.
        mass: (pairs,) of its exposures.
        alone: (pairs,) Σ over its days of the square of mass times the standard deviation of what came after.
        across: (pairs,) the square of the sum of the same over its days, less ``alone``.
    """

    shown: Observed
    cell: Ints
    place: Ints
    mass: Doubles
    alone: Doubles
    across: Doubles

    @classmethod
    def of(cls, shown: Observed, items: int) -> _Pairs:
        """The pairs of a chunk."""
        pair, place = np.unique(shown.days.row_user * items + shown.item, return_inverse=True)
        size, noisy = len(pair), shown.mass * shown.noise_std
        day, of_day = np.unique(place * (int(shown.days.row.max(initial=0)) + 1) + shown.days.row, return_inverse=True)
        on_day, pair_of_day = cell_sums(of_day, noisy, len(day)), np.empty(len(day), np.int64)
        pair_of_day[of_day] = place
        alone = cell_sums(pair_of_day, on_day**2, size)
        across = np.where(np.bincount(pair_of_day, minlength=size) > 1, cell_sums(place, noisy, size) ** 2 - alone, 0)
        cell = shown.days.fold[pair // items] * items + pair % items
        return cls(shown, cell, place, cell_sums(place, shown.mass, size), alone, across)


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

    plain: CellTotals
    design: _Design
    beyond: Callable[[Observed], CellRows]

    def partial(self, users: _Pairs) -> _Pulls:
        cell, _, value = self.beyond(users.shown)
        total, known = self.plain.weight[users.cell], self.plain.weight[users.cell] > 0
        pull = cell_sums(users.place, users.shown.mass * (value - self.plain.mean[cell]), len(users.cell))
        share = users.mass[known] / total[known]
        kind = np.flatnonzero(known), (users.across[known] > 0).astype(np.int64)

        def summed(values: Doubles) -> Doubles:
            return cell_sums(kind[1], values, 2)

        def free(own: Doubles, design: Doubles) -> Doubles:
            return summed(own[known] * (1 - 2 * share) + users.mass[known] ** 2 * design[users.cell][known])

        return _Pulls(
            summed(pull[known] ** 2),
            free(users.alone, self.design.alone),
            free(users.across, self.design.across),
            cell_sums(kind[1], users.mass[known] ** 2, 2),
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
