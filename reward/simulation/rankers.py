"""Small rankers that learn from slates of a simulated log, and the policies they are once they fill the slates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from reward.arrays import Floats, Ints
from reward.ranking.losses import softmax
from reward.simulation.behaviour import context_logit, impulse, of_items, reaction_to
from reward.simulation.exposures import Exposures
from reward.simulation.lives import Policy, Seen, Service, View, first_state
from reward.simulation.service import Run, simulate
from reward.simulation.slate_policies import logging_policy, rank_by

_SEEN_RATE = 0.4  # how fast the term for items already seen saturates


@dataclass(frozen=True)
class Slates:
    """Slates of a log as they were about to be filled, with items to rank for each.

    Attributes:
        day: (n,).
        user: (n,) ``user_id`` in the log.
        surface: (n,).
        activity: (n,) share of active days.
        liking: (n, embedding_size) mean embedding of what was clicked.
        row: (n,) row of the log that holds the slate's first item.
        items: (n, candidates) those of the slate, by position, then live ones at random.
        seen: (n, candidates) remembered exposures of them.
        met: (n, candidates) the same of all items of their creators.
        clicks: (n, candidates) 1 where the item was clicked, 0 where it was not, NaN where it was not shown.
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
    clicks: Floats


def log_with_slates(service: Service, *, slates: int, candidates: int, first_day: int) -> tuple[Run, Exposures, Slates]:
    """Live the days of the world's log, and keep some of the slates that were filled.

    Args:
        service: where.
        slates: how many are kept, drawn at random; all where the log has no more.
        candidates: items to rank in each, those that were shown included.
        first_day: slates of earlier days are not kept, for nobody has a history there.

    Returns:
        The run, what it showed, and the slates.
    """
    world, policy = service.world, logging_policy(service)
    views: list[tuple[View, int, Seen]] = []
    filled = 0

    def scores(view: View) -> Floats:
        nonlocal filled
        if view.day >= first_day:
            views.append((view, filled, Seen(view.seen(), view.met())))
        filled += len(view.users)
        return policy.scores(view)

    run = simulate(service, Policy(scores, policy.temperature), first_state(service), world.days, record=True)
    shown = run.exposures
    assert shown is not None
    item, click = (values.reshape(-1, world.slate_size) for values in (shown.item, shown.click))
    rng = np.random.default_rng([service.seed, 21])
    total = sum(len(view.users) for view, *_ in views)
    kept = np.zeros(total, bool)
    kept[rng.permutation(total)[:slates]] = True
    parts, start = [], 0
    for view, first, seen in views:
        there = np.flatnonzero(kept[start : start + len(view.users)])
        start += len(view.users)
        slate = first + there
        others = rng.integers(0, len(view.live), (len(there), candidates - world.slate_size))
        place = np.concatenate([np.searchsorted(view.live, item[slate]), others], axis=1)
        unknown = np.full(others.shape, np.nan)
        parts.append(
            {
                "day": np.full(len(there), view.day),
                "user": view.users[there],
                "surface": view.surface[there],
                "activity": view.activity[there],
                "liking": view.liking[there],
                "row": slate * world.slate_size,
                "items": view.live[place],
                "seen": np.take_along_axis(seen.item[there], place, axis=1),
                "met": np.take_along_axis(seen.creator[there], place, axis=1),
                "clicks": np.concatenate([click[slate], unknown], axis=1).astype(np.float32),
            }
        )
    return run, shown, Slates(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def true_effects(service: Service, slates: Slates, slope: Floats, horizon_days: int) -> Floats:
    """(n, candidates) what showing each item in each slate does to active days over the horizon, to first order.

    Args:
        service: where.
        slates: n of them.
        slope: (n,) what a unit of satisfaction in the habit state adds to the visits of each slate's user.
        horizon_days: days that are counted.
    """
    lasting = of_items(service, impulse(service.world, horizon_days).sum(axis=0).astype(np.float32))
    effect = np.empty(slates.items.shape, np.float32)
    for day in np.unique(slates.day):
        now = slates.day == day
        items, seen = slates.items[now], Seen(slates.seen[now], slates.met[now])
        reaction = reaction_to(service, int(day), slates.user[now], items, seen)
        effect[now] = reaction.expected(context_logit(service.world, slates.surface[now])[:, :1]) * lasting[items]
    return effect * slope[:, None]


class Ranker(nn.Module):
    """``score = u(user)·v(item) + b(item) − (u'(user)·v'(item) + b'(item)) (1 − e^(−rate · seen))``.

    An item is known by its features, its creator and an embedding of its own, which starts at 0, so that an item that
    training never met is ranked by the rest.
    """

    features: Tensor
    creator: Tensor

    def __init__(self, service: Service, *, user_size: int, width: int, size: int) -> None:
        super().__init__()
        features = _item_features(service)
        self.register_buffer("features", torch.from_numpy(features))
        self.register_buffer("creator", torch.from_numpy(service.catalogue.creator))
        self.user = nn.Sequential(nn.Linear(user_size, width), nn.GELU(), nn.Linear(width, 2 * size))
        self.item = nn.Linear(features.shape[1], width)
        self.out = nn.Linear(width, 2 * (size + 1))
        self.by_creator = nn.Embedding(service.world.creators, width)
        self.by_id = nn.Embedding(len(features), width)
        nn.init.zeros_(self.by_creator.weight)
        nn.init.zeros_(self.by_id.weight)

    def forward(self, user: Tensor, items: Tensor, seen: Tensor) -> Tensor:
        """(m, user_size), (m, k), (m, k) -> scores (m, k)."""
        known = gelu(self.item(self.features) + self.by_creator(self.creator) + self.by_id.weight)
        vectors = self.out(known).unflatten(-1, (2, -1))[items]  # (m, k, 2, size + 1)
        person = self.user(user).unflatten(-1, (2, -1))  # (m, 2, size)
        parts = torch.einsum("mps,mkps->mkp", person, vectors[..., :-1]) + vectors[..., -1]
        return parts[..., 0] + parts[..., 1] * torch.expm1(-_SEEN_RATE * seen)


def train_ranker(
    service: Service,
    slates: Slates,
    signal: Floats,
    *,
    width: int,
    size: int,
    epochs: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
) -> Ranker:
    """A ranker trained by `reward.ranking.softmax` on what a signal says of the slates' items.

    Args:
        service: whose seed is that of the first weights and of the batches.
        slates: n slates.
        signal: (n, candidates), such as clicks or rewards; NaN: the item takes no part.
        width: hidden units of each tower.
        size: dimensions in which a user and an item meet.
        epochs: passes over the slates.
        batch: slates a step.
        learning_rate: the highest; it rises and falls.
        weight_decay: of AdamW.
    """
    torch.manual_seed(service.seed)
    user = torch.from_numpy(_user_features(service, slates))
    items, seen, told = (torch.from_numpy(it) for it in (slates.items, slates.seen, np.asarray(signal, np.float32)))
    mask = ~told.isnan()
    ranker = Ranker(service, user_size=user.shape[1], width=width, size=size)
    optimizer = torch.optim.AdamW(ranker.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * -(-len(user) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(user)).split(batch):
            loss = softmax(ranker(user[rows], items[rows], seen[rows]), told[rows], mask=mask[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return ranker.eval()


def policy_of(service: Service, ranker: Ranker) -> Policy:
    """Fills slates with the items that the ranker scores highest."""

    @torch.no_grad()
    def scores(view: View) -> Floats:
        user = torch.from_numpy(_user_features(service, view))
        items = torch.from_numpy(view.live).expand(len(user), -1)
        return np.asarray(ranker(user, items, torch.from_numpy(view.seen())).numpy())

    return rank_by(scores)


def _user_features(service: Service, view: View | Slates) -> Floats:
    """(m, features) of what a service knows of a user when a slate is filled."""
    often = np.log(view.activity + 0.02) - np.log(1.02 - view.activity)
    length = np.linalg.norm(view.liking, axis=1)
    where = np.eye(len(service.world.surface_names))[view.surface]
    return np.column_stack([view.activity, often / 2, 2 * view.liking, length, where]).astype(np.float32)


def _item_features(service: Service) -> Floats:
    """(items, features) of what a service knows of an item on its first day."""
    catalogue = service.catalogue
    of_type = np.eye(len(service.world.type_names))[catalogue.type]
    return np.column_stack([catalogue.embedding, of_type, np.log(catalogue.minutes) - 2]).astype(np.float32)
