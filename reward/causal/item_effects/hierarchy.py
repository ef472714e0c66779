"""The solver of the hierarchy of `shrinkage`: spreads of maximum marginal likelihood, coefficients at given ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from reward.arrays import Bools, Doubles, Ints

FREE_VARIANCE = 1.0  # days², of the intercepts: so wide that they are not shrunk
START_DAYS = 0.02
_ITERATIONS = 60
_NATS = 1e-6  # of log likelihood, by which a step must still gain
_AT_ONCE = 4096


@dataclass(frozen=True)
class HierarchySums:
    """Sufficient statistics: with s the gate, v the variance, R the columns, y the anchors, sums over folds."""

    items: Doubles  # (items, 2 + columns) Σ s²/v, Σ s y/v, Σ s R/v
    gram: Doubles  # (1 + columns, 1 + columns) Σ [y R]'[y R]/v
    groups: Ints
    order: Ints  # (items,) by group
    count: int
    block: Ints  # (columns,) 0: free, 1: described, 2: answered
    doubt: Doubles  # (items,) variance of what the answered traits foretell, days² behind the gate
    constant: float = 0.0  # of the loss


class Solved(NamedTuple):
    """The coefficients at given spreads, and what they were made of."""

    loss: float  # minus the log marginal likelihood, up to a constant
    coefficients: Doubles
    covariance: Doubles
    prior: Doubles  # (columns,) variances
    own: Doubles  # (items,) prior variance of the own part
    left: Doubles  # (items,) what the own part leaves of an item's weight
    sums: Doubles  # (groups, 2 + columns) of what is left of the items
    shared: Doubles  # (groups,) posterior variance of the group part


def spreads_of(facts: HierarchySums, start: Doubles, *, penalty: float = 1.0) -> Doubles:
    """Logarithms of the spreads of maximum marginal likelihood, looked for from ``start`` on."""
    known = known_spreads(facts)

    def lost(at: Doubles) -> tuple[float, Doubles]:
        inside = bounded(at)
        made = solve(facts, inside, penalty=penalty)
        slope = slope_of(facts, made, inside) - penalty
        return made.loss, np.where((at == inside) & known, slope, 0)

    return bounded(least(lost, np.log(start)))


def least(lost: Callable[[Doubles], tuple[float, Doubles]], start: Doubles) -> Doubles:
    """Where a function is least, looked for from ``start`` on; the best place seen where the search ends nowhere.

    Args:
        lost: gives the function and its slope.
        start: (n,).
    """
    place = torch.from_numpy(start.copy()).requires_grad_()
    optimiser = torch.optim.LBFGS([place], max_iter=_ITERATIONS, tolerance_change=_NATS, line_search_fn="strong_wolfe")
    best, lowest = start, np.inf

    def closure() -> float:
        nonlocal best, lowest
        at = place.detach().numpy().copy()
        found, slope = lost(at)
        place.grad = torch.from_numpy(slope)
        if found < lowest:
            best, lowest = at, found
        return found

    optimiser.step(closure)
    found = place.detach().numpy()
    return found if np.isfinite(found).all() else best  # a line search between equal losses ends nowhere


def known_spreads(facts: HierarchySums) -> Bools:
    """(4,) of which spreads the log tells."""
    return np.array([True, True, *(_is_told(facts, block) for block in (1, 2))])


def _is_told(facts: HierarchySums, block: int) -> bool:
    """Whether the log tells of the spread of a block of columns: no, if none of them varies among what was shown."""
    mine = facts.block == block
    return not mine.any() or float(facts.gram.diagonal()[1:][mine].sum()) > 0


def bounded(log_spread: Doubles) -> Doubles:
    """Within what a spread can be, 1e-6 to 10 days."""
    return np.clip(log_spread, np.log(1e-6), np.log(10.0))


def solve(facts: HierarchySums, log_spread: Doubles, *, penalty: float = 1.0) -> Solved:
    """Generalised least squares, with items' own parts and groups taken out in turn."""
    own, group, described, answered = np.exp(2 * log_spread)
    own = own + facts.doubt
    weight = facts.items[:, 0]
    left = 1 / (1 + own * weight)
    sums = _grouped(facts, left)
    shared = group / (1 + group * sums[:, 0])
    gram = facts.gram - gram_of(facts.items[:, 1:], own * left) - gram_of(sums[:, 1:], shared)
    prior = np.array([FREE_VARIANCE, described, answered])[facts.block]
    covariance, volume = _inverse(gram[1:, 1:], prior)
    coefficients = covariance @ gram[0, 1:]
    loss = 0.5 * (
        np.log1p(own * weight).sum()
        + np.log1p(group * sums[:, 0]).sum()
        + volume
        + gram[0, 0]
        - coefficients @ gram[0, 1:]
    )
    loss = float(loss + facts.constant - penalty * log_spread.sum())  # keeps a spread from being taken for exactly 0
    return Solved(loss, coefficients, covariance, prior, own, left, sums, shared)


def _inverse(gram: Doubles, prior: Doubles) -> tuple[Doubles, float]:
    """(gram + diag(1 / prior))⁻¹, and the logarithm of the determinant of 1 + gram · diag(prior).

    The prior makes it regular however collinear the columns are: in units of the prior no eigenvalue is below 1. Where
    rounding says otherwise, it is 1.
    """
    try:
        factor = np.linalg.cholesky(gram + np.diag(1 / prior))
    except np.linalg.LinAlgError:
        scale = np.sqrt(prior)
        values, axes = np.linalg.eigh(np.eye(len(prior)) + scale[:, None] * gram * scale)
        values, axes = np.maximum(values, 1.0), scale[:, None] * axes
        return (axes / values) @ axes.T, float(np.log(values).sum())
    inverse = np.linalg.inv(factor)
    return inverse.T @ inverse, float(2 * np.log(factor.diagonal()).sum() + np.log(prior).sum())


def slope_of(facts: HierarchySums, made: Solved, log_spread: Doubles) -> Doubles:
    """(4,) derivatives of the loss without its penalty by the log spreads.

    Of a Gaussian part u of prior variance p it is ½ (1/p − E[u²]/p²) by p (Fisher's identity), here without the
    cancellation at small p.
    """
    own, group, described, answered = np.exp(2 * log_spread)
    weight, left = facts.items[:, 0], made.left
    lift = made.shared[:, None] * made.sums[:, 2:]
    rest = made.sums[:, 1] - made.sums[:, 2:] @ made.coefficients
    missed = facts.items[:, 1] - facts.items[:, 2:] @ made.coefficients - weight * (made.shared * rest)[facts.groups]
    by_own = (weight * left).sum() - (left**2 * (missed**2 + weight**2 * made.shared[facts.groups])).sum()
    for rows in _blocks(len(weight)):
        moved = facts.items[rows, 2:] - weight[rows, None] * lift[facts.groups[rows]]
        by_own -= (gram_of(moved, left[rows] ** 2) * made.covariance).sum()
    kept = made.shared / group
    by_group = (made.sums[:, 0] * kept).sum() - (kept**2 * rest**2).sum()
    by_group -= (gram_of(made.sums[:, 2:], kept**2) * made.covariance).sum()
    squares = made.coefficients**2 + made.covariance.diagonal()
    by_prior = 1 / made.prior - squares / made.prior**2
    by_block = [by_prior[facts.block == block].sum() for block in (1, 2)]
    return np.array([by_own, by_group, *by_block]) * (own, group, described, answered)


def _grouped(facts: HierarchySums, weight: Doubles) -> Doubles:
    """(groups, 2 + columns) weighted sums of the items of each group.

    In NumPy alone: a parallel loop of torch between products of NumPy leaves its threads spinning, and those wait.
    """
    sums = np.zeros((facts.count, facts.items.shape[1]))
    for rows in _blocks(len(weight)):
        mine = facts.order[rows]
        group = facts.groups[mine]
        begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        heavy = weight[mine, None] * facts.items[mine]
        sums[group[begins]] += heavy if len(begins) == len(mine) else np.add.reduceat(heavy, begins)
    return sums


def gram_of(columns: Doubles, weight: Doubles) -> Doubles:
    """(p, p) Σ w c'c of (n, p) columns, weights at least 0."""
    out = np.zeros((columns.shape[1], columns.shape[1]))
    for rows in _blocks(len(columns)):
        heavy = np.sqrt(weight[rows])[:, None] * columns[rows]
        out += heavy.T @ heavy
    return out


def _blocks(count: int) -> Iterator[slice]:
    """Rows by the thousands: what is made of them is never there for all items at once."""
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))
