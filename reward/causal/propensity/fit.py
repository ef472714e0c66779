"""The fit of a conditional logit: Newton steps, of which every one is a sum over users.

Each half of the users has a fit of its own; both take a step in one pass over the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.propensity.candidates import Draw, Part, Plan, drawn
from reward.causal.propensity.policy import Policy, choice_of
from reward.data.prepared import UserRows
from reward.statistics.sums import Estimator, State, States, Totals, fold

S = TypeVar("S", bound=State)
R = TypeVar("R")

_LONGEST = 1.0  # step of a score
_EM_STEPS = 10  # of the prior, for each step of θ
_ALL = 3  # last steps, on all slates; those before read a quarter


@dataclass(frozen=True)
class Together(Generic[S, R]):
    """Several estimators in one pass: slates are read once for all of them."""

    estimators: Sequence[Estimator[Part, S, R]]

    def partial(self, part: Part, /) -> States[S]:
        """What some users' slates add to each."""
        return States(tuple(it.partial(part) for it in self.estimators))

    def solve(self, state: States[S], /) -> list[R]:
        """What each makes of all."""
        return [it.solve(state) for it, state in zip(self.estimators, state.states, strict=True)]


@dataclass(frozen=True)
class _Fit:
    """Where the fit of one half stands.

    Attributes:
        at: numbers of the slates that it reads, ascending.
        quarter: those that early steps read.
        policy: as it is.
        covariance: (K, K) of the prior of θ.
        before: mean log-likelihood at the step before.
        done: it gains no more.
    """

    at: Ints
    quarter: Ints
    policy: Policy
    covariance: Tensor
    before: float = -np.inf
    done: bool = False


def fit_policies(
    plan: Plan, chunks: Sequence[UserRows], halves: Iterable[Ints], *, ridge: float, passes: int, tolerance: float
) -> list[Policy]:
    """Newton steps on θ and W in turn: early ones on a quarter of the slates, the last three on all.

    Args:
        plan: how slates are read.
        chunks: users, in any order.
        halves: numbers of the slates that each fit reads.
        ridge: prior precision of W.
        passes: most steps.
        tolerance: gain in mean log-likelihood under which they stop.
    """
    found = list(halves)
    first = fold(Together([_Rates(plan, Draw(plan, at, 0)) for at in found]), plan.parts(chunks))
    fits = [_begun(plan, at, theta) for at, theta in zip(found, first, strict=True)]
    for step in range(passes):
        running = [fit for fit in fits if not fit.done]
        if not running:
            break
        late = step >= passes - _ALL
        draws = [Draw(plan, fit.at if late else fit.quarter, step) for fit in running]
        moved = iter(_moved(plan, chunks, running, draws, ridge if step % 2 and len(plan.mean_liking) else None))
        fits = [fit if fit.done else _judged(next(moved), fit.before, late, tolerance) for fit in fits]
    return [fit.policy for fit in fits]


def _begun(plan: Plan, at: Ints, rate: Tensor) -> _Fit:
    traits = torch.from_numpy(plan.traits.values).double()
    weights = torch.zeros(len(plan.mean_liking), traits.shape[1], dtype=torch.float64)
    quarter = drawn(at, max(len(at) // 4, 1), plan.seed)
    return _Fit(at, quarter, Policy(rate, weights, traits), torch.eye(rate.shape[1], dtype=torch.float64))


def _moved(
    plan: Plan, chunks: Sequence[UserRows], fits: Sequence[_Fit], draws: Sequence[Draw], ridge: float | None
) -> list[_Fit]:
    """Each fit a step on, of W by ``ridge`` or of θ; ``before`` is the mean log-likelihood where the step began."""
    pairs = list(zip(fits, draws, strict=True))
    if ridge is None:
        steps = [_ThetaStep(fit.policy, draw, fit.covariance) for fit, draw in pairs]
        return [
            replace(fit, policy=replace(fit.policy, theta=theta), covariance=covariance, before=now)
            for fit, (theta, covariance, now) in zip(fits, fold(Together(steps), plan.parts(chunks)), strict=True)
        ]
    allowed = torch.from_numpy(np.tile(plan.traits.pairs, (plan.memories, 1)))
    turns = [_WeightStep(fit.policy, draw, allowed, ridge) for fit, draw in pairs]
    return [
        replace(fit, policy=replace(fit.policy, weights=weights), before=now)
        for fit, (weights, now) in zip(fits, fold(Together(turns), plan.parts(chunks)), strict=True)
    ]


def _judged(fit: _Fit, before: float, late: bool, tolerance: float) -> _Fit:
    return replace(fit, done=late and abs(fit.before - before) < tolerance)


@dataclass(frozen=True)
class _RateSums(Totals):
    shown: Doubles  # (items,) times shown
    slots: Doubles  # (days,)


@dataclass(frozen=True)
class _Rates:
    """Where θ begins: each item's log rate in the slots of the days it was live, and no leaning."""

    plan: Plan
    draw: Draw

    def partial(self, part: Part, /) -> _RateSums:
        at, slates = self.draw.mine(part), part.slates
        items = slates.items[at]
        shown = np.bincount(items[items >= 0], minlength=len(self.plan.shown)).astype(np.float64)
        slots = np.bincount(slates.day[at], (items >= 0).sum(axis=1), slates.days).astype(np.float64)
        return _RateSums(shown, slots)

    def solve(self, state: _RateSums, /) -> Tensor:
        until = np.r_[0.0, np.cumsum(state.slots)]
        live = until[self.plan.catalogue.last + 1] - until[self.plan.catalogue.first]
        theta = torch.zeros(len(live), self.plan.width, dtype=torch.float64)
        theta[:, 0] = torch.from_numpy(np.log((state.shown + 0.5) / (live + 0.5)))
        return theta


@dataclass(frozen=True)
class _ThetaSums(Totals):
    slope: Tensor  # (items, K)
    flat: Tensor  # (items, K (K + 1) / 2) upper triangles of curvatures
    seen: Tensor  # (K, K) Σ z zᵀ
    slates: int
    slots: int
    log_p: float


@dataclass(frozen=True)
class _ThetaStep:
    """A Newton step of all θ_x under their prior, the prior's covariance by steps of EM, mean log-likelihood.

    The curvature is Σ p z zᵀ, an upper bound of Σ p (1 − p) z zᵀ, but that of where the step begins: where an item was
    shown to users it was hardly expected to be shown to, it is far too flat. So no step moves an item's scores by more
    than `_LONGEST`, root of the mean square over slates.
    """

    policy: Policy
    draw: Draw
    covariance: Tensor

    def partial(self, part: Part, /) -> _ThetaSums:
        items, k = self.policy.theta.shape
        upper = torch.triu_indices(k, k)
        sums = torch.zeros(items, k + upper.shape[1], dtype=torch.float64)
        seen, slates, slots, log_p = torch.zeros(k, k, dtype=torch.float64), 0, 0, 0.0
        for chunk in self.draw.chunks(part):
            choice = choice_of(self.policy, chunk)
            row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
            z = chunk.state
            both = torch.cat([-z, z[:, upper[0]] * z[:, upper[1]]], 1)
            expected = choice.shown[row, column][:, None]
            mine = both[row] * expected
            mine[:, :k] += z[row]
            sums.index_add_(0, chunk.items[row, column], mine)
            sums.index_add_(0, chunk.candidates, choice.others.T @ both)
            seen += z.T @ z
            log_p += float(choice.log_p.sum())
            slates += len(z)
            slots += len(row)
        return _ThetaSums(sums[:, :k], sums[:, k:], seen, slates, slots, log_p)

    def solve(self, state: _ThetaSums, /) -> tuple[Tensor, Tensor, float]:
        items, k = self.policy.theta.shape
        upper = torch.triu_indices(k, k)
        curve = torch.zeros(items, k, k, dtype=torch.float64)
        curve[:, upper[0], upper[1]] = state.flat
        curve[:, upper[1], upper[0]] = state.flat
        seen = state.seen / max(state.slates, 1)
        theta, covariance = _posterior(self.policy.theta, state.slope, curve, self.covariance, seen)
        return theta, covariance, state.log_p / max(state.slots, 1)


def _posterior(theta: Tensor, slope: Tensor, curve: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    start, unit = theta, torch.eye(theta.shape[1], dtype=torch.float64)
    for _ in range(_EM_STEPS):
        mean, precision = theta.mean(0), torch.linalg.inv(covariance)
        left = torch.linalg.inv(curve + precision)
        step = (left @ (slope - (start - mean) @ precision)[:, :, None]).squeeze(-1)
        moved = ((step @ seen) * step).sum(1).clamp(min=0).sqrt()  # an item's scores
        theta = start + step * (_LONGEST / moved.clamp(min=_LONGEST))[:, None]
        away = theta - theta.mean(0)
        spread = away.T @ away / len(away) + left.mean(0)
        covariance = (spread + spread.T) / 2 + 1e-6 * unit
    return theta, covariance


@dataclass(frozen=True)
class _WeightSums(Totals):
    slope: Tensor  # (memories · F, F)
    outer: Tensor  # (memories · F, memories · F) Σ ℓ ℓᵀ
    spread: Tensor  # (F, F) sum over slots of the covariance of e
    slots: int
    log_p: float


@dataclass(frozen=True)
class _WeightStep:
    """A Newton step of W, its curvature Σ ℓ ℓᵀ ⊗ the mean covariance of e, and the mean log-likelihood."""

    policy: Policy
    draw: Draw
    allowed: Tensor
    ridge: float

    def partial(self, part: Part, /) -> _WeightSums:
        wide, f = self.policy.weights.shape
        slope, outer, spread = (torch.zeros(*it, dtype=torch.float64) for it in ((wide, f), (wide, wide), (f, f)))
        log_p, slots = 0.0, 0
        for chunk in self.draw.chunks(part):
            choice = choice_of(self.policy, chunk)
            row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
            many = (chunk.items >= 0).sum(1, keepdim=True)
            traits = self.policy.traits[chunk.candidates]
            mean = choice.others @ traits
            surplus = self.policy.traits[chunk.items[row, column]] * (1 - choice.shown[row, column])[:, None]
            slope += chunk.liking.T @ (-mean).index_add_(0, row, surplus)
            outer += (chunk.liking * many).T @ chunk.liking
            spread += traits.T @ (choice.others.sum(0)[:, None] * traits) - mean.T @ (mean / many)
            log_p += float(choice.log_p.sum())
            slots += len(row)
        return _WeightSums(slope, outer, spread, slots, log_p)

    def solve(self, state: _WeightSums, /) -> tuple[Tensor, float]:
        liking, trait = torch.nonzero(self.allowed, as_tuple=True)
        curve = state.outer[liking][:, liking] * state.spread[trait][:, trait] / max(state.slots, 1)
        curve += self.ridge * torch.eye(len(liking), dtype=torch.float64)
        step = torch.zeros_like(self.policy.weights)
        slope = (state.slope - self.ridge * self.policy.weights)[liking, trait]
        step[liking, trait] = torch.linalg.solve(curve, slope)
        # the mean square of a slot's scores that the step makes differ between the items it could show
        moved = float(((state.outer @ step) * (step @ state.spread)).sum().clamp(min=0)) ** 0.5 / max(state.slots, 1)
        return self.policy.weights + step * (_LONGEST / max(moved, _LONGEST)), state.log_p / max(state.slots, 1)
