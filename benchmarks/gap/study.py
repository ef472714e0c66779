"""One world and seed: its log, a sample of the slates in it, and where users stand when it ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.behaviour import plan, visiting
from reward.simulation.exposures import Exposures
from reward.simulation.lives import Policy, Seen, Service, State, View, first_state, open_service
from reward.simulation.log import events_of, items_of
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy
from reward.simulation.world import World

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
        met: (n, candidates) the same of all items of their creators.
        profile: (n, profile_size) what the log of the days before told of the user's taste: see `_profiles`.
    """

    day: Ints
    user: Ints
    surface: Ints
    activity: Floats
    liking: Floats
    row: Ints
    items: Ints
    seen: Floats
    met: Floats
    profile: Floats


@dataclass(frozen=True)
class Study:
    """What signals and rankers are made from, and where they are tried.

    Attributes:
        service: the simulated service. Of it only the true signals may read what the log does not tell.
        events: the log, in the columns of `reward.simulation.log.events_of`; ``Views.row`` counts its rows.
        items: the items released by its end, in those of ``items_of``; an ``item_id`` is its row in the catalogue.
        views: slates in it, the same for every signal.
        profile: (users, profile_size) the users' profiles at the log's end.
        slope: (n,) what a unit of satisfaction in the habit state adds to each view's user's visits. For the truth.
        start: where the first users stand at the end of the log.
        settings: of train.py beside ``data=world``, by which rewards are learned.
    """

    service: Service
    events: pl.DataFrame
    items: pl.DataFrame
    views: Views
    profile: Floats
    slope: Floats
    start: State
    settings: tuple[str, ...] = ()


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
            kept.append((view, there, there + filled, Seen(view.seen()[there], view.met()[there])))
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
            {
                "day": np.full(len(there), view.day),
                "user": view.users[there],
                "surface": view.surface[there],
                "activity": view.activity[there],
                "liking": view.liking[there],
                "row": slate[:, None] * world.slate_size + np.arange(world.slate_size),
                "items": view.live[place],
                "seen": np.take_along_axis(seen.item, place, axis=1),
                "met": np.take_along_axis(seen.creator, place, axis=1),
            }
        )
    joint = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    before, after = _profiles(service, run.exposures, joint["day"], joint["user"])
    return Study(
        service=service,
        events=events_of(service, run.exposures),
        items=items_of(service),
        views=Views(**joint, profile=before),
        profile=after,
        slope=run.slope[joint["day"], joint["user"]],
        start=run.state.of(np.arange(min(world.users, roll_out_users))),
    )


def _profiles(service: Service, shown: Exposures, day: Ints, user: Ints) -> tuple[Floats, Floats]:
    """What users' clicks and plays tell of their taste: before given days, (n, size), and at the end, (users, size).

    Sums over a user's exposures of the item's embedding times the click, less the item's click rate, and over the
    clicks of it times the share played, less the mean share; both shrunk to 0; and the log of the exposures.
    """
    catalogue, users = service.catalogue, service.world.users
    count = np.bincount(shown.item, minlength=len(catalogue.kind))
    rate = np.bincount(shown.item, shown.click, len(count)) / np.maximum(count, 1)
    share = shown.listen_ms / 60_000 / catalogue.minutes[shown.item]
    share = shown.click * (share - share[shown.click].mean())
    told = np.zeros((users, 2 * catalogue.embedding.shape[1] + 1))
    before = np.empty((len(day), told.shape[1]), np.float32)
    begins = np.searchsorted(shown.day, np.arange(service.world.days + 1))

    def shrunk(told: NDArray[np.float64]) -> Floats:
        times = told[:, -1:]
        return np.column_stack([12 * told[:, :-1] / (times + 60), np.log1p(times) / 4]).astype(np.float32)

    for now in range(service.world.days):
        mine = day == now
        before[mine] = shrunk(told[user[mine]])
        rows = slice(begins[now], begins[now + 1])
        item, life = shown.item[rows], shown.life[rows]
        embedding = catalogue.embedding[item]
        clicked = (shown.click[rows] - rate[item])[:, None] * embedding
        played = share[rows, None] * embedding
        for place, values in enumerate([*clicked.T, *played.T, np.ones(len(life))]):
            told[:, place] += np.bincount(life, values, users)
    return before, shrunk(told)


def column(study: Study, name: str) -> NDArray[np.generic]:
    """A column of the log."""
    return study.events.get_column(name).to_numpy()


def _watched(policy: Policy, keep) -> Policy:
    def scores(view: View) -> Floats:
        keep(view)
        return policy.scores(view)

    return Policy(scores, policy.temperature)
