"""How users behave: when they visit, what they click, and what satisfaction does to their habit.

Every random number belongs to a (seed, draw, day, user, purpose) and never to a policy, so two runs of the same draw
differ by what is done differently in them and by nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.lives import Service, State
from reward.simulation.world import World, sigmoid

VISIT, SLATES, SURFACE, BREAK, HOUR, OUTCOME, NOISE, CHOICE = range(10, 18)


def match_of(service: Service, users: Ints, items: Ints) -> Floats:
    """Taste match: (m, k) for ``items`` (m, k) or (k,); mean 0 and standard deviation 1 over users and items."""
    taste, other = service.population.taste[users], service.catalogue.taste[items]
    product = taste @ other.T if items.ndim == 1 else np.einsum("md,mkd->mk", taste, other)
    return product / np.float32(np.sqrt(service.world.taste_size))


def click_logit(service: Service, day: int, items: Ints, match: Floats, seen: Floats) -> Floats:
    """Logit of a click at the first position of the first surface, in the shape of ``match``."""
    world, catalogue = service.world, service.catalogue
    fresh = np.exp(-(day - catalogue.released[items]) / np.float32(world.novelty_days))
    return (
        np.float32(world.click_bias)
        + catalogue.appeal[items]
        + np.float32(world.click_novelty) * fresh
        + np.float32(world.click_match) * match
        - np.float32(world.click_fatigue) * seen
    )


def satisfaction_of(service: Service, items: Ints, match: Floats, seen: Floats) -> Floats:
    """Satisfaction that a click gives, in the shape of ``match``."""
    world, catalogue = service.world, service.catalogue
    kind = catalogue.kind[items]
    effect, acquired = (np.array(it, np.float32)[kind] for it in (world.kind_effect, world.kind_acquired))
    tired = np.exp(-np.float32(world.effect_fatigue) * seen)
    learned = 1 - np.exp(-seen / np.float32(world.acquired_exposures))
    repeat = tired + acquired * (learned - tired)
    return effect * repeat * (catalogue.quality[items] + np.float32(world.effect_match) * match)


def visitors(service: Service, state: State, draw: int, visit: Floats) -> NDArray[np.bool_]:
    """(n,) who visits on the state's day, of lives that do so with probability ``visit``."""
    return random_numbers(service, draw, state.day, VISIT).random(service.world.users, np.float32)[state.users] < visit


def plan(service: Service, day: int, draw: int) -> tuple[Ints, Ints]:
    """Slates that each user would see on ``day``, (users,), and the surface of each, (users, max_slates)."""
    world, depth = service.world, service.population.depth
    onward = np.log(random_numbers(service, draw, day, SLATES).random(world.users) + 1e-12) / np.log(depth)
    where = random_numbers(service, draw, day, SURFACE).random((world.users, world.max_slates))
    slates = 1 + np.minimum(onward, world.max_slates - 1).astype(np.int64)
    return slates, np.searchsorted(_edges(world.surface_shares), where, side="right")


def visiting(service: Service, state: State) -> tuple[Floats, Floats]:
    """(n,) probability of a visit on the state's day, and its change for a unit of satisfaction in the habit state."""
    world, population, users = service.world, service.population, state.users
    there = (population.joined[users] <= state.day) & (state.day < population.left[users])
    limit = max(world.habit_limit, 1e-9)
    bend = np.tanh(world.gain * state.habit.sum(axis=1) / limit)
    logit = population.base[users] + world.weekday[state.day % 7] + population.mood[state.day, users] + limit * bend
    visit = there * sigmoid(logit)
    return visit.astype(np.float32), (visit * (1 - visit) * world.gain * (1 - bend**2)).astype(np.float32)


def impulse(world: World, days: int) -> NDArray[np.float64]:
    """(days, types): habit on day 1, 2, .. after a unit of satisfaction on day 0."""
    keep = kept_overnight(world)
    delayed = np.array(world.type_delayed_share)
    habit, pending = 1 - delayed, delayed
    response = []
    for _ in range(days):
        response.append(habit)
        habit = keep * habit + world.delay_release * pending
        pending = (1 - world.delay_release) * pending
    return np.array(response)


def random_numbers(service: Service, draw: int, day: int, purpose: int, slate: int = 0) -> np.random.Generator:
    """The generator of one purpose on one day: all users' numbers come from it, whoever is there."""
    return np.random.Generator(np.random.SFC64([service.seed, draw, day, purpose, slate]))


def kept_overnight(world: World) -> NDArray[np.float64]:
    """(types,) share of the habit that a night leaves."""
    return 0.5 ** (1 / np.array(world.type_half_life_days))


def context_logit(world: World, surface: Ints) -> Floats:
    """(m, positions): shift of the click logit by surface and position."""
    by_surface = np.array(world.surface_click, np.float32)[surface]
    return by_surface[:, None] + np.array(world.position_bias, np.float32)


def _edges(shares: tuple[float, ...]) -> NDArray[np.float64]:
    return np.cumsum(shares)[:-1] / np.sum(shares)
