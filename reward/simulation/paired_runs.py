"""Paired runs: the same lives with the same luck, which differ by one exposure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints
from reward.simulation.behaviour import (
    context_logit,
    impulse,
    of_items,
    plan,
    reaction_to,
    visiting,
    visitors,
)
from reward.simulation.lives import Policy, Service, State, Swap, first_state
from reward.simulation.service import simulate


@dataclass(frozen=True)
class Pairs:
    """Paired runs that differ by one exposure, and what theory expects of them to first order.

    P parents are visits, each run once with nothing at one position and once with each of M items there.

    Attributes:
        user: (P,).
        weight: (P,) slates of the visit's day.
        item: (P, M).
        difference: (P, M) active days over the horizon, minus those of the run with nothing there.
        predicted: (P, M) first-order difference, given the satisfaction that the exposure gave.
        expected: (P, items) mean of ``predicted`` over what the exposure may give; NaN for items not live.
        type: (items,) content type.
    """

    user: Ints
    weight: Doubles
    item: Ints
    difference: Doubles
    predicted: Doubles
    expected: Doubles
    type: Ints


def paired_runs(
    service: Service,
    policy: Policy,
    *,
    horizon_days: int,
    days: Iterable[int],
    parents_per_day: int,
    items_per_parent: int,
    draw: int = 1,
    block: int = 400,
) -> Pairs:
    """Swaps one exposure of visits that happen under ``policy``, and lets both lives go on with the same luck.

    The outcome of a run is the sum of its visit *probabilities*, not of its visits: same mean, far less noise.

    Args:
        service: where.
        policy: what fills all other slots.
        horizon_days: days, from the one after the exposure, over which active days count.
        days: days of the exposures.
        parents_per_day: visits looked at on each of them.
        items_per_parent: items tried in each.
        draw: luck from the exposure on; the days before it are those of the log (draw 0).
        block: visits whose runs are made together.

    Raises:
        ValueError: a run would leave the calendar.
    """
    state = first_state(service)
    rng = np.random.default_rng([service.seed, draw, 3])
    found = []
    for day in sorted(days):
        state = simulate(service, policy, state, day - state.day).state
        there = np.flatnonzero(visitors(service, state, draw, visiting(service, state)[0]))
        parents = rng.permutation(there)[:parents_per_day]
        live = service.catalogue.live(day)
        rounds = -(-len(parents) * items_per_parent // len(live))
        items = rng.permuted(np.tile(live, (rounds, 1)), axis=1).ravel()[: len(parents) * items_per_parent]
        items = items.reshape(len(parents), items_per_parent)
        position = rng.integers(0, service.world.slate_size, len(parents))
        for first in range(0, len(parents), block):
            part = slice(first, first + block)
            found.append(
                _pairs(service, policy, state.of(parents[part]), items[part], position[part], horizon_days, draw)
            )
    rows = (name for name in Pairs.__dataclass_fields__ if name != "type")
    return Pairs(
        type=service.catalogue.type, **{name: np.concatenate([getattr(it, name) for it in found]) for name in rows}
    )


def _pairs(
    service: Service, policy: Policy, parents: State, item: Ints, position: Ints, horizon_days: int, draw: int
) -> Pairs:
    n, tried = item.shape
    world, day, live = service.world, parents.day, service.catalogue.live(parents.day)
    lives = np.repeat(np.arange(n), tried + 1)
    shown = np.concatenate([np.full((n, 1), -1), item], axis=1)
    run = simulate(
        service,
        policy,
        parents.of(lives),
        horizon_days + 1,
        draw=draw,
        swap=Swap(np.repeat(position, tried + 1), shown.ravel()),
    )
    total = run.visit[1:].sum(axis=0, dtype=np.float64).reshape(n, tried + 1)
    slope = run.slope[1:, :: tried + 1].T.astype(np.float64)
    lasting = of_items(service, np.einsum("nh,hpt->npt", slope, impulse(world, horizon_days)))  # (n, items)
    got = run.first_satisfaction.reshape(n, tried + 1)[:, 1:]
    slates, surfaces = plan(service, day, draw)
    reaction = reaction_to(service, day, parents.users, live, parents.remembered(service, np.arange(n), live))
    context = context_logit(world, surfaces[parents.users, 0])[np.arange(n), position]
    expected = np.full(lasting.shape, np.nan)
    expected[:, live] = lasting[:, live] * reaction.expected(context[:, None])
    return Pairs(
        user=parents.users,
        weight=slates[parents.users].astype(np.float64),
        item=item,
        difference=total[:, 1:] - total[:, :1],
        predicted=(np.take_along_axis(lasting, item, axis=1) * got).astype(np.float64),
        expected=expected,
        type=service.catalogue.type,
    )
