"""What was settled before a slate was filled, as covariates whose balance tells of a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles
from reward.causal.diagnostics.imbalance import Compared
from reward.data.prepared import UserRows
from reward.data.slates import Slates, active_days, past_activity
from reward.statistics.least_squares import Triangle
from reward.statistics.sums import Totals

PAST, LAST, PLACEBO, ASSIGNED = "past activity", "last days", "placebo outcome", "past assignments"


@dataclass(frozen=True)
class Windows:
    """Settings of the covariates, see `reward.causal.diagnostics.balance.balance`."""

    spans_days: Sequence[float]
    prior_days: float
    placebo_days: int
    last_days: int


class Window(NamedTuple):
    """Active days of a window before each slate, and what was known when it began.

    Attributes:
        outcome: (n,) active days.
        design: (n, k) a constant, and rates of activity before the window.
    """

    outcome: Doubles
    design: Doubles


@dataclass(frozen=True)
class Activity:
    """Activity before n slates: ``past`` (n,), the share of active days, and the two windows."""

    past: Doubles
    last: Window
    placebo: Window


def activity_of(slates: Slates, windows: Windows, start: float) -> Activity:
    """Activity before some users' slates; ``start`` is that of all users, `ActiveDays.share`."""
    until = np.cumsum(active_days(slates), axis=1, dtype=np.int32)
    spans, prior = tuple(windows.spans_days), windows.prior_days

    def window(days: int) -> Window:
        end, begin = (np.where(day > 0, until[slates.user, day - 1], 0) for day in (slates.day, slates.day - days))
        known = past_activity(slates, spans, prior, days, start=start)
        return Window((end - begin).astype(np.float64), np.column_stack([np.ones(len(end)), known]))

    past = past_activity(slates, (), prior, start=start)[:, -1].astype(np.float64)
    return Activity(past, window(windows.last_days), window(windows.placebo_days))


@dataclass(frozen=True)
class Tables(Totals):
    """What some users add to the forecasts of both windows."""

    last: Triangle
    placebo: Triangle


@dataclass(frozen=True)
class Forecasts:
    """Linear forecasts of both windows: their coefficients (k,)."""

    last: Doubles
    placebo: Doubles

    def beyond(self, activity: Activity) -> Doubles:
        """(3, n) past activity, and what is left of each window's forecast."""
        windows = ((activity.last, self.last), (activity.placebo, self.placebo))
        return np.stack([activity.past, *(it.outcome - it.design @ fitted for it, fitted in windows)])


@dataclass(frozen=True)
class Forecasting:
    """The forecasts of both windows as a sum over users, of the slates that are compared."""

    compared: Callable[[UserRows], Compared]
    activity: Callable[[UserRows], Activity]

    def partial(self, users: UserRows, /) -> Tables:
        """What these users add."""
        part, activity = self.compared(users).part, self.activity(users)
        return Tables(
            *(Triangle.of(np.column_stack([it.design, it.outcome])[part]) for it in (activity.last, activity.placebo))
        )

    def solve(self, state: Tables, /) -> Forecasts:
        """The forecasts of all users."""
        return Forecasts(state.last.coefficients, state.placebo.coefficients)


def assigned(slates: Slates, weight: Doubles, lean: Doubles, prior_days: float) -> Doubles:
    """(n,) how far the items shown to the user on earlier days leaned, beyond what the propensities expect.

    A row's weighted lean is, given all before it, Σ of the lean over the items it could have shown; that sum is taken
    off, and what is left is averaged over the user's rows of earlier days, with as many zeros as ``prior_days``.

    Args:
        slates: of some users.
        weight: (rows,) inverse propensities.
        lean: (items,) by how much each item goes to active users.
        prior_days: see above.
    """
    live = np.array([len(slates.live(day)) for day in range(slates.days)])
    everything = np.array([lean[slates.live(day)].sum() for day in range(slates.days)])
    own = lean[slates.item]
    day = slates.day[slates.row]
    padded = np.where(slates.items >= 0, lean[np.maximum(slates.items, 0)], 0)
    above = (np.cumsum(padded, axis=1) - padded)[slates.row, slates.place]
    n = np.maximum(live[day] - slates.place, 1)
    surplus = weight / n * (own - (everything[day] - above) / n)
    slate = np.asarray(np.bincount(slates.row, surplus, len(slates.user)), np.float64)
    total, rows = _before(slates, slate), _before(slates, slates.size.astype(np.float64))
    return total / (rows + prior_days)


def _before(slates: Slates, value: Doubles) -> Doubles:
    """(n,) sum of ``value`` over the user's slates of earlier days."""
    running = np.cumsum(value) - value
    day = np.flatnonzero(np.r_[True, (np.diff(slates.user) != 0) | (np.diff(slates.day) != 0)])
    user = np.flatnonzero(np.r_[True, np.diff(slates.user) != 0])
    at = np.arange(len(value))
    today = running[day[np.searchsorted(day, at, side="right") - 1]]
    ever = running[user[np.searchsorted(user, at, side="right") - 1]]
    return today - ever
