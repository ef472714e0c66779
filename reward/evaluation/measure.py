"""Metrics with intervals, day by day and over the horizon, alone and in comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles, Ints
from reward.evaluation.metric_table import BY_DAY, WHOLE, JudgedRows, MetricEstimator, MetricTable
from reward.statistics.bootstrap import Resamples, percentiles
from reward.statistics.sums import fold


@dataclass(frozen=True)
class Measurement:
    """One metric on one day, or over the horizon, with its interval.

    Attributes:
        metric: ``log_loss``, ``brier``, ``auc``, ``calibration_error``, ``c_index``,
            ``active_days_predicted``, ``active_days_observed`` or ``active_days_ratio``.
        day: the day after the row's, from 1; None: over the horizon.
        value: the metric, or the difference of two; nan where it is undefined.
        low: lower end of the interval.
        high: its upper end.
        rows: number of rows with something observed for this metric and day.
        users: number of users these rows are of.

    """

    metric: str
    day: int | None
    value: float
    low: float
    high: float
    rows: int
    users: int


class Resampled(TypedDict):
    """Whose rows are measured, and how: keyword arguments of `evaluate` and `compare`.

    Attributes:
        user: (n,) whole numbers or texts: whose row it is. A user's weights in the resamples depend on this id alone.
        resamples: number of resamples of users.
        seed: the same seed gives the same intervals.
        level: of the intervals, in (0, 1).
        bins: number of bins of the calibration error.
    """

    user: Ints
    resamples: int
    seed: int
    level: float
    bins: int


def evaluate(
    probabilities: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    **asked: Unpack[Resampled],
) -> list[Measurement]:
    """Every metric of one prediction, by day and over the horizon, with an interval that resamples users.

    ``c_index`` scores a row at day t by the predicted probability of having returned by then. Intervals are
    percentiles of the resamples. That of ``calibration_error`` is reversed around the value,
    ``[2 · value − high, 2 · value − low]``: resampling adds a second time the noise that lifts this metric,
    and the reversal takes it off, so the interval of a nearly calibrated model lies mostly below its value.

    Args:
        probabilities: (n, H), in [0, 1] where observed.
        trace: bool (n, H): was active.
        observed: bool (n, H): the bit is known.
        asked: see `Resampled`.

    Returns:
        For each metric by day one measurement over the horizon and one a day, then ``c_index`` and the three
        of ``active_days``.

    Raises:
        ValueError: nothing is observed, fewer than 2 users, or as in `log_loss`.

    >>> trace = np.array([[True, False], [False, False], [True, True]])
    >>> asked = {"user": np.array([0, 1, 2]), "resamples": 20, "seed": 0, "level": 0.9, "bins": 2}
    >>> table = evaluate(np.full((3, 2), 0.5), trace, np.ones((3, 2), dtype=bool), **asked)
    >>> [(row.metric, row.value) for row in table if row.day is None][1:3]
    [('brier', 0.25), ('auc', 0.5)]

    """
    return evaluate_against({"": probabilities}, "", trace, observed, **asked)[0][""]


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    trace: Bools,
    observed: Bools,
    **asked: Unpack[Resampled],
) -> list[Measurement]:
    """Every metric of one prediction minus that of another on the same rows.

    The interval is of the difference: both are measured on the same resamples, so what they share cancels.
    A negative difference in log-loss says that the first is better.

    Args:
        first: probabilities (n, H).
        second: probabilities (n, H).
        trace: as in `evaluate`.
        observed: as in `evaluate`.
        asked: see `Resampled`.

    Returns:
        What `evaluate` returns, without ``active_days_observed``, which is one number for both.

    Raises:
        ValueError: as in `evaluate`.

    """
    return evaluate_against({"first": first, "second": second}, "first", trace, observed, **asked)[1]["second"]


def evaluate_against(
    predictions: Mapping[str, npt.ArrayLike],
    first: str,
    trace: Bools,
    observed: Bools,
    *,
    user: Ints,
    resamples: int,
    seed: int,
    level: float,
    bins: int,
    once: bool = False,
) -> tuple[dict[str, list[Measurement]], dict[str, list[Measurement]]]:
    """What `evaluate` says of each prediction, and `compare` of one against each other one: each is measured once.

    Args:
        predictions: probabilities (n, H), by name.
        first: name of the one that is compared with the others.
        trace: as in `evaluate`.
        observed: as in `evaluate`.
        user: see `Resampled`.
        resamples: see `Resampled`.
        seed: see `Resampled`.
        level: see `Resampled`.
        bins: see `Resampled`.
        once: at most one of a row's days can be set, so the chances of days add up to that of having come by then.

    Returns:
        By name what `evaluate` returns, and by name of each other prediction what `compare` returns.

    Raises:
        ValueError: as in `evaluate`.

    """
    metrics = MetricEstimator(Resamples(resamples, seed), bins, once)
    found = fold(metrics, [JudgedRows(predictions, trace, observed, user)])
    return compared(found, first, level)


def compared(
    table: MetricTable, first: str, level: float
) -> tuple[dict[str, list[Measurement]], dict[str, list[Measurement]]]:
    """The measurements of each prediction, by name, and those of the first minus each other one.

    Args:
        table: of all predictions.
        first: name of the one that is compared with the others.
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: a level outside (0, 1).
    """
    of = {name: place for place, name in enumerate(table.names)}
    lone = {name: measurements(table.values[:, at], table.sizes, level) for name, at in of.items()}
    pairs = {}
    for name in (name for name in of if name != first):
        with np.errstate(invalid="ignore"):  # the difference of two infinite losses is undefined
            difference = table.values[:, of[first]] - table.values[:, of[name]]
        found = measurements(difference, table.sizes, level)
        pairs[name] = [measured for measured in found if measured.metric != "active_days_observed"]
    return lone, pairs


def measurements(values: Doubles, sizes: Ints, level: float) -> list[Measurement]:
    """The metrics of one prediction, or of one minus another, with their intervals.

    Args:
        values: (1 + resamples, metrics), see `MetricTable`.
        sizes: see `MetricTable`.
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: a level outside (0, 1).
    """
    labels = [(metric, day) for metric in BY_DAY for day in (None, *range(1, len(sizes)))]
    labels += [(metric, None) for metric in WHOLE]
    value, (low, high) = values[0], percentiles(values[1:], level)
    lifted = np.array([metric == "calibration_error" for metric, _ in labels])
    low, high = np.where(lifted, 2 * value - high, low), np.where(lifted, 2 * value - low, high)
    of = [1 if metric == "c_index" else day or 0 for metric, day in labels]
    rows = zip(labels, value.tolist(), low.tolist(), high.tolist(), sizes[of].tolist(), strict=True)
    return [Measurement(metric, day, *numbers, *size) for (metric, day), *numbers, size in rows]
