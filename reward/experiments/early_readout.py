"""How early is early enough: decisions on the first days of a test against those at its full horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Doubles, Ints
from reward.columns import TIMESTAMP, USER
from reward.data.days import local_day
from reward.data.split import midnight
from reward.moved import find_names_of_before
from reward.scoring.function import RewardFunction
from reward.statistics.bootstrap import check_codes, sums_by
from reward.statistics.intervals import check_alpha, normal
from reward.statistics.regression import Regression
from reward.statistics.unit_bootstrap import interval, ratio

MEASURES = ("consistent", "recall", "precision", "reversals", "sensitivity")

_MOST, _LARGEST = 1e150, 1e60  # of a number that is squared once, and twice

find_names_of_before(__name__)


class Effects(NamedTuple):
    """Differences of means, treated minus control, of T tests; the shapes are (T,) or, with days, (T, K).

    ``se`` holds their standard errors, without that of a surrogate's own estimation.
    """

    effect: Doubles
    se: Doubles


def described(seen: npt.NDArray[Any]) -> Doubles:
    """What a regression is told of the days seen so far.

    Args:
        seen: (n, k), active on each of the first k days, or how much; 0 is not at all.

    Returns:
        (n, k + 1): the days, and the days since the last active one, k where there was none.

    Raises:
        ValueError: another shape.

    >>> described(np.array([[True, True, False], [False, False, False]]))
    array([[1., 1., 0., 1.],
           [0., 0., 0., 3.]])

    """
    if seen.ndim != 2:
        raise ValueError(f"expected the days of each user, (n, k), got shape {seen.shape}")
    days = seen.shape[1]
    active = seen != 0
    silent = np.where(active.any(1), active[:, ::-1].argmax(1), days) if days else np.zeros(len(seen), np.int64)
    return np.column_stack([seen, silent]).astype(np.float64)


def auto_surrogate(
    past: npt.NDArray[Any], days: int, *, regression: Regression, covariates: Doubles | None = None
) -> Callable[[npt.NDArray[Any], Doubles | None], Doubles]:
    """An outcome's own first days as its surrogate: what is seen, plus what they foretell of the days still open.

    ``S = Σ_{d ≤ k} active_d + h(active_1 .. active_k, x)``, h learned on the open days' sum of users whose horizon has
    passed.

    Args:
        past: (n, H), active on each day of the horizon, or how much, all of them known: leave out users whose horizon
            has not passed, for a day that is not over is no silent day.
        days: k, 0 to H.
        regression: how h is learned.
        covariates: (n, q) known before the first day; None: none.

    Returns:
        A function: first k days (m, k), or more, and covariates (m, q) -> expected active days over the horizon (m,).

    Raises:
        ValueError: k lies outside 0 to H, or a day is no number; or, of the function, fewer days than k.

    Source: Zhang, Zhao, Le, Dimakopoulou and Kallus 2023, Evaluating the surrogate index as a decision-making tool
    using 200 A/B tests at Netflix.
    """
    if past.ndim != 2 or not len(past) or not (np.abs(past) < _LARGEST).all():
        raise ValueError(
            f"past expected a row of finite days for each user, got shape {past.shape} or others: leave out users "
            "whose horizon has not passed"
        )
    horizon = past.shape[1]
    if not 0 <= days <= horizon:
        raise ValueError(f"days expected from 0 to the horizon, {horizon}, got {days}")

    def features(seen: npt.NDArray[Any], others: Doubles | None) -> Doubles:
        told = described(seen[:, :days])
        return told if others is None else np.concatenate([told, others], axis=1)

    rest = past[:, days:].sum(1, dtype=np.float64)
    h = regression(features(past, covariates), rest) if days < horizon else None

    def surrogate(seen: npt.NDArray[Any], others: Doubles | None = None) -> Doubles:
        if seen.shape[1] < days:
            raise ValueError(f"expected at least {days} days, got {seen.shape[1]}: wait, or learn on fewer")
        if not np.isfinite(seen[:, :days]).all():
            raise ValueError(f"expected {days} finite days of each user, got others: leave out users who are not known")
        so_far = seen[:, :days].sum(1, dtype=np.float64)
        return so_far if h is None else so_far + h(features(seen, others))

    return surrogate


def reward_surrogate(
    function: RewardFunction,
    events: pl.DataFrame,
    *,
    day: int,
    days: Sequence[int],
    items_table: pl.DataFrame | None = None,
    history_start: date | None = None,
) -> pl.DataFrame:
    """The reward model as a surrogate: days seen plus its forecast, from the latest state, of the days still open.

    Args:
        function: whose outcome is the activity trace of a user.
        events: histories from their beginning, of the users of a test, in UTC; none is read before its time.
        day: D, the day (since 1970-01-01, in the log's time zone) on which the users entered the test: those with an
            event on it are told of, from their last one.
        days: the k's: when day D + k is over.
        items_table: features of items that the artefact does not hold.
        history_start: the first day the given histories cover; None: the training log's first day.

    Returns:
        ``user_id`` and a column for each k, by its number, in `RewardFunction.unit`; a row for each user, sorted.

    Raises:
        SchemaError: see `RewardFunction.score_events`.
        ValueError: no user has an event on the day.
    """
    zone, starts_at = function.features.timezone, function.features.day_starts_at
    entered = local_day(zone, starts_at=starts_at) == day
    there = events.select(USER, TIMESTAMP).with_row_index("row").filter(entered)
    anchors = there.sort(TIMESTAMP, "row").group_by(USER).agg(pl.col("row").last()).sort(USER)
    if anchors.is_empty():
        raise ValueError(f"expected users with an event on day {day}, got none: give the day the test began on")
    told = function.values_as_of(
        events,
        [midnight(day + k + 1, zone, starts_at) for k in days],
        items_table=items_table,
        history_start=history_start,
    )[anchors["row"].to_numpy()]
    found = {str(k): column for k, column in zip(days, told.T, strict=True)}
    return pl.DataFrame({USER: anchors[USER], **found})


def effects_by_test(test: Ints, treated: npt.NDArray[np.bool_], values: npt.ArrayLike) -> Effects:
    """Effects of many tests at once, from a row for each user.

    Args:
        test: (n,) code of each row's test, from 0 and without gaps; one row a user of a test.
        treated: (n,) bool.
        values: (n,) the outcome, or (n, K) a surrogate, a column a day.

    Raises:
        ValueError: shapes do not fit, a number is not finite or its square is none, or an arm of a test has fewer
            than 2 users.

    >>> effects_by_test(np.zeros(4, int), np.array([True, True, False, False]), [3.0, 5.0, 1.0, 1.0])
    Effects(effect=array([3.]), se=array([1.]))

    """
    given = np.asarray(values, np.float64)
    if (
        given.ndim not in (1, 2)
        or np.ndim(test) != 1
        or np.ndim(treated) != 1
        or not len(test) == len(treated) == len(given)
    ):
        raise ValueError(
            "expected a test, an arm and values for each row, got shapes "
            f"{np.shape(test)}, {np.shape(treated)} and {given.shape}"
        )
    if not (np.abs(given) < _MOST).all():
        raise ValueError("values expected finite numbers: a user whose days are not known yet has no outcome")
    check_codes(test, len(given))
    test = test.astype(np.int64)
    if treated.dtype != np.bool_:
        raise ValueError(f"treated expected booleans, got {treated.dtype}: compare the arm with its name")
    columns = given.reshape(len(given), -1)
    tests = int(test.max(initial=-1)) + 1
    if tests > len(given):
        raise ValueError(f"expected codes of tests from 0 without gaps, got {tests - 1} among {len(given)} rows")
    arm = 2 * test + treated
    count = np.bincount(arm, minlength=2 * tests).astype(np.float64)
    if not tests or count.min() < 2:
        raise ValueError(f"expected at least 2 users in each arm of each test, got {int(min(count, default=0))}")
    mean = sums_by(arm, columns, 2 * tests) / count[:, None]
    spread = sums_by(arm, (columns - mean[arm]) ** 2, 2 * tests) / (count * (count - 1))[:, None]
    shape = (tests, *given.shape[1:])
    return Effects((mean[1::2] - mean[::2]).reshape(shape), np.sqrt(spread[1::2] + spread[::2]).reshape(shape))


def launch_decisions(effects: Effects, *, alpha: float) -> Ints:
    """1 where an effect is significantly above 0, −1 below, 0 else; by a two-sided test of level ``alpha``.

    Without any spread, and so without an error, only an effect of exactly 0 is none.

    Raises:
        ValueError: alpha lies outside (0, 1), an effect is not finite, or a standard error is below 0 or NaN.
    """
    check_alpha(alpha)
    if not (np.isfinite(effects.effect).all() and (effects.se >= 0).all()):
        raise ValueError("launch_decisions expected finite effects and standard errors of at least 0, got others")
    beyond = np.abs(effects.effect) > normal(1 - alpha) * effects.se
    return (np.sign(effects.effect) * beyond).astype(np.int64)


def agreement(
    outcome: Effects,
    surrogates: Mapping[str, Effects],
    days: Sequence[int],
    *,
    alpha: float,
    resamples: int,
    seed: int,
    level: float,
    cluster: Ints | None = None,
) -> pl.DataFrame:
    """Would a decision on day k have been the one at the full horizon?

    A test is *up*, *down* or neither, see `launch_decisions`; an up one is launched.

    - consistent: share of tests with the same of the three.
    - recall: of the tests that the outcome launches, the share that the surrogate launches.
    - precision: of the tests that the surrogate launches, the share that the outcome launches.
    - reversals: share of tests that are up by one and down by the other.
    - sensitivity: Σ |z| of the surrogate over Σ |z| of the outcome. Noise alone has a mean |z| of .8.

    The outcome is noisy itself, and its noise is in part that of the first days: agreement is not truth, and tests that
    do nothing agree by doing nothing. Read consistency beside recall.

    Args:
        outcome: (T,) of the full horizon.
        surrogates: by name, (T, K): a column a day.
        days: the K days after which the surrogates are read.
        alpha: level of the tests.
        resamples: of whole clusters.
        seed: of the resamples.
        level: share of the resamples inside the interval.
        cluster: (T,) code from 0 of what each belongs to: arms that share a control are one; None: each is its own.

    Returns:
        ``surrogate``, ``day``, ``measure``, ``value``, ``low`` and ``high``. Null where nothing is launched; an
        interval is null where a resample leaves the measure undefined.

    Raises:
        ValueError: shapes do not fit, or see `launch_decisions` and `interval`.

    Source: Zhang et al. 2023, as `auto_surrogate`.
    """
    read = np.asarray(days)
    if read.ndim != 1 or read.dtype.kind not in "iu" or outcome.effect.ndim != 1:
        raise ValueError(
            f"expected whole days and one effect a test, got days {days!r} and effects of shape {outcome.effect.shape}"
        )
    tests, shape = len(outcome.effect), (len(outcome.effect), len(read))
    group = np.arange(tests) if cluster is None else cluster
    if group.shape != (tests,):
        raise ValueError(f"cluster expected a code for each of {tests} tests, got shape {group.shape}")
    check_codes(group, tests)
    long = launch_decisions(outcome, alpha=alpha)[:, None]
    frames = []
    for name, effects in surrogates.items():
        if effects.effect.shape != shape:
            raise ValueError(
                f"{name} expected effects of {tests} tests after {len(days)} days, shape {shape}, got "
                f"{effects.effect.shape}"
            )
        short = launch_decisions(effects, alpha=alpha)
        both, one = (short > 0) & (long > 0), np.ones(shape)
        parts = [
            (short == long, one),
            (both, (long > 0) * one),
            (both, short > 0),
            (short * long < 0, one),
            (_sureness(effects), _sureness(outcome)[:, None] * one),
        ]
        above, below = (np.concatenate([part[side] for part in parts], axis=1) for side in (0, 1))
        statistic, groups = ratio(above, below, group), int(group.max()) + 1
        low, high = interval(statistic, groups, resamples=resamples, seed=seed, level=level)
        frames.append(
            pl.DataFrame(
                {
                    "surrogate": np.repeat(name, above.shape[1]),
                    "day": np.tile(np.asarray(days, np.int64), len(parts)),
                    "measure": np.repeat(MEASURES, len(days)),
                    "value": statistic(np.ones(groups)),
                    "low": low,
                    "high": high,
                }
            ).with_columns(pl.col("value", "low", "high").fill_nan(None))
        )
    return pl.concat(frames)


def _sureness(effects: Effects) -> Doubles:
    return np.abs(np.divide(effects.effect, effects.se, out=np.zeros_like(effects.effect), where=effects.se > 0))
