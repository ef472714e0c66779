"""The users that a seed draws in a world, and what happens to them whatever they are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reward.arrays import Floats, Ints
from reward.simulation.world import World, shares, sigmoid


@dataclass(frozen=True)
class Population:
    """The users a seed drew, and what happens to them whatever they are shown."""

    base: Floats  # (users,) logit of a visit a day
    depth: Floats  # (users,) probability of going on to another slate
    taste: Floats  # (users, taste_size) on day 0
    later_taste: Floats  # (users, taste_size) where drifting tastes turn to
    platform: Ints
    joined: Floats  # (users,) day
    left: Floats  # (users,) day
    mood: Floats  # (calendar days, users) logits
    shock: Floats  # (calendar days,) logits, of everybody


def population_of(world: World, seed: int) -> Population:
    """The users of ``world`` that ``seed`` draws."""
    rng = np.random.default_rng([seed, 2])
    n = world.users
    base = world.activity_mean + world.activity_spread * rng.standard_normal(n)
    joined = np.where(rng.random(n) < world.early_share, 0, rng.uniform(0, world.days, n))
    stay = rng.exponential(1 / world.leaving_rate, n) if world.leaving_rate > 0 else np.full(n, np.inf)
    keep = np.exp(-1 / world.mood_days)
    mood = np.empty((world.calendar_days, n), np.float32)
    mood[0] = world.mood_spread * rng.standard_normal(n)
    for day in range(1, world.calendar_days):
        mood[day] = keep * mood[day - 1] + world.mood_spread * np.sqrt(1 - keep**2) * rng.standard_normal(n)
    other = np.random.default_rng([seed, 5])
    depth = sigmoid(world.depth_mean + world.depth_activity * (base - world.activity_mean))
    return Population(
        base=base.astype(np.float32),
        depth=depth.astype(np.float32),
        taste=rng.standard_normal((n, world.taste_size)).astype(np.float32),
        later_taste=other.standard_normal((n, world.taste_size)).astype(np.float32),
        platform=rng.choice(len(world.platform_names), n, p=shares(world.platform_shares)),
        joined=joined.astype(np.float32),
        left=(joined + 1 + stay).astype(np.float32),
        mood=mood,
        shock=(world.shock_spread * other.standard_normal(world.calendar_days)).astype(np.float32),
    )
