"""One world and seed: its log, a sample of the slates in it, and where users stand when it ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.simulation.log import events_of, items_of
from reward.simulation.policies import logging_policy
from reward.simulation.service import (
    Policy,
    Service,
    State,
    View,
    first_state,
    open_service,
    plan,
    simulate,
    visiting,
)
from reward.simulation.world import Floats, Ints, World

FIRST_DAY = 10  # before it, histories are too short to learn from


@dataclass(frozen=True)
class Views:
    """n slates of the log that were about to be filled, as a policy is told of them, and items to rank for each.

    Attributes:
        day: (n,).
        user: (n,) ``user_id`` in the log.
        surface: (n,).
        activity: (n,) share of active days.
        liking: (n, embedding_size) mean embedding of what was clicked.
        row: (n, slate_size) the slate's rows in the log, by position; the view is of the moment before the first.
        items: (n, candidates) items to rank: those of the slate, by position, then live ones at random.
        seen: (n, candidates) remembered exposures of them.
    """

    day: Ints
    user: Ints
    surface: Ints
    activity: Floats
    liking: Floats
    row: Ints
    items: Ints
    seen: Floats


@dataclass(frozen=True)
class Study:
    """What signals and rankers are made from, and where they are tried.

    Attributes:
        service: the simulated service. Of it only the true signals may read what the log does not tell.
        events: the log, in the columns of `reward.simulation.log.events_of`; ``Views.row`` counts its rows.
        items: the items released by its end, in those of ``items_of``; an ``item_id`` is its row in the catalogue.
        views: slates in it, the same for every signal.
        slope: (n,) what a unit of satisfaction in the habit state adds to each view's user's visits. For the truth.
        start: where the first users stand at the end of the log.
    """

    service: Service
    events: pl.DataFrame
    items: pl.DataFrame
    views: Views
    slope: Floats
    start: State


def study_of(world: World, seed: int, *, views: int, candidates: int, roll_out_users: int) -> Study:
    """Lives the log once, keeping about ``views`` of its slates with ``candidates`` items each."""
    service = open_service(world, seed)
    rng = np.random.default_rng([seed, 4])
    state = first_state(service)
    slates = (world.days - FIRST_DAY) * float(visiting(service, state)[0] @ plan(service, 0, 0)[0])
    share, kept, filled = min(views / slates, 1), [], 0

    def keep(view: View) -> None:
        nonlocal filled
        there = np.flatnonzero(rng.random(len(view.users)) < share) if view.day >= FIRST_DAY else np.zeros(0, np.int64)
        if len(there):
            kept.append((view, there, there + filled, view.seen()[there]))
        filled += len(view.users)

    run = simulate(service, _watched(logging_policy(service), keep), state, world.days, record=True)
    assert run.exposures is not None
    shown = run.exposures.item.reshape(-1, world.slate_size)
    parts = []
    for view, there, slate, seen in kept:
        own = np.searchsorted(view.live, shown[slate])
        others = rng.integers(0, len(view.live), (len(there), candidates - world.slate_size))
        place = np.concatenate([own, others], axis=1)
        parts.append(
            Views(
                day=np.full(len(there), view.day),
                user=view.users[there],
                surface=view.surface[there],
                activity=view.activity[there],
                liking=view.liking[there],
                row=slate[:, None] * world.slate_size + np.arange(world.slate_size),
                items=view.live[place],
                seen=np.take_along_axis(seen, place, axis=1),
            )
        )
    joint = Views(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Views.__dataclass_fields__}
    )
    return Study(
        service=service,
        events=events_of(service, run.exposures),
        items=items_of(service),
        views=joint,
        slope=run.slope[joint.day, joint.user],
        start=run.state.of(np.arange(min(world.users, roll_out_users))),
    )


def column(study: Study, name: str) -> NDArray[np.generic]:
    """A column of the log."""
    return study.events.get_column(name).to_numpy()


def _watched(policy: Policy, keep) -> Policy:
    def scores(view: View) -> Floats:
        keep(view)
        return policy.scores(view)

    return Policy(scores, policy.temperature)
