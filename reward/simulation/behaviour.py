"""How users behave: when they visit, what they click, and what satisfaction does to their habit.

Every random number belongs to a (seed, draw, day, user, purpose) and never to a policy, so two runs of the same draw
differ by what is done differently in them and by nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.lives import Seen, Service, State
from reward.simulation.world import World, sigmoid

VISIT, SLATES, SURFACE, BREAK, HOUR, OUTCOME, NOISE, CHOICE, RETRIEVAL = range(10, 19)


class Reaction(NamedTuple):
    """What users make of items that they are shown; all in one shape, (m, k).

    Attributes:
        match: taste match, of mean 0 and standard deviation 1 over users and items.
        click: logit of a click at the first position of the first surface, beside nothing that competes.
        gives: satisfaction that a click gives.
        unclicked: the same of an exposure without a click.
    """

    match: Floats
    click: Floats
    gives: Floats
    unclicked: Floats

    def expected(self, context: Floats | float = 0.0) -> Floats:
        """Mean satisfaction of an exposure, where ``context`` shifts the click logit and nothing competes."""
        clicked = sigmoid(self.click + context)
        return clicked * self.gives + (1 - clicked) * self.unclicked


def reaction_to(service: Service, day: int, users: Ints, items: Ints, seen: Seen) -> Reaction:
    """How ``users`` (m,) would react to ``items`` (m, k) or (k,), of which they remember exposures.

    Args:
        service: where.
        day: which day.
        users: rows in the population.
        items: rows in the catalogue.
        seen: exposures remembered.
    """
    world, catalogue = service.world, service.catalogue
    match = match_of(service, day, users, items)
    fresh = np.exp(-(day - catalogue.released[items]) / np.float32(world.novelty_days))
    click = (
        np.float32(world.click_bias)
        + catalogue.appeal[items]
        + np.float32(world.click_novelty) * fresh
        + np.float32(world.click_match) * match
        - np.float32(world.click_fatigue) * seen.item
    )
    shared = np.float32(world.mood_click) * service.population.mood[day, users]
    shared = shared + np.float32(world.shock_click) * service.population.shock[day]
    click = click - np.float32(world.click_creator_fatigue) * seen.creator + shared[:, None]
    gives = _satisfaction(service, items, match, seen)
    autoplay = np.array(world.type_autoplay, np.float32)[catalogue.type[items]]
    return Reaction(match, click, gives, autoplay * gives)


def match_of(service: Service, day: int, users: Ints, items: Ints) -> Floats:
    """Taste match: (m, k) for ``items`` (m, k) or (k,); mean 0 and standard deviation 1 over users and items."""
    population, turned = service.population, np.float32(service.world.taste_drift * day)
    taste = np.cos(turned) * population.taste[users] + np.sin(turned) * population.later_taste[users]
    other = service.catalogue.taste[items]
    product = taste @ other.T if items.ndim == 1 else np.einsum("md,mkd->mk", taste, other)
    return product / np.float32(np.sqrt(service.world.taste_size))


def _satisfaction(service: Service, items: Ints, match: Floats, seen: Seen) -> Floats:
    world, catalogue = service.world, service.catalogue
    kind = catalogue.kind[items]
    effect, acquired = (np.array(it, np.float32)[kind] for it in (world.kind_effect, world.kind_acquired))
    tired = np.exp(-np.float32(world.effect_fatigue) * seen.item)
    learned = 1 - np.exp(-seen.item / np.float32(world.acquired_exposures))
    repeat = tired + acquired * (learned - tired)
    bored = np.exp(-np.float32(world.effect_creator_fatigue) * seen.creator)
    return effect * repeat * bored * (catalogue.quality[items] + np.float32(world.effect_match) * match)


def clicked_beside(service: Service, logit: Floats, there: NDArray[np.bool_]) -> Floats:
    """(m, k) probabilities of clicks in slates of which each item takes clicks from the others.

    Args:
        service: where.
        logit: (m, k) of clicks beside nothing.
        there: (m, k) whether something stands at the position.
    """
    alone, lost = sigmoid(logit), np.float32(service.world.slate_competition)
    if not lost:
        return alone
    left = np.where(there, 1 - lost * alone, 1)
    return alone * left.prod(axis=1, keepdims=True) / left


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
    season = world.season_amplitude * np.sin(2 * np.pi * state.day / world.season_days)
    logit = logit + np.float32(season + population.shock[state.day])
    visit = there * sigmoid(logit)
    return visit.astype(np.float32), (visit * (1 - visit) * world.gain * (1 - bend**2)).astype(np.float32)


def impulse(world: World, days: int) -> NDArray[np.float64]:
    """(days, 2, types): habit on day 1, 2, .. after a unit of satisfaction on day 0.

    The first is of the part that works at once, the second of the part that sinks in, where ``kind_later`` is 1.
    """
    keep = kept_overnight(world)
    delayed = np.array(world.type_delayed_share)
    habit, pending = np.stack([1 - delayed, np.zeros_like(delayed)]), delayed
    response = []
    for _ in range(days):
        response.append(habit)
        habit = keep * habit
        habit[1] += world.delay_release * pending
        pending = (1 - world.delay_release) * pending
    return np.array(response)


def of_items(service: Service, response: NDArray[np.floating]) -> NDArray[np.floating]:
    """(…, items) what items do, of what a unit of each part of their type's satisfaction does: (…, 2, types)."""
    kind, type_ = service.catalogue.kind, service.catalogue.type
    later = np.array(service.world.kind_later, response.dtype)[kind]
    return response[..., 0, type_] + later * response[..., 1, type_]


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
