"""The published bandit: shows are recommended every day, each by a Thompson draw, and their traces come in day by day.

As in the published evaluation a user's trace is drawn without replacement from the show's own, what the draw of day D
is based on is what was seen before D, and regret is the best show's true active days less the shown one's. All trials
run side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from impatient.published import Moments, progressive, univariate
from impatient.shows import WHOLE, H, active_on, daily_means
from reward.progressive import ItemPrior


@dataclass(frozen=True)
class Seen:
    """Users so far, of all trials: arm (trial · shows + show), the whole trace, and days since it began."""

    arms: int
    arm: np.ndarray
    trace: np.ndarray
    age: np.ndarray

    def totals(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of ``values`` by arm over ``rows``, and how many there are."""
        arm = self.arm[rows]
        return np.bincount(arm, values[rows], self.arms), np.bincount(arm, minlength=self.arms).astype(float)


Draws = Callable[[int, np.random.Generator], np.ndarray]  # (draws, arms) of what a belief may be
Agent = Callable[[Seen], Draws]


def gaussian(mean: np.ndarray, std: np.ndarray) -> Draws:
    return lambda draws, rng: mean + std * rng.standard_normal((draws, len(mean)))


def agents(moments: Moments, prior: ItemPrior) -> dict[str, Agent]:
    """Name -> what it believes of each arm: draws of what it maximises."""

    def published(seen: Seen):
        active = np.zeros((seen.arms, H))
        users = np.zeros((seen.arms, H))
        for day in range(H):
            known = seen.age > day
            active[:, day], users[:, day] = seen.totals(known, (seen.trace >> day) & 1)
        return gaussian(*progressive(moments, active, users))

    def days(seen: Seen):
        return active_on(seen.trace).sum(axis=1)

    def summed(seen: Seen, since: int):
        told = seen.totals(seen.age >= since, days(seen))
        return gaussian(*univariate(moments.mean.sum(), moments.between.sum(), moments.within.sum(), *told))

    def day_two(seen: Seen):
        told = seen.totals(seen.age > 0, seen.trace & 1)
        return gaussian(*univariate(moments.mean[0], moments.between[0, 0], moments.within[0, 0], *told))

    def ours(seen: Seen, observed: np.ndarray):
        return prior.belief(prior.evidence(seen.arm, seen.trace, observed, items=seen.arms)).sample

    return {
        "published progressive": published,
        "ours": lambda seen: ours(seen, (1 << np.minimum(seen.age, H)) - 1),
        "delayed": lambda seen: summed(seen, H + 1),
        "day-two proxy": day_two,
        "published oracle (the sum at once)": lambda seen: summed(seen, 1),
        "full traces at once, our filter": lambda seen: ours(seen, np.full(len(seen.age), WHOLE)),
    }


def regret(words: np.ndarray, agent: Agent, *, trials: int, daily: int, days: int, seed: int) -> np.ndarray:
    """(trials,) regret a recommendation over all days.

    Args:
        words: (shows, users) traces.
        agent: what it believes.
        trials: how many runs.
        daily: recommendations a day.
        days: how many days.
        seed: draws the users and the agent's samples.
    """
    rng, shows = np.random.default_rng(seed), len(words)
    worth = daily_means(words).sum(axis=1)
    shuffled = rng.permuted(np.broadcast_to(words, (trials, *words.shape)), axis=2).reshape(trials * shows, -1)
    used = np.zeros(trials * shows, np.int64)
    arm, trace, start = (np.zeros(0, np.int64) for _ in range(3))
    lost = np.zeros(trials)
    for day in range(days):
        draw = agent(Seen(trials * shows, arm, trace, day - start))(daily, rng)
        chosen = draw.reshape(daily, trials, shows).argmax(axis=2)  # (daily, trials)
        lost += (worth.max() - worth[chosen]).mean(axis=0)
        new = np.sort((chosen + np.arange(trials) * shows).ravel())
        first = np.searchsorted(new, new)
        place = (used[new] + np.arange(len(new)) - first) % words.shape[1]
        used += np.bincount(new, minlength=len(used))
        arm, trace = np.concatenate([arm, new]), np.concatenate([trace, shuffled[new, place]])
        start = np.concatenate([start, np.full(len(new), day)])
    return lost / days
