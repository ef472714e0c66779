"""What a log says of its items: when each came, how often it was shown, and how often of late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.exposed import ExposedUsers
from reward.causal.user_effects.user_state import ItemState

_OLD = -1e4  # first day of items that the log shows from its own first day on: nobody knows their age


@dataclass(frozen=True)
class ItemTimes:
    """When items were shown; a state that adds.

    Attributes:
        count: (items,) exposures.
        first: (items,) days since 1970 of the first of them; infinite where there is none.
        start, end: the same of the first and the last exposure of all.
    """

    count: Ints
    first: Doubles
    start: float
    end: float

    def __add__(self, other: ItemTimes) -> ItemTimes:
        return ItemTimes(
            self.count + other.count,
            np.minimum(self.first, other.first),
            min(self.start, other.start),
            max(self.end, other.end),
        )


@dataclass(frozen=True)
class TimesShown:
    """When a log shows its items, as a sum over users.

    Attributes:
        items: how many there are.
    """

    items: int

    def partial(self, users: ExposedUsers) -> ItemTimes:
        """When some users were shown them."""
        item, time = users.events.item, users.events.time
        first = np.full(self.items, np.inf)
        np.minimum.at(first, item, time)
        return ItemTimes(np.bincount(item, minlength=self.items), first, float(time.min()), float(time.max()))

    def solve(self, state: ItemTimes) -> ItemTimes:
        """When all users were."""
        return state


@dataclass(frozen=True)
class ReferenceItems:
    """Items in the shares in which the log's last days show them, from the weakest effect to the strongest.

    Attributes:
        effect: (items,) of each.
        since: moment from which exposures count, days since 1970.
        size: how many items there are in the basket.
    """

    effect: Doubles
    since: float
    size: int

    def partial(self, users: ExposedUsers) -> Ints:
        """(items,) late exposures of some users."""
        late = users.events.time >= self.since
        return np.bincount(users.events.item[late], minlength=len(self.effect))

    def solve(self, state: Ints) -> Ints:
        """(size,) codes of items."""
        order = np.argsort(self.effect, kind="stable")
        share = np.cumsum(state[order])
        at = (np.arange(self.size) + 0.5) / self.size * share[-1]
        return order[np.searchsorted(share, at)].astype(np.int64)


def facts_of(
    times: ItemTimes, behind: Doubles, variance: Doubles, gate_share: Doubles, group: Ints, taste: Doubles
) -> ItemState:
    """What is known of all items, and of an unknown one, which is new and otherwise like the average exposure.

    Args:
        times: when the log shows them.
        behind: (items,) effects behind the gate.
        variance: (items,) of these.
        gate_share: (items,) share of exposures that open the gate; 1 where there is no gate.
        group: (items,) codes from 0.
        taste: (items, t) places in the directions of taste.
    """
    now, share = times.end, times.count / times.count.sum()
    first = np.where(times.first < np.floor(times.start) + 1, _OLD, np.minimum(times.first, now))
    level = share @ behind
    rate = np.clip(np.append(gate_share, share @ gate_share), 1e-6, 1 - 1e-6)
    told = (
        np.append(behind, level),
        np.append(variance, share @ (variance + (behind - level) ** 2)),
        np.log(rate / (1 - rate)),
        np.append(first, now),
        np.append(group, -1),
        np.concatenate([taste, (share @ taste)[None]]),
        np.arange(len(behind) + 1),
    )
    return ItemState(*map(torch.from_numpy, told))
