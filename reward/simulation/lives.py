"""What a simulated day starts from: a service, the lives in it, and the policy that fills their slates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reward.arrays import Floats, Ints
from reward.simulation.catalogue import Catalogue, catalogue_of
from reward.simulation.population import Population, population_of
from reward.simulation.world import World, sigmoid


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
    met: Floats  # (n, creators) the same of all items of a creator
    activity: Floats  # (n,) share of active days, as the log tells it
    liking: Floats  # (n, embedding_size) mean embedding of what was clicked, as the log tells it

    def of(self, lives: Ints) -> State:
        """Copies of some lives, in the order of ``lives``."""
        parts = ("users", "habit", "pending", "seen", "met", "activity", "liking")
        return replace(self, **{name: getattr(self, name)[lives] for name in parts})

    def remembered(self, service: Service, lives: Ints, items: Ints) -> Seen:
        """What ``lives`` (m,) remember of ``items`` (m, k) or (k,)."""
        rows = lives[:, None]
        return Seen(self.seen[rows, items], self.met[rows, service.catalogue.creator[items]])


class Seen(NamedTuple):
    """Exposures that users remember of items, and of all items of their creators; both (m, k)."""

    item: Floats
    creator: Floats


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
    met: Callable[[], Floats]  # () -> (m, live) remembered exposures of all items of their creators


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
        met=np.zeros((n, world.creators), np.float32),
        activity=np.full(n, sigmoid(np.array(world.activity_mean)), np.float32),
        liking=np.zeros((n, world.embedding_size), np.float32),
    )
