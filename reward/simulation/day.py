"""One simulated day: slates are filled, users react, and what they got works on overnight."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.behaviour import (
    CHOICE,
    OUTCOME,
    RETRIEVAL,
    clicked_beside,
    context_logit,
    kept_overnight,
    plan,
    random_numbers,
    reaction_to,
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
    """One day of sessions: satisfaction got and (n,) who was there; what is remembered and ``liking`` move on.

    Args:
        service: where.
        policy: what fills the slates.
        state: the lives.
        day: which day.
        draw: which luck.
        visit: (n,) probability of a visit.
        swap: an intervention in the first slate.
        first: (n,) takes the satisfaction that the swapped position gives where nothing beside it competes.
        shown: takes what the log tells of the day; None: nothing is told.

    Returns:
        (n, 2, types) satisfaction whose share works at once, and that whose share sinks in; (n,) who was there.
    """
    world, catalogue = service.world, service.catalogue
    groups = retrieved(service, day, draw)
    planned, surfaces = plan(service, day, draw)
    luck = random_numbers(service, draw, day, OUTCOME).random(
        (world.users, world.max_slates, world.slate_size), np.float32
    )
    active = visitors(service, state, draw, visit)
    lives = np.flatnonzero(active)
    slates = planned[state.users[lives]]
    types, later = len(world.type_names), np.array(world.kind_later, np.float32)
    total = np.zeros((2, len(state.users) * types))
    told: list[dict[str, NDArray[Any]]] = []
    for slate in range(int(slates.max(initial=0))):
        m = lives[slates > slate]
        races = _races(service, policy, draw, day, slate, groups)
        for group, mine in _dealt(service, draw, day, slate, groups, state.users[m]):
            ours, who = m[mine], state.users[m[mine]]
            view = View(
                day,
                group,
                who,
                surfaces[who, slate],
                state.activity[ours],
                state.liking[ours],
                partial(_seen, state, ours, group),
                partial(_met, state, ours, catalogue.creator[group]),
            )
            race = None if races is None else races[who, : len(group)]
            swapped = swap if slate == 0 else None
            entry, got, alone = _slate(service, policy, view, state, ours, slate, luck[who, slate], race, swapped)
            entry["propensity"] /= len(groups)
            if swapped is not None:
                first[ours] = alone[np.arange(len(ours)), swapped.position[ours]]
            cell = (ours[:, None] * types + catalogue.type[entry["item"]]).ravel()
            total[0] += np.bincount(cell, got.ravel(), total.shape[1])
            total[1] += np.bincount(cell, (later[catalogue.kind[entry["item"]]] * got).ravel(), total.shape[1])
            if shown is not None:
                told.append(entry)
    if shown is not None and told:
        shown.append(shown_on_a_day(service, state, day, draw, told))
    return total.reshape(2, -1, types).transpose(1, 0, 2).astype(np.float32), active


def retrieved(service: Service, day: int, draw: int) -> list[Ints]:
    """The groups of live items, each ascending, of which one at random is retrieved for a slate."""
    live, size = service.catalogue.live(day), service.world.retrieved_items
    groups = max(1, round(len(live) / size)) if size else 1
    if groups == 1:
        return [live]
    dealt = random_numbers(service, draw, day, RETRIEVAL).permutation(live)
    return [np.sort(group) for group in np.array_split(dealt, groups)]


def _dealt(
    service: Service, draw: int, day: int, slate: int, groups: list[Ints], users: Ints
) -> Iterator[tuple[Ints, NDArray[Any]]]:
    """Each group of items with the rows of ``users`` that it is retrieved for."""
    if len(groups) == 1:
        yield groups[0], np.arange(len(users))
        return
    drawn = random_numbers(service, draw, day, RETRIEVAL, 1 + slate).integers(0, len(groups), service.world.users)
    order = np.argsort(drawn[users], kind="stable")
    ends = np.searchsorted(drawn[users][order], np.arange(len(groups) + 1))
    for place, group in enumerate(groups):
        if ends[place] < ends[place + 1]:
            yield group, order[ends[place] : ends[place + 1]]


def _races(
    service: Service, policy: Policy, draw: int, day: int, slate: int, groups: list[Ints]
) -> NDArray[np.float32] | None:
    """(users, most items of a group) exponential times; None where nothing is left to chance."""
    if policy.temperature <= 0:
        return None
    rng = random_numbers(service, draw, day, CHOICE, slate)
    return rng.standard_exponential((service.world.users, max(map(len, groups))), np.float32)


def _slate(
    service: Service,
    policy: Policy,
    view: View,
    state: State,
    lives: Ints,
    slate: int,
    luck: Floats,
    race: NDArray[np.float32] | None,
    swap: Swap | None,
) -> tuple[dict[str, NDArray[Any]], Floats, Floats]:
    """A slate of each of ``lives``: what `shown_on_a_day` asks of it, and (m, positions) satisfaction got.

    The last is what each position would have given with nothing beside it that competes.
    """
    place, propensity = _fill(service, policy, view, race, swap, lives)
    item = view.live[place]
    there = np.ones(item.shape, np.bool_)
    if swap is not None:
        row = np.arange(len(lives))
        item[row, swap.position[lives]] = np.maximum(swap.item[lives], 0)
        there[row, swap.position[lives]] = swap.item[lives] >= 0
    reaction = reaction_to(service, view.day, view.users, item, state.remembered(service, lives, item))
    logit = reaction.click + context_logit(service.world, view.surface)
    click = there & (luck < clicked_beside(service, logit, there))
    alone = there & (luck < sigmoid(logit))
    _remember(service, state, lives, item, there)
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
        "match": reaction.match,
        "gives": reaction.gives,
    }
    got, given = (np.where(it, reaction.gives, there * reaction.unclicked) for it in (click, alone))
    return entry, got, given


def _remember(service: Service, state: State, lives: Ints, item: Ints, there: NDArray[np.bool_]) -> None:
    state.seen[lives[:, None], item] += there  # an item stands once in a slate
    if service.world.click_creator_fatigue or service.world.effect_creator_fatigue:
        for position, creator in enumerate(service.catalogue.creator[item].T):  # and a creator more than once
            state.met[lives, creator] += there[:, position]


def _fill(
    service: Service, policy: Policy, view: View, race: NDArray[np.float32] | None, swap: Swap | None, lives: Ints
) -> tuple[Ints, NDArray[np.float64]]:
    """Places in ``view.live`` that fill each slate, and the propensity of each: (m, positions)."""
    scores = np.broadcast_to(policy.scores(view), (len(view.users), len(view.live))).astype(np.float32)
    rows, size = np.arange(len(view.users)), service.world.slate_size
    weight = None
    if race is None:
        key = -scores
    else:
        weight = np.exp((scores - scores.max(axis=1, keepdims=True)) / np.float32(policy.temperature))
        weight = np.maximum(weight, np.float32(1e-30))
        key = race / weight  # the first k of a race with these rates are k draws without replacement
    if swap is not None:  # the swapped item stands at its own position alone
        known = np.flatnonzero(np.isin(swap.item[lives], view.live))
        key[known, np.searchsorted(view.live, swap.item[lives[known]])] = np.inf
    place = np.empty((len(rows), size), np.int64)
    for position in range(size):
        place[:, position] = key.argmin(axis=1)
        key[rows, place[:, position]] = np.inf
    if weight is None:
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
        satisfaction: (n, 2, types) got on it, see `live_a_day`.
        active: (n,) who was there.
    """
    world, population = service.world, service.population
    delayed = np.array(world.type_delayed_share, np.float32)
    release = np.float32(world.delay_release)
    state.habit[:] = state.habit * kept_overnight(world).astype(np.float32) + release * state.pending
    state.habit[:] += (1 - delayed) * satisfaction[:, 0]
    state.pending[:] = (1 - release) * state.pending + delayed * satisfaction[:, 1]
    for memory in (state.seen, state.met):
        np.multiply(memory, np.float32(np.exp(-1 / world.forgetting_days)), out=memory)
    joined = population.joined[state.users] <= day
    state.activity[:] += joined * (active - state.activity) / np.float32(world.activity_memory_days)


def _seen(state: State, lives: Ints, items: Ints) -> Floats:
    return state.seen[np.ix_(lives, items)]


def _met(state: State, lives: Ints, creators: Ints) -> Floats:
    return state.met[np.ix_(lives, creators)]
