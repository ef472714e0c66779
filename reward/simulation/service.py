"""The service, day by day: all users live a day at once, under a policy that fills their slates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats
from reward.simulation.behaviour import (
    visiting,
)
from reward.simulation.day import live_a_day, overnight
from reward.simulation.exposures import Exposures, joined
from reward.simulation.lives import Policy, Service, State, Swap


@dataclass(frozen=True)
class Run:
    """Days lived.

    Attributes:
        state: where it ended.
        visit: (days, n) probability of visiting on each day, given all before it: 0 before joining and after leaving.
        slope: (days, n) change of it for a unit of satisfaction in the habit state.
        first_satisfaction: (n,) satisfaction that the swapped position gives where nothing beside it competes; 0
            without a swap.
        exposures: what was shown; None unless asked for.
    """

    state: State
    visit: Floats
    slope: Floats
    first_satisfaction: Floats
    exposures: Exposures | None


def simulate(
    service: Service,
    policy: Policy,
    start: State,
    days: int,
    *,
    draw: int = 0,
    swap: Swap | None = None,
    record: bool = False,
) -> Run:
    """Lets ``days`` go by, from ``start``, which is left as it is.

    Args:
        service: where.
        policy: what fills the slates.
        start: whose lives, and where they stand.
        days: how many days.
        draw: which random numbers: the same draw gives the same luck on the same day to the same user.
        swap: an intervention on the first day. Lives that do not visit that day are not touched by it.
        record: whether to keep what was shown.

    Raises:
        ValueError: the calendar has fewer days.
    """
    if start.day + days > service.world.calendar_days:
        raise ValueError(
            f"expected at most {service.world.calendar_days} days (days + follow_up_days of the world), got a run of "
            f"{days} from day {start.day}: raise follow_up_days"
        )
    state = start.of(np.arange(len(start.users)))
    visits: list[Floats] = []
    slopes: list[Floats] = []
    shown: list[dict[str, NDArray[Any]]] = []
    first = np.zeros(len(start.users), np.float32)
    for day in range(start.day, start.day + days):
        visit, slope = visiting(service, state)
        visits.append(visit)
        slopes.append(slope)
        swapped = swap if day == start.day else None
        satisfaction, active = live_a_day(
            service, policy, state, day, draw, visit, swapped, first, shown if record else None
        )
        overnight(service, state, day, satisfaction, active)
        state = replace(state, day=day + 1)
    return Run(state, np.array(visits), np.array(slopes), first, joined(shown) if record else None)
