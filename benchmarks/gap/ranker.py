"""The ranker that every signal trains: users' and items' towers, and terms for how tired a user is of an item."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from gap.study import Study, Views
from reward.arrays import Floats, Ints
from reward.simulation.lives import Policy, Service, View
from reward.simulation.slate_policies import rank_by

Loss = Callable[..., Tensor]
SEEN_RATES = (0.4, 1.5)
FRESH_DAYS = 5.0
BASES = 2 + len(SEEN_RATES)


class Ranker(nn.Module):
    """``score(h, x) = Σ_k φ_k(seen, age) (u_k(h)·v_k(x) + b_k(x))``.

    The φ are 1, saturating functions of how often the user has seen the item, and one of the item's age. An item is
    known by its features and its creator's embedding, and by an embedding of its own that is left out now and then, so
    that one never met in training is ranked by what it has.
    """

    def __init__(self, features: Tensor, creator: Tensor, user_size: int, *, width: int, size: int, forget: float):
        super().__init__()
        self.register_buffer("features", features)
        self.register_buffer("creator", creator)
        self.forget = forget
        self.user = nn.Sequential(nn.Linear(user_size, width), nn.GELU(), nn.Linear(width, BASES * size))
        self.item = nn.Linear(features.shape[1], width)
        self.item_out = nn.Linear(width, BASES * (size + 1))
        self.by_creator = nn.Embedding(int(creator.max()) + 1, width)
        self.by_id = nn.Embedding(len(creator), width)
        for table in (self.by_creator, self.by_id):
            nn.init.zeros_(table.weight)

    def parts(self, user: Tensor) -> Tensor:
        """(m, user_size) -> (m, bases, items): the factors of the φ, for all items."""
        known = self.by_id.weight
        if self.training:
            known = known * (torch.rand(len(known), 1) > self.forget)
        hidden = self.item(self.features) + self.by_creator(self.creator) + known
        item = self.item_out(gelu(hidden)).unflatten(-1, (BASES, -1)).transpose(0, 1)  # (bases, items, size + 1)
        person = pad(self.user(user).unflatten(-1, (BASES, -1)), (0, 1), value=1.0)  # 1 meets the item's b
        return torch.einsum("mks,kis->mki", person, item)

    def score(self, parts: Tensor, seen: Tensor, age: Tensor) -> Tensor:
        """(m, bases, k), (m, k), (m, k) -> (m, k)."""
        always, fresh, *tired = parts.unbind(1)
        out = always + fresh * torch.exp(-age / FRESH_DAYS)
        for part, rate in zip(tired, SEEN_RATES, strict=True):
            out = out - part * torch.expm1(-rate * seen)
        return out


def train(
    study: Study,
    rewards: Floats,
    loss: Loss,
    *,
    width: int = 64,
    size: int = 12,
    forget: float = 0.1,
    epochs: int = 6,
    batch: int = 256,
    rate: float = 1e-2,
    decay: float = 0.05,
) -> Ranker:
    """A ranker for what one signal says of the study's views.

    Args:
        study: whose views and items.
        rewards: (views, candidates); NaN: takes no part.
        loss: of `reward.ranking`.
        width: hidden units of each tower.
        size: dimensions in which a user and an item meet, for each φ.
        forget: share of the items whose own embedding a step does without.
        epochs: passes over the views.
        batch: lists a step.
        rate: the highest learning rate; it rises and falls.
        decay: AdamW's.
    """
    torch.manual_seed(study.service.seed)
    views = study.views
    user = torch.from_numpy(user_features(study.service, views, views.profile))
    creator = torch.from_numpy(study.service.catalogue.creator)
    ranker = Ranker(
        torch.from_numpy(item_features(study.service)), creator, user.shape[1], width=width, size=size, forget=forget
    )
    items, seen = torch.from_numpy(views.items), torch.from_numpy(views.seen)
    age = torch.from_numpy(age_of(study.service, views.day[:, None], views.items))
    told = torch.from_numpy(np.asarray(rewards, np.float32))
    some = ~told.isnan().all(0)  # the columns that the signal speaks of
    items, seen, age, told = (it[:, some] for it in (items, seen, age, told))
    mask = ~told.isnan()
    steps = epochs * -(-len(user) // batch)
    optimizer = torch.optim.AdamW(ranker.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(user)).split(batch):
            parts = ranker.parts(user[rows])
            parts = parts.gather(2, items[rows, None].expand(-1, BASES, -1))
            lists = loss(ranker.score(parts, seen[rows], age[rows]), told[rows], mask=mask[rows])
            optimizer.zero_grad()
            lists.mean().backward()
            optimizer.step()
            schedule.step()
    return ranker.eval()


def policy_of(study: Study, ranker: Ranker) -> Policy:
    """Ranks by the ranker's scores, with the users' profiles as they were at the end of the log."""
    service = study.service

    @torch.no_grad()
    def scores(view: View) -> Floats:
        user = torch.from_numpy(user_features(service, view, study.profile[view.users]))
        parts = ranker.parts(user)[:, :, torch.from_numpy(view.live)]
        age = torch.from_numpy(age_of(service, np.array([[view.day]]), view.live[None]))
        return ranker.score(parts, torch.from_numpy(view.seen()), age).numpy()

    return rank_by(scores)


def user_features(service: Service, view: View | Views, profile: Floats) -> Floats:
    """(m, features) of what a view tells of the user."""
    often = np.log(view.activity + 0.02) - np.log(1.02 - view.activity)
    length = np.linalg.norm(view.liking, axis=1)
    where = np.eye(len(service.world.surface_names))[view.surface]
    return np.column_stack([view.activity, often / 2, 2 * view.liking, length, where, profile]).astype(np.float32)


def item_features(service: Service) -> Floats:
    """(items, features) of what a service knows of an item on its first day."""
    catalogue = service.catalogue
    type_ = np.eye(len(service.world.type_names))[catalogue.type]
    return np.column_stack([catalogue.embedding, type_, np.log(catalogue.minutes) - 2]).astype(np.float32)


def age_of(service: Service, day: Ints, items: Ints) -> Floats:
    """Days since release, in the shape of ``items``."""
    return (day - np.floor(service.catalogue.released[items])).astype(np.float32)
