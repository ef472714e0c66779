"""Hierarchical pooling: noisy item anchors, shrunk to what their creator, features and feedback foretell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import Traits
from reward.causal.item_effects.ipw import IPWEstimates
from reward.moved import OldName

_FREE_VARIANCE = 1.0  # days², of the two intercepts: so wide that they are not shrunk
_START_DAYS = 0.02
_ITERATIONS = 60
_NATS = 1e-6  # of log likelihood, by which a step must still gain
_DOUBT_ROUNDS = 2
_AT_ONCE = 4096


@dataclass(frozen=True)
class Pooled:
    """Posterior of the items' effects under a Gaussian hierarchy.

    An item's effect is ``level + gate · (traits · coefficients + group + own)``: what an exposure does, it does through
    the gate. Coefficients, groups and items' own parts are Gaussian around 0 with standard deviations found by maximum
    marginal likelihood (empirical Bayes), so that in a log where nothing matters everything shrinks to 0. Where an
    answered trait is a mean of few answers, what it foretells is believed less: an item's own part varies by its
    ``doubt`` times the squared coefficient more.

    Attributes:
        coefficients: (columns,) level, intercept behind the gate, described and answered traits; days.
        covariance: (columns, columns) of these.
        group: (groups,) mean of the group parts given the coefficients at their means.
        own: (items,) the same of the items' own parts.
        group_variance, own_variance: what is left of each.
        group_lift: (groups, columns) what the group part loses for a unit of each coefficient.
        own_lift: (items, columns) what the item's own part loses.
        own_carry: (items,) what the item's own part loses for a unit of its group's.
        spreads: standard deviations found: own, group, described, answered; days behind the gate.
    """

    coefficients: Doubles
    covariance: Doubles
    group: Doubles
    own: Doubles
    group_variance: Doubles
    own_variance: Doubles
    group_lift: Doubles
    own_lift: Doubles
    own_carry: Doubles
    spreads: tuple[float, float, float, float]

    behind, effects = OldName("effect_given_mediator"), OldName("posterior_effects")
    behind_std = OldName("effect_given_mediator_std")

    def posterior_effects(self, traits: Traits, groups: Ints, row: int = -1) -> tuple[Doubles, Doubles]:
        """(items,) posterior means and standard deviations in days, with the traits of ``row``."""
        gate = traits.gate[row]
        mean = self.coefficients[0] + gate * self.effect_given_mediator(traits, groups, row)
        return mean, self._std(_columns(traits, row), gate, groups)

    def effect_given_mediator(self, traits: Traits, groups: Ints, row: int = -1) -> Doubles:
        """(items,) posterior means of the effect once the gate is open, less the level."""
        return _behind(traits, row) @ self.coefficients[1:] + self.group[groups] + self.own

    def effect_given_mediator_std(self, traits: Traits, groups: Ints, row: int = -1) -> Doubles:
        """(items,) posterior standard deviations of `effect_given_mediator`."""
        columns = np.concatenate([np.zeros((len(groups), 1)), _behind(traits, row)], axis=1)
        return self._std(columns, np.ones(len(groups)), groups)

    def _std(self, columns: Doubles, gate: Doubles, groups: Ints) -> Doubles:
        """(items,) posterior standard deviations of columns · coefficients + gate · (group + own)."""
        lift = self.own_lift + (1 - self.own_carry)[:, None] * self.group_lift[groups]
        slope = columns - gate[:, None] * lift
        variance = np.einsum("xi,ij,xj->x", slope, self.covariance, slope)
        left = (1 - self.own_carry) ** 2 * self.group_variance[groups] + self.own_variance
        return np.sqrt(np.maximum(variance, 0) + gate**2 * left)


def pooled_effects(anchors: IPWEstimates, traits: Traits, groups: Ints, *, without: int | None = None) -> Pooled:
    """Fit the hierarchy to anchors of all folds, or of all but one.

    Each fold's anchors meet traits measured without that fold's users.

    Args:
        anchors: (folds, items).
        traits: of the same items.
        groups: (items,) creator or show of each item, from 0; a group of its own for an item without.
        without: a fold to leave out.

    Source:
        Robinson, "That BLUP is a good thing" (Statistical Science 1991); the variances by maximum marginal likelihood
        with the penalty of Chung et al., "A nondegenerate penalized likelihood estimator for variance parameters in
        multilevel models" (Psychometrika 2013).
    """
    facts = _facts(anchors, traits, groups, without)
    made = _posterior(facts, _spreads(facts, np.full(4, _START_DAYS)))
    for _ in range(_DOUBT_ROUNDS if traits.doubt.any() else 0):
        mine = slice(-traits.answered.shape[2], None)
        size = made.coefficients[mine] ** 2 + made.covariance.diagonal()[mine]
        doubted = replace(facts, doubt=traits.doubt @ size)
        made = _posterior(doubted, _spreads(doubted, np.array(made.spreads)))
    return made


def left_out(anchor: IPWEstimates, traits: Traits, groups: Ints) -> list[Pooled]:
    """For each fold the fit to the other folds' users."""
    return [pooled_effects(anchor, traits, groups, without=fold) for fold in range(len(anchor.value))]


def effects_by_fold(apart: Sequence[Pooled], traits: Traits, groups: Ints) -> tuple[Doubles, Doubles]:
    """(folds, items) effects and their standard deviations, each fold's from its own fit, see `left_out`."""
    mean, std = zip(*(each.posterior_effects(traits, groups, fold) for fold, each in enumerate(apart)), strict=True)
    return np.stack(mean), np.stack(std)


def _facts(anchors: IPWEstimates, traits: Traits, groups: Ints, without: int | None = None) -> _Facts:
    """What the fit reads of anchors and traits."""
    folds = [fold for fold in range(len(anchors.value)) if fold != without]
    answered = traits.answered.shape[2]
    width = 2 + traits.described.shape[1] + answered
    items, gram = np.zeros((len(groups), 2 + width)), np.zeros((1 + width, 1 + width))
    for fold in folds:
        told = np.concatenate([anchors.value[fold][:, None], _columns(traits, fold)], axis=1)
        weight = 1 / anchors.variance[fold]  # 0 where the item was not shown
        gram += _gram(told, weight)
        items[:, 0] += traits.gate[fold] ** 2 * weight
        items[:, 1:] += (traits.gate[fold] * weight)[:, None] * told
    return _Facts(
        items=items,
        gram=gram,
        groups=groups,
        order=np.argsort(groups, kind="stable"),
        count=int(groups.max()) + 1,
        block=np.array([0, 0] + [1] * traits.described.shape[1] + [2] * answered),
        doubt=np.zeros(len(groups)),
    )


def evidence(anchors: IPWEstimates, traits: Traits, groups: Ints) -> float:
    """How well a hierarchy explains the anchors, in nats up to a constant of the anchors.

    The log-likelihood with coefficients, groups and own parts integrated out, at the spreads that make it largest: a
    column that tells nothing has a spread of 0 then, and costs nothing. The penalty that keeps spreads from 0 in
    `pooled_effects` is left out, for it grows with the unit in which effects behind a gate are told, and so are the
    doubts, which come of the fit. The two intercepts are at their best.

    Args:
        anchors: (folds, items).
        traits: of the same items.
        groups: see `pooled_effects`.
    """
    facts = _facts(anchors, traits, groups)
    at = _spreads(facts, np.full(4, _START_DAYS), penalty=0.0)
    made, free = _solve(facts, at, penalty=0.0), np.flatnonzero(facts.block == 0)
    left = np.linalg.slogdet(made.covariance[np.ix_(free, free)] / _FREE_VARIANCE)[1]
    return -(made.loss + 0.5 * float(left))


def _spreads(facts: _Facts, start: Doubles, *, penalty: float = 1.0) -> Doubles:
    """Logarithms of the spreads of maximum marginal likelihood, looked for from ``start`` on."""
    spread = torch.from_numpy(np.log(start)).requires_grad_()
    known = np.array([True, True, *(_told(facts, block) for block in (1, 2))])
    optimiser = torch.optim.LBFGS([spread], max_iter=_ITERATIONS, tolerance_change=_NATS, line_search_fn="strong_wolfe")

    best, least = _bounded(np.log(start)), np.inf

    def closure() -> float:
        nonlocal best, least
        at = spread.detach().numpy()
        bounded = _bounded(at)
        made = _solve(facts, bounded, penalty=penalty)
        slope = _slope(facts, made, bounded) - penalty
        spread.grad = torch.from_numpy(np.where((at == bounded) & known, slope, 0))
        if made.loss < least:
            best, least = bounded, made.loss
        return made.loss

    optimiser.step(closure)
    found = _bounded(spread.detach().numpy())
    return found if np.isfinite(found).all() else best  # a line search between equal losses ends nowhere


def _told(facts: _Facts, block: int) -> bool:
    """Whether the log tells of the spread of a block of columns: no, if none of them varies among what was shown."""
    mine = facts.block == block
    return not mine.any() or float(facts.gram.diagonal()[1:][mine].sum()) > 0


@dataclass(frozen=True)
class _Facts:
    """Sufficient statistics: with s the gate, v the variance, R the columns, y the anchors, sums over folds."""

    items: Doubles  # (items, 2 + columns) Σ s²/v, Σ s y/v, Σ s R/v
    gram: Doubles  # (1 + columns, 1 + columns) Σ [y R]'[y R]/v
    groups: Ints
    order: Ints  # (items,) by group
    count: int
    block: Ints  # (columns,) 0: free, 1: described, 2: answered
    doubt: Doubles  # (items,) variance of what the answered traits foretell, days² behind the gate


class _Solved(NamedTuple):
    """The coefficients at given spreads, and what they were made of."""

    loss: float  # minus the log marginal likelihood, up to a constant
    coefficients: Doubles
    covariance: Doubles
    prior: Doubles  # (columns,) variances
    own: Doubles  # (items,) prior variance of the own part
    left: Doubles  # (items,) what the own part leaves of an item's weight
    sums: Doubles  # (groups, 2 + columns) of what is left of the items
    shared: Doubles  # (groups,) posterior variance of the group part


def _bounded(log_spread: Doubles) -> Doubles:
    return np.clip(log_spread, np.log(1e-6), np.log(10.0))


def _solve(facts: _Facts, log_spread: Doubles, *, penalty: float = 1.0) -> _Solved:
    """Generalised least squares, with items' own parts and groups taken out in turn."""
    own, group, described, answered = np.exp(2 * log_spread)
    own = own + facts.doubt
    weight = facts.items[:, 0]
    left = 1 / (1 + own * weight)
    sums = _grouped(facts, left)
    shared = group / (1 + group * sums[:, 0])
    gram = facts.gram - _gram(facts.items[:, 1:], own * left) - _gram(sums[:, 1:], shared)
    prior = np.array([_FREE_VARIANCE, described, answered])[facts.block]
    covariance, volume = _inverse(gram[1:, 1:], prior)
    coefficients = covariance @ gram[0, 1:]
    loss = 0.5 * (
        np.log1p(own * weight).sum()
        + np.log1p(group * sums[:, 0]).sum()
        + volume
        + gram[0, 0]
        - coefficients @ gram[0, 1:]
    )
    loss = float(loss - penalty * log_spread.sum())  # keeps a spread from being taken for exactly 0
    return _Solved(loss, coefficients, covariance, prior, own, left, sums, shared)


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


def _slope(facts: _Facts, made: _Solved, log_spread: Doubles) -> Doubles:
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
        by_own -= (_gram(moved, left[rows] ** 2) * made.covariance).sum()
    kept = made.shared / group
    by_group = (made.sums[:, 0] * kept).sum() - (kept**2 * rest**2).sum()
    by_group -= (_gram(made.sums[:, 2:], kept**2) * made.covariance).sum()
    squares = made.coefficients**2 + made.covariance.diagonal()
    by_prior = 1 / made.prior - squares / made.prior**2
    by_block = [by_prior[facts.block == block].sum() for block in (1, 2)]
    return np.array([by_own, by_group, *by_block]) * (own, group, described, answered)


def _grouped(facts: _Facts, weight: Doubles) -> Doubles:
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


def _gram(columns: Doubles, weight: Doubles) -> Doubles:
    """(p, p) Σ w c'c of (n, p) columns, weights at least 0."""
    out = np.zeros((columns.shape[1], columns.shape[1]))
    for rows in _blocks(len(columns)):
        heavy = np.sqrt(weight[rows])[:, None] * columns[rows]
        out += heavy.T @ heavy
    return out


def _blocks(count: int) -> Iterator[slice]:
    """Rows by the thousands: what is made of them is never there for all items at once."""
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))


def _posterior(facts: _Facts, log_spread: Doubles) -> Pooled:
    made = _solve(facts, log_spread)
    taken = made.own * made.left
    group = made.shared * (made.sums[:, 1] - made.sums[:, 2:] @ made.coefficients)
    carry = taken * facts.items[:, 0]
    mine = taken * (facts.items[:, 1] - facts.items[:, 2:] @ made.coefficients) - carry * group[facts.groups]
    spreads = np.exp(log_spread).tolist()
    return Pooled(
        coefficients=made.coefficients,
        covariance=made.covariance,
        group=group,
        own=mine,
        group_variance=made.shared,
        own_variance=taken,
        group_lift=made.shared[:, None] * made.sums[:, 2:],
        own_lift=taken[:, None] * facts.items[:, 2:],
        own_carry=carry,
        spreads=(spreads[0], spreads[1], spreads[2], spreads[3]),
    )


def _columns(traits: Traits, row: int) -> Doubles:
    """(items, columns): level, and behind the gate an intercept and the traits."""
    gate = traits.gate[row][:, None]
    return np.concatenate([np.ones((len(gate), 1)), gate * _behind(traits, row)], axis=1)


def _behind(traits: Traits, row: int) -> Doubles:
    """(items, columns − 1): an intercept and the traits."""
    return np.concatenate([np.ones((len(traits.described), 1)), traits.described, traits.answered[row]], axis=1)
