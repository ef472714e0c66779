"""One simulated day: slates are filled, users react, and what they got works on overnight."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.behaviour import (
    CHOICE,
    OUTCOME,
    click_logit,
    context_logit,
    kept_overnight,
    match_of,
    plan,
    random_numbers,
    satisfaction_of,
    visitors,
)
from reward.simulation.exposures import shown_on_a_day
from reward.simulation.lives import Policy, Service, State, Swap, View
from reward.simulation.world import sigmoid


def live_a_day(
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
    """One day of sessions: (n, types) satisfaction got and (n,) who was there; ``seen`` and ``liking`` move on.

    Args:
        service: where.
        policy: what fills the slates.
        state: the lives.
        day: which day.
        draw: which luck.
        visit: (n,) probability of a visit.
        swap: an intervention in the first slate.
        first: (n,) takes the satisfaction got at the swapped position.
        shown: takes what the log tells of the day; None: nothing is told.
    """
    world, live = service.world, service.catalogue.live(day)
    planned, surfaces = plan(service, day, draw)
    luck = random_numbers(service, draw, day, OUTCOME).random(
        (world.users, world.max_slates, world.slate_size), np.float32
    )
    active = visitors(service, state, draw, visit)
    lives = np.flatnonzero(active)
    slates = planned[state.users[lives]]
    types = len(world.type_names)
    total = np.zeros(len(state.users) * types)
    told: list[dict[str, NDArray[Any]]] = []
    for slate in range(int(slates.max(initial=0))):
        m = lives[slates > slate]
        who = state.users[m]
        view = View(
            day, live, who, surfaces[who, slate], state.activity[m], state.liking[m], partial(_seen, state, m, live)
        )
        swapped = swap if slate == 0 else None
        entry, got = _slate(service, policy, view, state, m, draw, slate, luck[who, slate], swapped)
        if swapped is not None:
            first[m] = got[np.arange(len(m)), swapped.position[m]]
        total += np.bincount(
            (m[:, None] * types + service.catalogue.type[entry["item"]]).ravel(), got.ravel(), len(total)
        )
        if shown is not None:
            told.append(entry)
    if shown is not None and told:
        shown.append(shown_on_a_day(service, state, day, draw, told))
    return total.reshape(-1, types).astype(np.float32), active


def _slate(
    service: Service,
    policy: Policy,
    view: View,
    state: State,
    lives: Ints,
    draw: int,
    slate: int,
    luck: Floats,
    swap: Swap | None,
) -> tuple[dict[str, NDArray[Any]], Floats]:
    """A slate of each of ``lives``: what `shown_on_a_day` asks of it, and (m, positions) satisfaction got."""
    place, propensity = _fill(service, policy, view, draw, slate, swap, lives)
    item = view.live[place]
    there = np.ones(item.shape, np.bool_)
    if swap is not None:
        row = np.arange(len(lives))
        item[row, swap.position[lives]] = np.maximum(swap.item[lives], 0)
        there[row, swap.position[lives]] = swap.item[lives] >= 0
    seen = state.seen[lives[:, None], item]
    match = match_of(service, view.users, item)
    logit = click_logit(service, view.day, item, match, seen) + context_logit(service.world, view.surface)
    click = there & (luck < sigmoid(logit))
    gives = satisfaction_of(service, item, match, seen)
    state.seen[lives[:, None], item] += there  # an item stands once in a slate
    clicks = click.sum(axis=1, dtype=np.float32)[:, None]
    rate = np.float32(1 / service.world.likeness_memory)
    embedded = np.einsum("mk,mke->me", click.astype(np.float32), service.catalogue.embedding[item])
    state.liking[lives] = state.liking[lives] * (1 - rate) ** clicks + rate * embedded
    entry = {
        "life": lives,
        "slate": np.full(len(lives), slate),
        "surface": view.surface,
        "item": item,
        "propensity": propensity,
        "click": click,
        "match": match,
        "gives": gives,
    }
    return entry, click * gives


def _fill(
    service: Service, policy: Policy, view: View, draw: int, slate: int, swap: Swap | None, lives: Ints
) -> tuple[Ints, NDArray[np.float64]]:
    """Places in ``view.live`` that fill each slate, and the propensity of each: (m, positions)."""
    scores = np.broadcast_to(policy.scores(view), (len(view.users), len(view.live))).astype(np.float32)
    rows, size = np.arange(len(view.users)), service.world.slate_size
    if policy.temperature > 0:
        weight = np.exp((scores - scores.max(axis=1, keepdims=True)) / np.float32(policy.temperature))
        weight = np.maximum(weight, np.float32(1e-30))
        rng = random_numbers(service, draw, view.day, CHOICE, slate)
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


def overnight(service: Service, state: State, day: int, satisfaction: Floats, active: NDArray[np.bool_]) -> None:
    """What a day leaves for the next: satisfaction sinks in, what was shown is forgotten, activity moves on.

    Args:
        service: where.
        state: the lives, which are changed.
        day: that ended.
        satisfaction: (n, types) got on it.
        active: (n,) who was there.
    """
    world, population = service.world, service.population
    delayed = np.array(world.type_delayed_share, np.float32)
    release = np.float32(world.delay_release)
    state.habit[:] = state.habit * kept_overnight(world).astype(np.float32) + release * state.pending
    state.habit[:] += (1 - delayed) * satisfaction
    state.pending[:] = (1 - release) * state.pending + delayed * satisfaction
    np.multiply(state.seen, np.float32(np.exp(-1 / world.forgetting_days)), out=state.seen)
    joined = population.joined[state.users] <= day
    state.activity[:] += joined * (active - state.activity) / np.float32(world.activity_memory_days)


def _seen(state: State, lives: Ints, items: Ints) -> Floats:
    return state.seen[np.ix_(lives, items)]
