"""What a policy does in the long run: expected active days of each life under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles
from reward.simulation.lives import Policy, Service, State
from reward.simulation.service import simulate


@dataclass(frozen=True)
class Outcome:
    """Expected active days of each life over an evaluation period.

    Attributes:
        active_days: (n,) days.
    """

    active_days: Doubles

    def mean(self) -> tuple[float, float]:
        """Mean over lives, and its standard error."""
        return _mean(self.active_days)

    def less(self, other: Outcome) -> tuple[float, float]:
        """Mean difference to another policy's outcome from the same start and luck, and its standard error."""
        return _mean(self.active_days - other.active_days)


def outcome(service: Service, policy: Policy, start: State, days: int, *, draws: Iterable[int] = (1,)) -> Outcome:
    """The long-run outcome of a policy: expected active days over ``days`` from ``start``, under the given luck."""
    totals = [simulate(service, policy, start, days, draw=draw).visit.sum(axis=0, dtype=np.float64) for draw in draws]
    return Outcome(np.mean(totals, axis=0))


def gap_closed(outcomes: Mapping[str, Outcome], name: str, *, low: str, high: str) -> float:
    """Share of the distance from policy ``low`` to policy ``high``, in mean active days, that ``name`` closes."""
    return outcomes[name].less(outcomes[low])[0] / outcomes[high].less(outcomes[low])[0]


def _mean(values: Doubles) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
