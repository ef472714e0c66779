"""The next test: how many users, how many days of enrolment, and how long until the last outcome is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from reward.arrays import Doubles
from reward.experiments.confidence import users_needed
from reward.statistics.intervals import normal

_LEAST_EFFECT = 1e-6  # standard deviations; and the least share of the users
_SMALLEST, _MOST_TIMES = 1e-150, 1e6
_MOST_DAYS, _MOST_USERS = 10_000, 1e15


@dataclass(frozen=True)
class Plan:
    """What a test takes.

    Attributes:
        users: in both arms together, whose outcome is known at the end.
        enrolment_days: during which users enter.
        days: from the first enrolment until the last outcome is known.
        detectable: the effect that is found with the asked power, with all who enter in these days.
    """

    users: int
    enrolment_days: int
    days: int
    detectable: float


def plan(
    effect: float,
    sd: float,
    daily_users: npt.ArrayLike,
    *,
    horizon_days: int,
    explained: float = 0.0,
    treated_share: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
    inflation: float = 1.0,
) -> Plan:
    """Plan a test of an outcome that is known ``horizon_days`` after a user enters.

    ``n = (z_{1−α/2} + z_power)² (1 − R²) σ² / (p (1 − p) effect²)`` users, times ``inflation``. They enter one cohort
    a day, each user once, and the last cohort's horizon has to pass: a longer horizon costs its days in full, whatever
    the traffic.

    Args:
        effect: difference of means to be found, in the metric's unit.
        sd: of the metric over users.
        daily_users: (days,) *new* users expected on each day. It falls: those who come most often come first.
        horizon_days: days until a user's outcome is known.
        explained: R² of the covariate known before the test, such as `predicted_before`.
        treated_share: of the users.
        alpha: level of the two-sided test.
        power: chance of finding the effect.
        inflation: of the users, for looking while it runs: `reward.experiments.sequential.inflation`.

    Raises:
        ValueError: a number out of its range, or too few users: the message says what could be found with them.
        ImportError: spotify-confidence is not installed.
    """
    daily = _checked(sd, daily_users, horizon_days, explained, treated_share, alpha, power, inflation)
    if not 0 < effect < math.inf:
        raise ValueError(f"effect expected the smallest difference worth finding, above 0, got {effect}")
    if not effect / sd > _LEAST_EFFECT:
        raise ValueError(
            f"effect expected more than {_LEAST_EFFECT:g} of the metric's standard deviation {sd:g}, got {effect:g}: "
            "no service has the users to find it"
        )
    left = 1 - explained  # of the variance; effects are told in standard deviations until the end
    fixed = users_needed(effect / sd, left, alpha=alpha, power=power, treated_share=treated_share)
    users, entered = int(np.ceil(fixed * inflation)), np.cumsum(daily)
    found = sd * _detectable(entered, left, treated_share, alpha, power, inflation)
    if entered[-1] < users:
        raise ValueError(
            f"an effect of {effect:g} expected {users:,} users, {entered[-1]:,.0f} come in {len(daily)} days, who show "
            f"one of {found[-1]:.3g}: enrol for longer, look for a larger effect, or explain more of the variance"
        )
    days = int(np.searchsorted(entered, users)) + 1
    return Plan(users, days, days + horizon_days, float(found[days - 1]))


def schedule(
    effect: float,
    sd: float,
    daily_users: npt.ArrayLike,
    *,
    horizon_days: int,
    explained: float = 0.0,
    treated_share: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
) -> pl.DataFrame:
    """Say what a test could tell on each day, were it read on that day alone.

    Args: see `plan`.

    Returns:
        A row for each day from the first enrolment on: ``day``, ``entered``, ``known`` (users whose horizon has
        passed), ``power`` for the effect, and ``detectable``, null while nobody is known.

    Raises:
        ValueError: a number out of its range.
    """
    daily = _checked(sd, daily_users, horizon_days, explained, treated_share, alpha, power, 1.0)
    entered = np.concatenate([np.cumsum(daily), np.full(horizon_days, daily.sum())])
    known = np.concatenate([np.zeros(horizon_days), np.cumsum(daily)])
    if not abs(effect) <= sd / _LEAST_EFFECT:
        raise ValueError(f"effect expected a difference of users whose sd is {sd:g}, got {effect}")
    left = 1 - explained
    z = torch.from_numpy(abs(effect) / sd * np.sqrt(known * treated_share * (1 - treated_share) / left))
    critical = normal(1 - alpha)
    chance = torch.special.ndtr(z - critical) + torch.special.ndtr(-z - critical)
    return pl.DataFrame(
        {
            "day": np.arange(1, len(known) + 1),
            "entered": entered,
            "known": known,
            "power": chance.numpy(),
            "detectable": sd * _detectable(known, left, treated_share, alpha, power, 1.0),
        }
    ).with_columns(pl.when(pl.col("known") > 0).then("detectable"))


def _detectable(
    users: Doubles, left: float, treated_share: float, alpha: float, power: float, inflation: float
) -> Doubles:
    """The effect that ``users`` show with the asked power."""
    z = normal(1 - alpha) + normal(2 * power - 1)
    return z * np.sqrt(left * inflation / (np.maximum(users, 1e-300) * treated_share * (1 - treated_share)))


def _checked(
    sd: float,
    daily_users: npt.ArrayLike,
    horizon_days: int,
    explained: float,
    treated_share: float,
    alpha: float,
    power: float,
    inflation: float,
) -> Doubles:
    daily = np.asarray(daily_users, np.float64)
    asked = {
        f"sd > 0, got {sd}": _SMALLEST < sd < 1 / _SMALLEST,
        f"horizon_days from 0 to {_MOST_DAYS} whole days, got {horizon_days}": 0 <= horizon_days <= _MOST_DAYS
        and horizon_days == int(horizon_days),
        f"explained in [0, 1), got {explained}": 0 <= explained < 1,
        f"treated_share in (0, 1), got {treated_share}": _LEAST_EFFECT <= treated_share <= 1 - _LEAST_EFFECT,
        f"alpha in (0, 1), got {alpha}": 0 < alpha < 1,
        f"power in (0.5, 1), got {power}": 0.5 < power < 1,
        f"inflation >= 1 and at most {_MOST_TIMES:g}, got {inflation}": 1 <= inflation <= _MOST_TIMES,
        f"daily_users of one number >= 0 a day, some above 0, got shape {daily.shape}": daily.ndim == 1
        and bool(((daily >= 0) & (daily < _MOST_USERS)).all() and daily.any()),
    }
    wrong = [what for what, holds in asked.items() if not holds]
    if wrong:
        raise ValueError(f"a test expected {'; '.join(wrong)}")
    return daily
