"""Propensities for logs that have none: a model of the policy that made the log, and a check that can fail.

The model is a conditional logit. In slot h of a slate, item x of the items live that day and not shown above has

    p(x | h) = e^{s(h,x)} / Σ_{c live, not above} e^{s(h,c)}        s(h, x) = θ_xᵀ z(h) + ℓ(h)ᵀ W e_x

with z(h) a constant, the user's past activity at several spans and what is named of the context; ℓ(h) the features of
what the user gated before, and e_x those of the item. θ_x has a normal prior whose mean and covariance are learned
from all items (empirical Bayes), so a lean towards active users is told from noise and few-shown items borrow from
the rest. Fitted by Newton steps on blocks; each half of the users has a fit of its own, which leaves its own slates
balanced, and shares no noise with the other half's, which is what the checks rest on.

Sources: McFadden 1974 (conditional logit), Plackett 1975 (without replacement), Hirano, Imbens and Ridder 2003 (why
propensities fitted to the rows they weight do better than the true ones), Bengio and Senécal 2008 (sampled softmax).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.propensity.calibration import Calibration, check_calibration, reading_of
from reward.causal.propensity.candidates import Plan, chunks, slots_live
from reward.causal.propensity.features import drawn, item_traits, slot_features
from reward.causal.propensity.policy import Policy, choice_of
from reward.causal.settings import AUTO
from reward.data.event_log import EventLog, SchemaError, click_of
from reward.data.slates import HALVES, halves, slates_of

_LONGEST = 1.0  # step of a score
_EM_STEPS = 10  # of the prior, for each step of θ


@dataclass(frozen=True)
class Propensities:
    """Estimated propensities of a log, and what an artefact should say of them.

    Attributes:
        propensity: (rows,) float64 in (0, 1], in the order of the log's events.
        half: (rows,) 0 or 1: the half of the users whose fit each came from.
        calibration: how far they can be believed.
        settings: the keyword settings they were estimated with.
        features: what the model reads.
        rows, users, items, slates: the log's size.
    """

    propensity: Doubles
    half: Ints
    calibration: Calibration
    settings: dict[str, object]
    features: tuple[str, ...]
    rows: int
    users: int
    items: int
    slates: int


def estimate_propensities(
    log: EventLog,
    *,
    gate: str | None,
    spans_days: Sequence[float],
    prior_days: float,
    memory_clicks: Sequence[float],
    context: Sequence[str],
    embedding_size: int,
    category_levels: int,
    ridge: float,
    passes: int,
    tolerance: float,
    max_training_slates: int,
    max_candidates: int,
    chunk_slates: int,
    calibration_slates: int,
    level: float,
    least_excess: float,
    seed: int,
) -> Propensities:
    """Propensities of a log's rows, from a model of the policy that made it.

    Args:
        log: a checked log. Without an items table the items' features are learned from who gated what.
        gate: feedback column that says a user took an item up (above 0); None: being shown counts; ``auto``: the log's
            click, where it has one.
        spans_days: memories of the past activity that the policy may follow; none: it follows no activity.
        prior_days: days of average activity a new user is thought to have had.
        memory_clicks: memories, in gated items, of the liking that the policy may follow; none: it follows no liking.
        context: context columns that the policy may follow, each category by ``category_levels``.
        embedding_size: most dimensions kept of an embedding, and those of features learned from the log.
        category_levels: most categories of a column that are told apart.
        ridge: prior precision of W.
        passes: most Newton steps.
        tolerance: gain in mean log-likelihood a row under which they stop.
        max_training_slates: slates of each half a fit reads; drawn if there are more.
        max_candidates: live items up to which the softmax is exact; above, about so many are drawn for each chunk,
            the often shown more often, and weighted by the inverse of that.
        chunk_slates: slates computed at once.
        calibration_slates: slates that the calibration reads.
        level: z beyond which the calibration is flagged,
        least_excess: if what is left is also more than this share of a cell: what does no harm is not flagged.
        seed: halves the users and draws slates and candidates.

    Raises:
        SchemaError: ``gate`` is no feedback column, or ``context`` no context column.
        ValueError: a setting is out of its range.
    """
    gate = click_of(log) if gate == AUTO else gate
    settings = {
        name: list(it) if isinstance(it, tuple | list) else it for name, it in locals().items() if name != "log"
    }
    _check_settings(log, gate, spans_days, memory_clicks, context, passes, max_candidates, chunk_slates, seed)
    slates = slates_of(log)
    half = halves(slates.users, seed)[slates.user]
    traits = item_traits(log, slates, gate, embedding_size, category_levels, bool(memory_clicks))
    slots, names = slot_features(
        log, slates, traits, gate, spans_days, prior_days, memory_clicks, context, category_levels
    )
    plan = Plan(slates, slots, traits, max_candidates, chunk_slates, seed)
    policies = [
        _fit(plan, drawn(half == own, max_training_slates, seed), ridge, passes, tolerance) for own in range(HALVES)
    ]
    reading = reading_of(plan, policies, half)
    calibration = check_calibration(plan, policies, half, reading, calibration_slates, level, least_excess)
    return Propensities(
        propensity=np.exp(slates.flat(reading.log_p)),
        half=half[slates.row],
        calibration=calibration,
        settings=settings,
        features=(*names, *(traits.names if memory_clicks else ())),
        rows=len(slates.row),
        users=slates.users,
        items=len(slates.item_ids),
        slates=len(slates.user),
    )


def _check_settings(
    log: EventLog,
    gate: str | None,
    spans_days: Sequence[float],
    memory_clicks: Sequence[float],
    context: Sequence[str],
    passes: int,
    max_candidates: int,
    chunk_slates: int,
    seed: int,
) -> None:
    if gate is not None and gate not in log.feedback:
        raise SchemaError(f"gate={gate!r} expected one of the feedback columns {list(log.feedback)}, or null")
    if unknown := [name for name in context if name not in log.context]:
        raise SchemaError(f"context={unknown} expected context columns of the log, which has {list(log.context)}")
    if min([*spans_days, *memory_clicks], default=1) < 1:
        raise ValueError(
            f"spans_days and memory_clicks expected memories of at least 1, got {list(spans_days)} and "
            f"{list(memory_clicks)}"
        )
    if min(passes, max_candidates, chunk_slates) < 1 or seed < 0:
        raise ValueError(
            f"expected passes, max_candidates and chunk_slates of at least 1 and a seed of at least 0, got {passes}, "
            f"{max_candidates}, {chunk_slates} and {seed}"
        )


# What is read of items and slots


# The fit


def _fit(plan: Plan, at: Ints, ridge: float, passes: int, tolerance: float) -> Policy:
    """Newton steps on θ and W in turn: early ones on a quarter of the slates, the last three on all."""
    traits = torch.from_numpy(plan.traits.values)
    wide = plan.slots.liking.shape[1]
    allowed = torch.from_numpy(np.tile(plan.traits.pairs, (plan.slots.memories, 1)))
    policy = Policy(_first_theta(plan, at), torch.zeros(wide, traits.shape[1]), traits)
    covariance = torch.eye(policy.theta.shape[1], dtype=torch.float64)
    quarter = drawn(np.isin(np.arange(len(plan.slates.user)), at), max(len(at) // 4, 1), plan.seed)
    before = -np.inf
    for draw in range(passes):
        read = quarter if draw < passes - 3 else at
        if draw % 2 and wide:
            weights, now = _weight_step(plan, policy, read, draw, allowed, ridge)
            policy = replace(policy, weights=weights)
        else:
            theta, covariance, now = _theta_step(plan, policy, read, draw, covariance)
            policy = replace(policy, theta=theta)
        if draw >= passes - 3 and abs(now - before) < tolerance:
            break
        before = now
    return policy


def _first_theta(plan: Plan, at: Ints) -> Tensor:
    """Each item's log rate in the slots of the days it was live, and no leaning."""
    items = plan.slates.items[at]
    count = np.bincount(items[items >= 0], minlength=len(plan.slates.item_ids))
    theta = torch.zeros(len(count), plan.slots.state.shape[1])
    theta[:, 0] = torch.from_numpy(np.log((count + 0.5) / (slots_live(plan.slates, at) + 0.5)))
    return theta


def _theta_step(plan: Plan, policy: Policy, at: Ints, draw: int, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
    """A Newton step of all θ_x under their prior, the prior's covariance by steps of EM, mean log-likelihood.

    The curvature is Σ p z zᵀ, an upper bound of Σ p (1 − p) z zᵀ, but that of where the step begins: where an item was
    shown to users it was hardly expected to be shown to, it is far too flat. So no step moves an item's scores by more
    than `_LONGEST`, root of the mean square over slates.
    """
    items, k = policy.theta.shape
    upper = torch.triu_indices(k, k)
    slope, flat, log_p, slots = torch.zeros(items, k), torch.zeros(items, upper.shape[1]), 0.0, 0
    for chunk in chunks(plan, at, draw):
        choice = choice_of(policy, chunk)
        row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
        item, expected, z = chunk.items[row, column], choice.shown[row, column][:, None], chunk.state
        slope.index_add_(0, item, z[row] * (1 - expected))
        slope.index_add_(0, chunk.candidates, choice.others.T @ z, alpha=-1)
        pairs = z[:, upper[0]] * z[:, upper[1]]
        flat.index_add_(0, item, pairs[row] * expected)
        flat.index_add_(0, chunk.candidates, choice.others.T @ pairs)
        log_p += float(choice.log_p.sum(dtype=torch.float64))
        slots += len(row)
    curve = torch.zeros(items, k, k)
    curve[:, upper[0], upper[1]] = flat
    curve[:, upper[1], upper[0]] = flat
    state = torch.from_numpy(plan.slots.state[at]).double()
    seen = state.T @ state / max(len(state), 1)
    theta, covariance = _posterior(policy.theta.double(), slope.double(), curve.double(), covariance, seen)
    return theta.float(), covariance, log_p / max(slots, 1)


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


def _weight_step(
    plan: Plan, policy: Policy, at: Ints, draw: int, allowed: Tensor, ridge: float
) -> tuple[Tensor, float]:
    """A Newton step of W, its curvature Σ ℓ ℓᵀ ⊗ the mean covariance of e, and the mean log-likelihood."""
    wide, f = policy.weights.shape
    slope, outer, spread = torch.zeros(wide, f), torch.zeros(wide, wide), torch.zeros(f, f)
    log_p, slots = 0.0, 0
    for chunk in chunks(plan, at, draw):
        choice = choice_of(policy, chunk)
        row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
        many = (chunk.items >= 0).sum(1, keepdim=True)
        traits = policy.traits[chunk.candidates]
        mean = choice.others @ traits
        surplus = policy.traits[chunk.items[row, column]] * (1 - choice.shown[row, column])[:, None]
        slope += chunk.liking.T @ (-mean).index_add_(0, row, surplus)
        outer += (chunk.liking * many).T @ chunk.liking
        spread += traits.T @ (choice.others.sum(0)[:, None] * traits) - mean.T @ (mean / many)
        log_p += float(choice.log_p.sum(dtype=torch.float64))
        slots += len(row)
    liking, trait = torch.nonzero(allowed, as_tuple=True)
    curve = outer.double()[liking][:, liking] * spread.double()[trait][:, trait] / max(slots, 1)
    curve += ridge * torch.eye(len(liking), dtype=torch.float64)
    step = torch.zeros(wide, f, dtype=torch.float64)
    step[liking, trait] = torch.linalg.solve(curve, (slope - ridge * policy.weights)[liking, trait].double())
    # the mean square of a slot's scores that the step makes differ between the items it could show
    moved = float(((outer.double() @ step) * (step @ spread.double())).sum().clamp(min=0)) ** 0.5 / max(slots, 1)
    weights = policy.weights + (step * (_LONGEST / max(moved, _LONGEST))).float()
    return weights, log_p / max(slots, 1)


# What is read off a fit


# The check
