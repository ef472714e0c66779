"""Hierarchical pooling: noisy item anchors, shrunk to what their creator, features and feedback foretell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reward.effects.anchors import Anchors
from reward.effects.residuals import Doubles, Ints
from reward.effects.traits import Traits

_FREE_VARIANCE = 1.0  # days², of the two intercepts: so wide that they are not shrunk
_START_DAYS = 0.02
_ITERATIONS = 60
_DOUBT_ROUNDS = 2


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

    def effects(self, traits: Traits, groups: Ints, row: int = -1) -> tuple[Doubles, Doubles]:
        """(items,) posterior means and standard deviations in days, with the traits of ``row``."""
        gate = traits.gate[row]
        mean = self.coefficients[0] + gate * self.behind(traits, groups, row)
        return mean, self._std(_columns(traits, row), gate, groups)

    def behind(self, traits: Traits, groups: Ints, row: int = -1) -> Doubles:
        """(items,) posterior means of the effect once the gate is open, less the level."""
        return _behind(traits, row) @ self.coefficients[1:] + self.group[groups] + self.own

    def behind_std(self, traits: Traits, groups: Ints, row: int = -1) -> Doubles:
        """(items,) posterior standard deviations of `behind`."""
        columns = np.concatenate([np.zeros((len(groups), 1)), _behind(traits, row)], axis=1)
        return self._std(columns, np.ones(len(groups)), groups)

    def _std(self, columns: Doubles, gate: Doubles, groups: Ints) -> Doubles:
        """(items,) posterior standard deviations of columns · coefficients + gate · (group + own)."""
        lift = self.own_lift + (1 - self.own_carry)[:, None] * self.group_lift[groups]
        slope = columns - gate[:, None] * lift
        variance = np.einsum("xi,ij,xj->x", slope, self.covariance, slope)
        left = (1 - self.own_carry) ** 2 * self.group_variance[groups] + self.own_variance
        return np.sqrt(np.maximum(variance, 0) + gate**2 * left)


def pooled_effects(anchors: Anchors, traits: Traits, groups: Ints, *, without: int | None = None) -> Pooled:
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
    folds = [fold for fold in range(len(anchors.value)) if fold != without]
    gate = torch.from_numpy(traits.gate[folds])
    design = torch.from_numpy(np.stack([_columns(traits, fold) for fold in folds]))
    value = torch.from_numpy(anchors.value[folds])
    weight = 1 / torch.from_numpy(anchors.variance[folds])  # 0 where the item was not shown
    count = int(groups.max()) + 1
    facts = _Facts(
        items=(gate**2 * weight).sum(0),
        lifted=torch.einsum("kx,kxp->xp", gate * weight, design),
        told=(gate * weight * value).sum(0),
        gram=torch.einsum("kx,kxp,kxq->pq", weight, design, design),
        moment=torch.einsum("kx,kxp->p", weight * value, design),
        square=(weight * value**2).sum(),
        groups=torch.from_numpy(groups),
        count=count,
        block=torch.tensor([0, 0] + [1] * traits.described.shape[1] + [2] * traits.answered.shape[2]),
        doubt=torch.zeros(len(groups), dtype=torch.float64),
    )
    made = _fitted(facts)
    for _ in range(_DOUBT_ROUNDS if traits.doubt.any() else 0):
        answered = slice(len(made.coefficients) - traits.doubt.shape[1], None)
        size = made.coefficients[answered] ** 2 + made.covariance.diagonal()[answered]
        made = _fitted(replace(facts, doubt=torch.from_numpy(traits.doubt @ size)))
    return made


def _fitted(facts: _Facts) -> Pooled:
    """The posterior at the spreads of maximum marginal likelihood."""
    spread = torch.full((4,), np.log(_START_DAYS), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([spread], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = _solve(facts, _bounded(spread))[0]
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return _posterior(facts, _bounded(spread))


@dataclass(frozen=True)
class _Facts:
    """Sufficient statistics: with s the gate, v the variance, R the columns, y the anchors, sums over folds."""

    items: Tensor  # (items,) Σ s²/v
    lifted: Tensor  # (items, columns) Σ s R/v
    told: Tensor  # (items,) Σ s y/v
    gram: Tensor  # (columns, columns) Σ R'R/v
    moment: Tensor  # (columns,) Σ R'y/v
    square: Tensor  # Σ y²/v
    groups: Tensor
    count: int
    block: Tensor  # (columns,) 0: free, 1: described, 2: answered
    doubt: Tensor  # (items,) variance of what the answered traits foretell, days² behind the gate


def _bounded(log_spread: Tensor) -> Tensor:
    return log_spread.clamp(np.log(1e-6), np.log(10.0))


def _solve(facts: _Facts, log_spread: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the log marginal likelihood, up to a constant, and what it was made of."""
    own, group, described, answered = (2 * log_spread).exp()
    own = own + facts.doubt
    left = 1 / (1 + own * facts.items)
    taken = own * left
    sums = torch.zeros(facts.count, 2 + facts.lifted.shape[1], dtype=torch.float64)
    parts = torch.cat([facts.items[:, None], facts.told[:, None], facts.lifted], dim=1) * left[:, None]
    sums = sums.index_add(0, facts.groups, parts)
    weight, told, lifted = sums[:, 0], sums[:, 1], sums[:, 2:]
    shared = group / (1 + group * weight)
    gram = facts.gram - facts.lifted.T @ (taken[:, None] * facts.lifted) - lifted.T @ (shared[:, None] * lifted)
    moment = facts.moment - facts.lifted.T @ (taken * facts.told) - lifted.T @ (shared * told)
    square = facts.square - (taken * facts.told**2).sum() - (shared * told**2).sum()
    prior = torch.stack([torch.full_like(group, _FREE_VARIANCE), described, answered])[facts.block]
    factor = torch.linalg.cholesky(gram + torch.diag(1 / prior))
    coefficients = torch.cholesky_solve(moment[:, None], factor)[:, 0]
    loss = (
        0.5
        * (
            (1 + own * facts.items).log().sum()
            + (1 + group * weight).log().sum()
            + 2 * factor.diagonal().log().sum()
            + prior.log().sum()
            + square
            - coefficients @ moment
        )
        - log_spread.sum()
    )  # keeps a spread from being taken for exactly 0
    return loss, {
        "factor": factor,
        "coefficients": coefficients,
        "left": left,
        "own": own,
        "shared": shared,
        "told": told,
        "lifted": lifted,
    }


def _posterior(facts: _Facts, log_spread: Tensor) -> Pooled:
    made = _solve(facts, log_spread)[1]
    coefficients, shared, own = made["coefficients"], made["shared"], made["own"]
    taken = own * made["left"]
    group = shared * (made["told"] - made["lifted"] @ coefficients)
    carry = taken * facts.items
    mine = taken * (facts.told - facts.lifted @ coefficients) - carry * group[facts.groups]
    spreads = log_spread.exp().tolist()
    return Pooled(
        coefficients=coefficients.numpy(),
        covariance=torch.cholesky_inverse(made["factor"]).numpy(),
        group=group.numpy(),
        own=mine.numpy(),
        group_variance=shared.numpy(),
        own_variance=taken.numpy(),
        group_lift=(shared[:, None] * made["lifted"]).numpy(),
        own_lift=(taken[:, None] * facts.lifted).numpy(),
        own_carry=carry.numpy(),
        spreads=(spreads[0], spreads[1], spreads[2], spreads[3]),
    )


def _columns(traits: Traits, row: int) -> Doubles:
    """(items, columns): level, and behind the gate an intercept and the traits."""
    gate = traits.gate[row][:, None]
    return np.concatenate([np.ones((len(gate), 1)), gate * _behind(traits, row)], axis=1)


def _behind(traits: Traits, row: int) -> Doubles:
    """(items, columns − 1): an intercept and the traits."""
    return np.concatenate([np.ones((len(traits.described), 1)), traits.described, traits.answered[row]], axis=1)
