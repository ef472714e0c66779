"""Hierarchical pooling: noisy item anchors, shrunk to what their creator, features and feedback foretell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import Traits
from reward.causal.item_effects.front_door import FrontDoor
from reward.causal.item_effects.hierarchy import (
    FREE_VARIANCE,
    START_DAYS,
    HierarchySums,
    gram_of,
    solve,
    spreads_of,
)
from reward.causal.item_effects.ipw import IPWEstimates
from reward.moved import OldName

_DOUBT_ROUNDS = 2


@dataclass(frozen=True)
class Pooled:
    """Posterior of the items' effects under a Gaussian hierarchy.

    An item's effect is ``level + share · (traits · coefficients + group + own)``: what an exposure does, it does
    through the gate, or as `Traits.share` says in part without. Coefficients, groups and items' own parts are Gaussian
    around 0 with standard deviations found by maximum marginal likelihood (empirical Bayes), so that in a log where
    nothing matters everything shrinks to 0. Where an answered trait is a mean of few answers, what it foretells is
    believed less: an item's own part varies by its ``doubt`` times the squared coefficient more.

    Attributes:
        coefficients: (columns,) level, intercept behind the gate, described and answered traits; days. Where there is
            a `FrontDoor`, last, what is the same of all its contrasts.
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
        share = traits.share(row)
        mean = self.coefficients[0] + share * self.effect_given_mediator(traits, groups, row)
        return mean, self._std(_columns(traits, row), share, groups)

    def effect_given_mediator(self, traits: Traits, groups: Ints, row: int = -1) -> Doubles:
        """(items,) posterior means of the effect once the gate is open, less the level."""
        columns = _behind(traits, row)
        return columns @ self.coefficients[1 : 1 + columns.shape[1]] + self.group[groups] + self.own

    def effect_given_mediator_std(self, traits: Traits, groups: Ints, row: int = -1) -> Doubles:
        """(items,) posterior standard deviations of `effect_given_mediator`."""
        columns = np.concatenate([np.zeros((len(groups), 1)), _behind(traits, row)], axis=1)
        return self._std(columns, np.ones(len(groups)), groups)

    def _std(self, columns: Doubles, share: Doubles, groups: Ints) -> Doubles:
        """(items,) posterior standard deviations of columns · coefficients + share · (group + own)."""
        lift = self.own_lift + (1 - self.own_carry)[:, None] * self.group_lift[groups]
        slope = -share[:, None] * lift
        slope[:, : columns.shape[1]] += columns
        variance = np.einsum("xi,ij,xj->x", slope, self.covariance, slope)
        left = (1 - self.own_carry) ** 2 * self.group_variance[groups] + self.own_variance
        return np.sqrt(np.maximum(variance, 0) + share**2 * left)


def pooled_effects(
    anchors: IPWEstimates, traits: Traits, groups: Ints, front: FrontDoor | None = None, *, without: int | None = None
) -> Pooled:
    """Fit the hierarchy to anchors of all folds, or of all but one.

    Each fold's anchors meet traits measured without that fold's users.

    Args:
        anchors: (folds, items).
        traits: of the same items.
        groups: (items,) creator or show of each item, from 0; a group of its own for an item without.
        front: what came after the gate opened, a second measure of the same items; None: there is none.
        without: a fold to leave out.

    Source:
        Robinson, "That BLUP is a good thing" (Statistical Science 1991); the variances by maximum marginal likelihood
        with the penalty of Chung et al., "A nondegenerate penalized likelihood estimator for variance parameters in
        multilevel models" (Psychometrika 2013).
    """
    facts = _facts(anchors, traits, groups, front, without)
    made = _posterior(facts, spreads_of(facts, np.full(4, START_DAYS)))
    for _ in range(_DOUBT_ROUNDS if traits.doubt.any() else 0):
        mine = facts.block == 2
        size = made.coefficients[mine] ** 2 + made.covariance.diagonal()[mine]
        doubted = replace(facts, doubt=traits.doubt @ size)
        made = _posterior(doubted, spreads_of(doubted, np.array(made.spreads)))
    return made


def left_out(anchor: IPWEstimates, traits: Traits, groups: Ints, front: FrontDoor | None = None) -> list[Pooled]:
    """For each fold the fit to the other folds' users."""
    return [pooled_effects(anchor, traits, groups, front, without=fold) for fold in range(len(anchor.value))]


def effects_by_fold(apart: Sequence[Pooled], traits: Traits, groups: Ints) -> tuple[Doubles, Doubles]:
    """(folds, items) effects and their standard deviations, each fold's from its own fit, see `left_out`."""
    mean, std = zip(*(each.posterior_effects(traits, groups, fold) for fold, each in enumerate(apart)), strict=True)
    return np.stack(mean), np.stack(std)


def evidence(anchors: IPWEstimates | None, traits: Traits, groups: Ints, front: FrontDoor | None = None) -> float:
    """How well a hierarchy explains the anchors, in nats up to a constant of the anchors.

    The log-likelihood with coefficients, groups and own parts integrated out, at the spreads that make it largest: a
    column that tells nothing has a spread of 0 then, and costs nothing. The penalty that keeps spreads from 0 in
    `pooled_effects` is left out, for it grows with the unit in which effects behind a gate are told, and so are the
    doubts, which come of the fit. The intercepts are at their best.

    Args:
        anchors: (folds, items); None: those of ``front`` alone are to be explained.
        traits: of the same items.
        groups: see `pooled_effects`.
        front: see `pooled_effects`.
    """
    facts = _facts(anchors, traits, groups, front)
    return evidence_at(facts, spreads_of(facts, np.full(4, START_DAYS), penalty=0.0))


def evidence_at(facts: HierarchySums, at: Doubles) -> float:
    """`evidence` at (4,) logarithms of spreads."""
    made, free = solve(facts, at, penalty=0.0), np.flatnonzero(facts.block == 0)
    left = np.linalg.slogdet(made.covariance[np.ix_(free, free)] / FREE_VARIANCE)[1]
    return -(made.loss + 0.5 * float(left))


class FoldSums(NamedTuple):
    """Sums over folds, of which `HierarchySums` are made: see there."""

    items: Doubles
    gram: Doubles


def _facts(
    anchors: IPWEstimates | None,
    traits: Traits,
    groups: Ints,
    front: FrontDoor | None = None,
    without: int | None = None,
) -> HierarchySums:
    """What the fit reads of anchors, contrasts and traits."""
    sums, constant = [] if anchors is None else [anchor_sums(anchors, traits, int(front is not None), without)], 0.0
    if front is not None:
        more, constant = FrontMeans.of(front, traits, without).sums(traits.unopened, front.bias_std)
        sums.append(more)
    return facts_of(sums, traits, groups, front=front is not None, constant=constant)


def facts_of(sums: list[FoldSums], traits: Traits, groups: Ints, *, front: bool, constant: float) -> HierarchySums:
    """What the fit reads, from sums over folds of anchors and, where there is a ``front``, of contrasts."""
    described, answered = traits.described.shape[1], traits.answered.shape[2]
    return HierarchySums(
        items=np.sum([it.items for it in sums], axis=0),
        gram=np.sum([it.gram for it in sums], axis=0),
        groups=groups,
        order=np.argsort(groups, kind="stable"),
        count=int(groups.max()) + 1,
        block=np.array([0, 0] + [1] * described + [2] * answered + [0] * front),
        doubt=np.zeros(len(groups)),
        constant=constant,
    )


def anchor_sums(anchors: IPWEstimates, traits: Traits, spare: int, without: int | None = None) -> FoldSums:
    """What anchors add; ``spare`` columns of 0 stand last."""
    width = 2 + traits.described.shape[1] + traits.answered.shape[2] + spare
    size = traits.gate.shape[1]
    items, gram, nothing = np.zeros((size, 2 + width)), np.zeros((1 + width, 1 + width)), np.zeros((size, spare))
    for fold in range(len(anchors.value)):
        if fold == without:
            continue
        told = np.concatenate([anchors.value[fold][:, None], _columns(traits, fold), nothing], axis=1)
        weight, share = 1 / anchors.variance[fold], traits.share(fold)  # weight 0 where the item was not shown
        gram += gram_of(told, weight)
        items[:, 0] += share**2 * weight
        items[:, 1:] += (share * weight)[:, None] * told
    return FoldSums(items, gram)


class FrontMeans(NamedTuple):
    """Contrasts over folds, and the traits that they met.

    Attributes:
        known: (items,) precision, 1/days².
        told: (items, 1 + traits) means of contrasts and traits; 0 where nothing is known.
    """

    known: Doubles
    told: Doubles

    @classmethod
    def of(cls, front: FrontDoor, traits: Traits, without: int | None = None) -> FrontMeans:
        """Of all folds, or of all but one."""
        size = traits.gate.shape[1]
        known, told = np.zeros(size), np.zeros((size, 1 + traits.described.shape[1] + traits.answered.shape[2]))
        for fold in range(len(front.value)):
            if fold == without:
                continue
            weight = 1 / front.variance[fold]
            known += weight
            told += weight[:, None] * np.column_stack([front.value[fold], traits.described, traits.answered[fold]])
        return cls(known, told / np.where(known > 0, known, 1)[:, None])

    def sums(self, unopened: float, bias_std: float) -> tuple[FoldSums, float]:
        """What contrasts add, and half the logarithm of their variances.

        A contrast is (1 − ``unopened``) times the effect behind the gate but for the intercept, which is its own, and
        a bias of the item that all folds share.
        """
        there, share = self.known > 0, 1 - unopened
        weight = np.where(there, 1 / (1 / np.where(there, self.known, 1) + bias_std**2), 0)
        size = len(weight)
        told = [self.told[:, :1], np.zeros((size, 2)), share * self.told[:, 1:], np.ones((size, 1))]
        columns = np.concatenate(told, axis=1)
        items = np.concatenate([(share**2 * weight)[:, None], (share * weight)[:, None] * columns], axis=1)
        return FoldSums(items, gram_of(columns, weight)), -0.5 * float(np.log(weight[there]).sum())


def _posterior(facts: HierarchySums, log_spread: Doubles) -> Pooled:
    made = solve(facts, log_spread)
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
    share = traits.share(row)[:, None]
    return np.concatenate([np.ones((len(share), 1)), share * _behind(traits, row)], axis=1)


def _behind(traits: Traits, row: int) -> Doubles:
    """(items, columns − 1): an intercept and the traits."""
    return np.concatenate([np.ones((len(traits.described), 1)), traits.described, traits.answered[row]], axis=1)
