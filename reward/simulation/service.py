"""The service, day by day: who visits, what is shown, what they do with it and what that does to them.

All users live a day at once. Every random number belongs to a (seed, draw, day, user, purpose) and never to a
policy, so two runs of the same draw differ by what is done differently in them and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.world import Catalogue, Population, World, catalogue_of, population_of, sigmoid

_VISIT, _SLATES, _SURFACE, _BREAK, _HOUR, _OUTCOME, _NOISE, _CHOICE = range(10, 18)


@dataclass(frozen=True)
class Service:
    """A world with the items and users that a seed drew."""

    world: World
    seed: int
    catalogue: Catalogue
    population: Population


@dataclass(frozen=True)
class State:
    """Where lives stand at the start of ``day``; n lives, of which several may be the same user's."""

    day: int
    users: Ints  # (n,) whose life: the row in the population
    habit: Floats  # (n, types) satisfaction at work
    pending: Floats  # (n, types) satisfaction still to sink in
    seen: Floats  # (n, items) exposures remembered
    activity: Floats  # (n,) share of active days, as the log tells it
    liking: Floats  # (n, embedding_size) mean embedding of what was clicked, as the log tells it

    def of(self, lives: Ints) -> State:
        """Copies of some lives, in the order of ``lives``."""
        parts = ("users", "habit", "pending", "seen", "activity", "liking")
        return replace(self, **{name: getattr(self, name)[lives] for name in parts})


@dataclass(frozen=True)
class View:
    """What a policy is told when m slates are filled on one day: logged history alone, and whose slates they are."""

    day: int
    live: Ints  # (live,) items that can be shown
    users: Ints  # (m,)
    surface: Ints  # (m,)
    activity: Floats  # (m,)
    liking: Floats  # (m, embedding_size)
    seen: Callable[[], Floats]  # () -> (m, live) remembered exposures


@dataclass(frozen=True)
class Policy:
    """A way to fill slates: scores of the live items, and how strictly they are followed.

    Attributes:
        scores: ``View`` -> logits, broadcastable to (m, live).
        temperature: 1: items are drawn without replacement in proportion to e^score; 0: the highest scores in order.
    """

    scores: Callable[[View], Floats]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature expected at least 0, got {self.temperature}: 0 is greedy")


@dataclass(frozen=True)
class Swap:
    """An intervention in the first slate of the run's first day: what stands at one position of it.

    Attributes:
        position: (n,).
        item: (n,) the item; −1: nothing.
    """

    position: Ints
    item: Ints


@dataclass(frozen=True)
class Exposures:
    """What was shown and what came of it, one row a shown item, by day, slate and life.

    Attributes:
        life: row of the state.
        session: session of the day, from 0.
        slate: slate of the day, from 0.
        minute: minute of the day.
        propensity: probability of the item at its position, given those above it.
        survey: 1 to 5; 0: not asked.
    """

    day: Ints
    life: Ints
    item: Ints
    session: Ints
    slate: Ints
    position: Ints
    surface: Ints
    minute: Floats
    propensity: NDArray[np.float64]
    click: NDArray[np.bool_]
    listen_ms: Ints
    skip: NDArray[np.bool_]
    like: NDArray[np.bool_]
    survey: Ints


@dataclass(frozen=True)
class Run:
    """Days lived.

    Attributes:
        state: where it ended.
        visit: (days, n) probability of visiting on each day, given all before it: 0 before joining and after leaving.
        slope: (days, n) change of it for a unit of satisfaction in the habit state.
        first_satisfaction: (n,) satisfaction got at the swapped position; 0 without a swap.
        exposures: what was shown; None unless asked for.
    """

    state: State
    visit: Floats
    slope: Floats
    first_satisfaction: Floats
    exposures: Exposures | None


def open_service(world: World, seed: int) -> Service:
    """The service of ``world`` that ``seed`` draws."""
    return Service(world, seed, catalogue_of(world, seed), population_of(world, seed))


def first_state(service: Service) -> State:
    """All users on day 0: nothing shown yet."""
    world, n, items = service.world, service.world.users, len(service.catalogue.kind)
    types = len(world.type_names)
    return State(
        day=0,
        users=np.arange(n),
        habit=np.zeros((n, types), np.float32),
        pending=np.zeros((n, types), np.float32),
        seen=np.zeros((n, items), np.float32),
        activity=np.full(n, sigmoid(np.array(world.activity_mean)), np.float32),
        liking=np.zeros((n, world.embedding_size), np.float32),
    )


def simulate(
    service: Service,
    policy: Policy,
    start: State,
    days: int,
    *,
    draw: int = 0,
    swap: Swap | None = None,
    record: bool = False,
) -> Run:
    """Lets ``days`` go by, from ``start``, which is left as it is.

    Args:
        service: where.
        policy: what fills the slates.
        start: whose lives, and where they stand.
        days: how many days.
        draw: which random numbers: the same draw gives the same luck on the same day to the same user.
        swap: an intervention on the first day. Lives that do not visit that day are not touched by it.
        record: whether to keep what was shown.

    Raises:
        ValueError: the calendar has fewer days.
    """
    if start.day + days > service.world.calendar_days:
        raise ValueError(
            f"expected at most {service.world.calendar_days} days (days + follow_up_days of the world), got a run of "
            f"{days} from day {start.day}: raise follow_up_days"
        )
    state = start.of(np.arange(len(start.users)))
    visits: list[Floats] = []
    slopes: list[Floats] = []
    shown: list[dict[str, NDArray[Any]]] = []
    first = np.zeros(len(start.users), np.float32)
    for day in range(start.day, start.day + days):
        visit, slope = visiting(service, state)
        visits.append(visit)
        slopes.append(slope)
        swapped = swap if day == start.day else None
        satisfaction, active = _day(service, policy, state, day, draw, visit, swapped, first, shown if record else None)
        _overnight(service, state, day, satisfaction, active)
        state = replace(state, day=day + 1)
    return Run(state, np.array(visits), np.array(slopes), first, _joined(shown) if record else None)


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
    return random_numbers(service, draw, state.day, _VISIT).random(service.world.users, np.float32)[state.users] < visit


def plan(service: Service, day: int, draw: int) -> tuple[Ints, Ints]:
    """Slates that each user would see on ``day``, (users,), and the surface of each, (users, max_slates)."""
    world, depth = service.world, service.population.depth
    onward = np.log(random_numbers(service, draw, day, _SLATES).random(world.users) + 1e-12) / np.log(depth)
    where = random_numbers(service, draw, day, _SURFACE).random((world.users, world.max_slates))
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
    keep = _keep(world)
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


def _keep(world: World) -> NDArray[np.float64]:
    return 0.5 ** (1 / np.array(world.type_half_life_days))


def _day(
    service: Service,
    policy: Policy,
    state: State,
    day: int,
    draw: int,
    visit: Floats,
    swap: Swap | None,
    first: Floats,
    shown: list[dict[str, NDArray[Any]]] | None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """One day of sessions: (n, types) satisfaction got and (n,) who was there; ``seen`` and ``liking`` move on."""
    world, catalogue = service.world, service.catalogue
    live, size = catalogue.live(day), world.slate_size
    planned, surfaces = plan(service, day, draw)
    luck = random_numbers(service, draw, day, _OUTCOME).random((world.users, world.max_slates, size), np.float32)
    active = visitors(service, state, draw, visit)
    lives = np.flatnonzero(active)
    slates = planned[state.users[lives]]
    types = len(world.type_names)
    total = np.zeros(len(state.users) * types)
    told: list[dict[str, NDArray[Any]]] = []
    for slate in range(int(slates.max(initial=0))):
        m = lives[slates > slate]
        who = state.users[m]
        surface = surfaces[who, slate]
        view = View(day, live, who, surface, state.activity[m], state.liking[m], partial(_seen, state, m, live))
        place, propensity = _fill(service, policy, view, draw, slate, swap if slate == 0 else None, m)
        item = live[place]
        there = np.ones(item.shape, np.bool_)
        if swap is not None and slate == 0:
            row = np.arange(len(m))
            item[row, swap.position[m]] = np.maximum(swap.item[m], 0)
            there[row, swap.position[m]] = swap.item[m] >= 0
        seen = state.seen[m[:, None], item]
        match = match_of(service, who, item)
        logit = click_logit(service, day, item, match, seen) + context_logit(world, surface)
        click = there & (luck[who, slate] < sigmoid(logit))
        gives = satisfaction_of(service, item, match, seen)
        got = click * gives
        if swap is not None and slate == 0:
            first[m] = got[row, swap.position[m]]
        total += np.bincount((m[:, None] * types + catalogue.type[item]).ravel(), got.ravel(), len(total))
        state.seen[m[:, None], item] += there  # an item stands once in a slate
        clicks = click.sum(axis=1, dtype=np.float32)[:, None]
        rate = np.float32(1 / world.likeness_memory)
        embedded = np.einsum("mk,mke->me", click.astype(np.float32), catalogue.embedding[item])
        state.liking[m] = state.liking[m] * (1 - rate) ** clicks + rate * embedded
        if shown is not None:
            told.append(
                {
                    "life": m,
                    "slate": np.full(len(m), slate),
                    "surface": surface,
                    "item": item,
                    "propensity": propensity,
                    "click": click,
                    "match": match,
                    "gives": gives,
                }
            )
    if shown is not None and told:
        shown.append(_told(service, state, day, draw, told))
    return total.reshape(-1, types).astype(np.float32), active


def context_logit(world: World, surface: Ints) -> Floats:
    """(m, positions): shift of the click logit by surface and position."""
    by_surface = np.array(world.surface_click, np.float32)[surface]
    return by_surface[:, None] + np.array(world.position_bias, np.float32)


def _fill(
    service: Service, policy: Policy, view: View, draw: int, slate: int, swap: Swap | None, lives: Ints
) -> tuple[Ints, NDArray[np.float64]]:
    """Places in ``view.live`` that fill each slate, and the propensity of each: (m, positions)."""
    scores = np.broadcast_to(policy.scores(view), (len(view.users), len(view.live))).astype(np.float32)
    rows, size = np.arange(len(view.users)), service.world.slate_size
    if policy.temperature > 0:
        weight = np.exp((scores - scores.max(axis=1, keepdims=True)) / np.float32(policy.temperature))
        weight = np.maximum(weight, np.float32(1e-30))
        rng = random_numbers(service, draw, view.day, _CHOICE, slate)
        # the first k of a race with these rates are k draws without replacement
        key = rng.standard_exponential((service.world.users, len(view.live)), np.float32)[view.users] / weight
    else:
        key = -scores
    if swap is not None:  # the swapped item stands at its own position alone
        known = np.flatnonzero(np.isin(swap.item[lives], view.live))
        key[known, np.searchsorted(view.live, swap.item[lives[known]])] = np.inf
    place = np.empty((len(rows), size), np.int64)
    for position in range(size):
        place[:, position] = key.argmin(axis=1)
        key[rows, place[:, position]] = np.inf
    if policy.temperature <= 0:
        return place, np.ones(place.shape)
    chosen = weight[rows[:, None], place].astype(np.float64)
    left = weight.sum(axis=1, dtype=np.float64)[:, None] - np.cumsum(chosen, axis=1) + chosen
    return place, chosen / np.maximum(left, chosen)


def _overnight(service: Service, state: State, day: int, satisfaction: Floats, active: NDArray[np.bool_]) -> None:
    world, population = service.world, service.population
    delayed = np.array(world.type_delayed_share, np.float32)
    release = np.float32(world.delay_release)
    state.habit[:] = state.habit * _keep(world).astype(np.float32) + release * state.pending
    state.habit[:] += (1 - delayed) * satisfaction
    state.pending[:] = (1 - release) * state.pending + delayed * satisfaction
    np.multiply(state.seen, np.float32(np.exp(-1 / world.forgetting_days)), out=state.seen)
    joined = population.joined[state.users] <= day
    state.activity[:] += joined * (active - state.activity) / np.float32(world.activity_memory_days)


def _edges(shares: tuple[float, ...]) -> NDArray[np.float64]:
    return np.cumsum(shares)[:-1] / np.sum(shares)


def _told(
    service: Service, state: State, day: int, draw: int, slates: list[dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """All that the log tells of a day's slates: the columns of `Exposures`."""
    world, catalogue = service.world, service.catalogue
    joint = {name: np.concatenate([entry[name] for entry in slates]) for name in slates[0]}
    life, slate, item, click, match = (joint[name] for name in ("life", "slate", "item", "click", "match"))
    who, size = state.users[life], world.slate_size
    users, most = world.users, world.max_slates
    noise = random_numbers(service, draw, day, _NOISE).random((users, most, size, 4), np.float32)[who, slate]
    gauss = random_numbers(service, draw, day, _NOISE, 1).standard_normal((users, most, size, 2), np.float32)[
        who, slate
    ]
    play = world.play_bias + world.play_match * match + world.play_appeal * catalogue.appeal[item]
    share = sigmoid(play + world.play_spread * gauss[..., 0])
    listen = click * np.rint(share * catalogue.minutes[item] * 60_000)
    skip = click & (share < world.skip_below)
    liking = world.like_bias + world.like_quality * catalogue.quality[item] + world.like_match * match
    like = click & ~skip & (noise[..., 0] < sigmoid(liking))
    asked = click & (noise[..., 1] < world.survey_share)
    answer = np.rint(3 + world.survey_slope * joint["gives"] + world.survey_spread * gauss[..., 1])
    later = random_numbers(service, draw, day, _BREAK).random((users, most), np.float32) < world.session_break
    later[:, 0] = False
    hours = random_numbers(service, draw, day, _HOUR).random((users, most + 1), np.float32)
    # a day starts between 6 and 15 o'clock; a slate of the same session comes minutes later, one of the next hours
    wait = np.where(later, 60 + 60 * hours[:, 1:], 6 + 4 * hours[:, 1:])
    wait[:, 0] = 360 + 540 * hours[:, 0]
    begins = np.cumsum(wait, axis=1)[who, slate]
    minute = begins[:, None] + np.arange(size) * (0.5 + noise[..., 2].mean(axis=1, keepdims=True))

    def flat(values: NDArray[Any]) -> NDArray[Any]:
        return (np.broadcast_to(values[:, None], item.shape) if values.ndim == 1 else values).ravel()

    return {
        "day": np.full(item.size, day),
        "life": flat(life),
        "item": flat(item),
        "session": flat(np.cumsum(later, axis=1)[who, slate]),
        "slate": flat(slate),
        "position": flat(np.broadcast_to(np.arange(size), item.shape)),
        "surface": flat(joint["surface"]),
        "minute": flat(minute),
        "propensity": flat(joint["propensity"]),
        "click": flat(click),
        "listen_ms": flat(listen).astype(np.int64),
        "skip": flat(skip),
        "like": flat(like),
        "survey": flat(asked * np.clip(answer, 1, 5)).astype(np.int64),
    }


def _seen(state: State, lives: Ints, items: Ints) -> Floats:
    return state.seen[np.ix_(lives, items)]


def _joined(shown: list[dict[str, NDArray[Any]]]) -> Exposures:
    names = Exposures.__dataclass_fields__
    columns: dict[str, Any] = {
        name: np.concatenate([entry[name] for entry in shown]) if shown else np.zeros(0, np.int64) for name in names
    }
    return Exposures(**columns)
