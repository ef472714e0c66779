"""The simulated service run on by policies of its own scores and a strength times a reward."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import torch

from reward.arrays import Floats
from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.user_state import ItemState, UserProfile, middle
from reward.columns import TIMESTAMP, USER
from reward.data.days import days_since_1970
from reward.simulation.lives import Policy, Service, State, View
from reward.simulation.long_run import outcome
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy, rank_by

Reward = Callable[[View], Floats]  # View -> (m, live), or (1, live)
_BISECTIONS = 40


def gains(
    service: Service, start: State, days: int, reward: Callable[[], Reward], nats: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Active days a user gains over ``days``, their standard errors, and the mean KL from the service's own policy.

    Args:
        service: where.
        start: whose lives, and where they stand.
        days: how long.
        reward: makes a reward as of ``start``, anew for each run.
        nats: mean divergence of the first day's slates, by which strengths are chosen.
    """
    usual = outcome(service, logging_policy(service), start, days)
    told = []
    for strength in strengths(service, start, reward(), nats):
        far: list[np.ndarray] = []
        lived = outcome(service, leaning(service, reward(), strength, far), start, days)
        told.append((*lived.less(usual), float(np.concatenate(far).mean())))
    days_gained, error, divergence = np.array(told).T
    return days_gained, error, divergence


def leaning(service: Service, reward: Reward, strength: float, far: list[np.ndarray]) -> Policy:
    """The logging policy's scores and ``strength`` times the reward; each slate's divergence is added to ``far``."""
    today = logging_policy(service)

    def scores(view: View) -> Floats:
        base = today.scores(view)
        lean = np.float32(strength) * reward(view)
        far.append(divergence(base, lean))
        return base + lean

    return rank_by(scores, temperature=1.0)


def strengths(service: Service, start: State, reward: Reward, nats: tuple[float, ...]) -> np.ndarray:
    """Strengths at which the first day's slates are on average ``nats`` from what the service would show."""
    today, kept = logging_policy(service), []

    def scores(view: View) -> Floats:
        base = today.scores(view)
        kept.append((base, reward(view)))
        return base

    simulate(service, Policy(scores), start, 1, draw=1)
    spread = max(float(np.std(kept[0][1])), 1e-9)
    low, high = np.full(len(nats), 1e-4 / spread), np.full(len(nats), 1e4 / spread)
    for _ in range(_BISECTIONS):
        middles = np.sqrt(low * high)
        far = np.array([np.concatenate([divergence(b, np.float32(it) * r) for b, r in kept]).mean() for it in middles])
        low, high = np.where(far < nats, middles, low), np.where(far < nats, high, middles)
    return np.asarray(np.sqrt(low * high))


def divergence(base: Floats, lean: Floats) -> np.ndarray:
    """(m,) KL(softmax(base + lean) ‖ softmax(base)), nats."""
    raised = base + lean
    raised = raised - raised.max(axis=1, keepdims=True)
    policy = np.exp(raised)
    mass = policy.sum(axis=1, keepdims=True)
    usual = base - base.max(axis=1, keepdims=True)
    usual = usual - np.log(np.exp(usual).sum(axis=1, keepdims=True))
    return np.asarray((policy / mass * (raised - np.log(mass) - usual)).sum(axis=1))


def by_item(values: np.ndarray) -> Callable[[], Reward]:
    """The same reward for all users, (items,)."""
    table = values.astype(np.float32)
    return lambda: lambda view: table[None, view.live]


def by_user(service: Service, events: pl.DataFrame, personal: PersonalizedEffect, start: State, kappa: float) -> Reward:
    """Rewards as `score_candidates` has them, less ``kappa`` standard deviations; made for one run.

    Tastes are those that the log tells before ``start``; what was seen is counted up to every slate, from how the
    service's own memory of it changes between two slates of a user.
    """
    lives, items = start.users, len(service.catalogue.kind)
    users = events[USER].unique().sort()
    there = np.isin(lives, users.to_numpy())  # others have no past: they stand with nobody's
    past = personal.history(events, pl.concat([users, pl.Series([users.max() + 1])]))
    row = np.where(there, users.search_sorted(lives), len(users)).astype(np.int64)
    end = float(np.floor(days_since_1970(events[TIMESTAMP]).min())) + start.day
    standing = past.state(row, np.full(len(lives), end))
    known = personal.known(np.arange(items))
    facts = ItemState(*(part.float() if part.is_floating_point() else part for part in known))
    person = UserProfile(*(part.float() for part in standing.person))
    counts = np.zeros((len(lives), items, len(personal.spans_days)), np.float32)
    who, place = np.nonzero(standing.items.numpy() < len(personal.ids))
    counts[who, personal.ids[standing.items.numpy()[who, place]]] = standing.counts.numpy()[who, place]
    kin = torch.nn.functional.one_hot(facts.group.clamp_min(0)).float() * (facts.group >= 0)[:, None]
    fade = np.exp(-1 / np.array(personal.spans_days, np.float32))
    forget = np.exp(-1 / service.world.forgetting_days)
    seen, since = start.seen.copy(), np.full(len(lives), start.day)
    at = np.zeros(service.world.users, np.int64)
    at[lives] = np.arange(len(lives))

    def reward(view: View) -> Floats:
        mine, live, now = at[view.users], np.ix_(at[view.users], view.live), view.seen()
        passed = view.day - since[mine]
        left = seen[live] * (forget**passed)[:, None]
        new = (now - left) > 0.5 * (forget**passed)[:, None]  # at most one slate came between
        counts[mine] *= (fade[None, :] ** passed[:, None])[:, None, :]
        counts[live] += new[..., None] * (fade[None, :] ** passed[:, None])[:, None, :]
        seen[mine] *= (forget**passed)[:, None].astype(np.float32)
        seen[live], since[mine] = now, view.day
        own = torch.from_numpy(counts[live])
        groups = torch.from_numpy(counts[mine, :, middle(counts.shape[2])]) @ kin
        told = torch.from_numpy(view.live)
        group = groups[:, facts.group[told].clamp_min(0)] * (facts.group[told] >= 0)
        standing_now = UserProfile(*(part[mine] for part in person))._replace(
            day=torch.full((len(mine),), end + view.day - start.day, dtype=torch.float32)
        )
        mean, std = personal.of_seen(standing_now, facts.of(told[None]), own, group)
        return (mean - kappa * std).numpy()

    return reward
