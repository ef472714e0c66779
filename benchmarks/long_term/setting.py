"""The synthetic setting of Saito et al. (2024): what an action does later, it does half by its short-term rewards.

A population of users and thirty actions, drawn once; in a simulation, rows of users drawn from it with replacement,
three short-term rewards each and one noisy long-term reward. The formulas and constants are those of the published
code, with two departures: users are clustered from a seed, and each data set draws its actions afresh, where there all
data sets share one set of uniform numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACTIONS, USERS, USER_DIM, ACTION_DIM, SHORT_TERM = 30, 1000, 5, 5, 3
CLUSTERS = 3
SHARE = 0.5  # of the long-term reward that does not pass through the short-term ones: λ
SHORT_TERM_STD = 0.5
TOP, EXPLORED = 3, 0.1  # the new policy: uniform over the three best actions, a tenth uniform over all
PUBLISHED = 12345  # the seed of the published population
# what the short-term rewards are worth to users of each cluster: (rewards, clusters)
WORTH = np.array([[0.1, 0.5, -0.35], [0.0, 0.05, -0.05], [-0.3, 0.55, -0.5]]).T
Array = np.ndarray


@dataclass(frozen=True)
class Effects:
    """Coefficients of one expectation on users (p, k), actions (q, k) and their products (p, q, k)."""

    user: Array
    action: Array
    product: Array

    def of(self, users: Array, actions: Array) -> Array:
        """(n, actions, k), standardised over the rows at hand, as published."""
        raw = (users @ self.user)[:, None, :] + (actions @ self.action)[None]
        raw = raw + np.einsum("np,pqk,aq->nak", users, self.product, actions)
        return (raw - raw.mean()) / raw.std()


@dataclass(frozen=True)
class Population:
    """Users, actions and what these do.

    Attributes:
        users: (users, p).
        cluster: (users,).
        actions: (actions, q).
        short: on the short-term rewards.
        beside: on the long-term reward, beside the short-term ones.
        level, scale: of the long-term expectation over users and actions.
    """

    users: Array
    cluster: Array
    actions: Array
    short: Effects
    beside: Effects
    level: float = 0.0
    scale: float = 1.0

    def expected(self, users: Array, cluster: Array) -> tuple[Array, Array]:
        """Short-term (n, actions, rewards) and long-term expectations (n, actions) of these users."""
        short = self.short.of(users, self.actions)
        worth = np.einsum("nak,kn->na", short, WORTH[:, cluster])
        worth = (worth - worth.mean(axis=0)) / worth.std(axis=0)
        long = SHARE * self.beside.of(users, self.actions)[..., 0] + (1 - SHARE) * worth
        return short, (long - self.level) / self.scale

    @property
    def values(self) -> tuple[float, float]:
        """True values of the logging policy and of the new one."""
        long = self.expected(self.users, self.cluster)[1]
        return tuple(float((policy(long) * long).sum(axis=1).mean()) for policy in (logging_policy, new_policy))


@dataclass(frozen=True)
class Rows:
    """Rows of one policy.

    Attributes:
        context: (n, p).
        action: (n,).
        short: (n, rewards).
        long: (n,).
        logging: (n, actions) the policy that made them.
        new: (n, actions) the policy to evaluate.
    """

    context: Array
    action: Array
    short: Array
    long: Array
    logging: Array
    new: Array


@dataclass(frozen=True)
class Simulation:
    """What there is to estimate from: a log of the old policy, and what short experiments with both showed."""

    history: Rows
    old: Rows
    new: Rows


def population(seed: int) -> Population:
    """The population of a seed; that of 12345 has the published draws."""
    draws = np.random.RandomState(seed)  # the published generator: its draws are the setting

    def effects(kinds: int) -> Effects:
        shapes = (USER_DIM, kinds), (ACTION_DIM, kinds), (USER_DIM, ACTION_DIM, kinds)
        return Effects(*(draws.normal(size=shape) for shape in shapes))

    actions = draws.normal(size=(ACTIONS, ACTION_DIM))
    users = draws.normal(size=(USERS, USER_DIM))
    raw = Population(users, clustered(users, CLUSTERS, seed), actions, effects(SHORT_TERM), effects(1))
    long = raw.expected(raw.users, raw.cluster)[1]
    return Population(users, raw.cluster, actions, raw.short, raw.beside, float(long.mean()), float(long.std()))


def simulation(people: Population, rows: int, noise: float, seed: int) -> Simulation:
    """One simulation; ``noise`` is the long-term reward's standard deviation σ."""
    draws = np.random.default_rng(seed)
    return Simulation(
        *(_rows(people, rows, noise, policy, draws) for policy in (logging_policy, logging_policy, new_policy))
    )


def _rows(people: Population, rows: int, noise: float, policy, draws: np.random.Generator) -> Rows:
    user = draws.integers(USERS, size=rows)
    context = people.users[user]
    short, long = people.expected(context, people.cluster[user])
    chance = policy(long)
    action = (chance.cumsum(axis=1) > draws.uniform(size=(rows, 1))).argmax(axis=1)
    at = np.arange(rows), action
    return Rows(
        context,
        action,
        draws.normal(short[at], SHORT_TERM_STD),
        draws.normal(long[at], noise),
        chance,
        new_policy(long),
    )


def logging_policy(long: Array) -> Array:
    """A softmax of the long-term expectations."""
    odds = np.exp(long - long.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def new_policy(long: Array) -> Array:
    """Nine tenths shared by the three best actions, one tenth by all."""
    best = np.zeros_like(long)
    np.put_along_axis(best, np.argpartition(-long, TOP, axis=1)[:, :TOP], (1 - EXPLORED) / TOP, axis=1)
    return best + EXPLORED / long.shape[1]


def clustered(points: Array, clusters: int, seed: int, tries: int = 10, steps: int = 300) -> Array:
    """The k-means cluster of each point, by Lloyd's algorithm from the best of seeded k-means++ starts."""
    draws, best, found = np.random.default_rng(seed), np.inf, np.zeros(len(points), int)
    for _ in range(tries):
        centres = points[[draws.integers(len(points))]]
        while len(centres) < clusters:
            near = _distances(points, centres).min(axis=1)
            centres = np.append(centres, points[[draws.choice(len(points), p=near / near.sum())]], axis=0)
        for _ in range(steps):
            label = _distances(points, centres).argmin(axis=1)
            count = np.bincount(label, minlength=clusters)
            sums = np.stack([np.bincount(label, column, clusters) for column in points.T], axis=1)
            moved = np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], centres)
            if np.array_equal(moved, centres):
                break
            centres = moved
        spread = float(_distances(points, centres).min(axis=1).sum())
        if spread < best:
            best, found = spread, label
    return found


def _distances(points: Array, centres: Array) -> Array:
    return ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)
