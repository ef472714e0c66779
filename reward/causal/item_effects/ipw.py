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

    The variance is that of independent users: squares of weights summed within a user, times one noise variance that
    makes the squared residuals come out right over all items (a sandwich with one free factor; an item's own sandwich
    is worth little at a hundred users). A residual from a mean that its user took part in is smaller than the noise,
    the more so the fewer users there are, and is counted for as much less.

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
    design = fold(_Design(plain.weight), pairs)
    variance = fold(_Noise(plain, design, beyond), pairs) * design
    mean, shown = plain.mean, plain.weight > 0
    for _ in range(rounds):
        spread = max(float(np.average((mean**2 - variance)[shown], weights=1 / variance[shown])), 0)
        shrunk = np.where(shown, spread / (spread + variance), 0) * mean
        mean = plain.mean - _others(chunks, shrunk.reshape(folds, items), fold_days)
    return IPWEstimates(mean.reshape(folds, items), variance.reshape(folds, items))


def _others(chunks: Sequence[Observed], shrunk: Doubles, fold_days: int) -> Doubles:
    """(folds · items,) means of what else was shown on the day that each exposure is on, by its shrunken effect."""
    items = shrunk.shape[1]

    def others(it: Observed) -> Doubles:
        own, row = it.predicted(shrunk), it.days.row
        return np.bincount(row, own, len(it.days.known))[row] - own

    usual = usual_by_day(chunks, lambda it: (it.mass, others(it)), fold_days)
    rows: CellMeans[Observed] = CellMeans(
        shrunk.size, lambda it: CellRows(it.days.row_fold * items + it.item, it.mass, others(it) - usual[it.when])
    )
    return fold(rows, chunks).mean


class _Pairs(NamedTuple):
    """The exposures of some users, and the pairs of a user and an item that are among them."""

    shown: Observed
    cell: Ints  # (pairs,) fold and item
    place: Ints  # (n,) pair of each exposure

    @classmethod
    def of(cls, shown: Observed, items: int) -> _Pairs:
        """The pairs of a chunk."""
        pair, place = np.unique(shown.days.row_user * items + shown.item, return_inverse=True)
        return cls(shown, shown.days.fold[pair // items] * items + pair % items, place)

    def heavy(self) -> Doubles:
        """(pairs,) mass."""
        return cell_sums(self.place, self.shown.mass, len(self.cell))


@dataclass(frozen=True)
class _Design:
    """(folds · items,) variances of the means where the noise of one exposure is 1; infinite where not shown."""

    total: Doubles  # (folds · items,) mass

    def partial(self, users: _Pairs) -> Doubles:
        return cell_sums(users.cell, users.heavy() ** 2, len(self.total))

    def solve(self, state: Doubles) -> Doubles:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.total > 0, state / self.total**2, np.inf)


@dataclass(frozen=True)
class _Pulls(Totals):
    """Sums over pairs."""

    squares: float  # of the weighted residuals
    free: float  # what these are expected to be where noise is 1
    weights: float  # of squared masses


@dataclass(frozen=True)
class _Noise:
    """The variance of one exposure's noise, which is the same for all."""

    plain: CellTotals
    design: Doubles
    beyond: Callable[[Observed], CellRows]

    def partial(self, users: _Pairs) -> _Pulls:
        cell, _, value = self.beyond(users.shown)
        heavy, total = users.heavy(), self.plain.weight[users.cell]
        pull = cell_sums(users.place, users.shown.mass * (value - self.plain.mean[cell]), len(users.cell))
        known = total > 0
        share = heavy[known] / total[known]
        free = heavy[known] ** 2 * (1 - 2 * share + self.design[users.cell][known])
        return _Pulls(float((pull[known] ** 2).sum()), float(free.sum()), float((heavy**2).sum()))

    def solve(self, state: _Pulls) -> float:
        if not state.free > 1e-9 * state.weights:
            raise SchemaError(
                "effects expected items that several users of a fold were shown, to tell effects from noise, and found "
                "none: give a longer log, or set fewer causal.folds"
            )
        noise = state.squares / state.free
        if not noise > 0:
            raise SchemaError(
                "effects expected days after exposures of an item that differ from user to user, to tell effects from "
                "noise, and found none: give a longer log, or one of more users"
            )
        return noise
