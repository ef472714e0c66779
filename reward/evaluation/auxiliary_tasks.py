"""How good predictions of auxiliary tasks are: their skill over the average, and whether they are calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles
from reward.columns import USER
from reward.evaluation.estimates import SLICE, Estimate, estimate_of
from reward.records import Kept
from reward.statistics.bootstrap import Statistic, interval, ratio


@dataclass(frozen=True)
class TaskPart:
    """One part of an outcome, such as a day: its mean as predicted and as observed, and the ratio of the two."""

    name: Annotated[str, Kept("part")]
    predicted: Estimate
    observed: Estimate
    ratio: Estimate


@dataclass(frozen=True)
class TaskSlice:
    """Predicted over observed in one slice of the rows."""

    name: Annotated[str, Kept("slice")]
    ratio: Estimate


@dataclass(frozen=True)
class AuxiliaryTask:
    """How good the prediction of an auxiliary outcome is.

    Attributes:
        unit: of the sum of its parts.
        rows: of which something is known.
        users: of these rows.
        reason: why nothing was measured; None: it was.
        skill: share of the squared error that the average leaves and the prediction does not.
        parts: of the outcome.
        slices: of the rows, all of them first.
    """

    unit: str
    rows: int
    users: int
    reason: str | None = None
    skill: Annotated[Estimate | None, Kept(omit_empty=True)] = None
    parts: Annotated[tuple[TaskPart, ...], Kept(omit_empty=True)] = ()
    slices: Annotated[tuple[TaskSlice, ...], Kept(omit_empty=True)] = ()


def assess_auxiliary(
    predicted: Doubles,
    outcome: Doubles,
    known: Bools,
    average: Doubles,
    *,
    rows: pl.DataFrame,
    unit: str,
    parts: list[str],
    resamples: int,
    seed: int,
    level: float,
    min_slice_users: int,
) -> AuxiliaryTask:
    """Measure the prediction of an outcome that has parts, such as the days of a horizon.

    ``skill`` is 1 − Σ (outcome − predicted)² / Σ (outcome − average)² over the known parts of all rows: 0 for the
    average of what training knew, 1 for no error. ``predicted`` and ``observed`` are sums over parts of the means over
    the rows that know them; their ratio is 1 where the prediction is calibrated in the large.

    Args:
        predicted: (n, k).
        outcome: (n, k).
        known: (n, k), which parts the log knows.
        average: (k,), of the outcome in what training saw; nan where it saw none: the part is left out of the skill.
        rows: the n rows: ``user_id`` and any bool columns ``slice: …``.
        unit: of the sum of the parts.
        parts: k names.
        resamples: number of resamples of users.
        seed: of the resamples.
        level: of the intervals, in (0, 1).
        min_slice_users: a slice with fewer is left out.

    Returns:
        ``unit``, ``rows``, ``users``, ``skill``, ``ratio``, ``parts`` (predicted and observed mean and ratio of each)
        and ``slices`` (ratio of each), estimates with intervals; ``reason`` where nothing can be measured, else None.

    Raises:
        ValueError: a prediction or an outcome that is known is not finite.
    """
    some = known.any(1)
    codes, user = np.unique(rows[USER].to_numpy()[some], return_inverse=True)
    if len(codes) < 2:
        reason = "the test days have this outcome of fewer than two users"
        return AuxiliaryTask(unit, int(some.sum()), len(codes), reason)
    predicted, outcome, known = predicted[some], outcome[some], known[some]
    odd = known & ~(np.isfinite(predicted) & np.isfinite(outcome))
    if odd.any():
        raise ValueError(f"expected finite predictions and outcomes where they are known, got {int(odd.sum())} others")

    def estimates(statistic: Statistic) -> list[Estimate]:
        values = statistic(np.ones(len(codes)))
        low, high = interval(statistic, len(codes), resamples=resamples, seed=seed, level=level)
        return [estimate_of(*each) for each in zip(values, low, high, strict=True)]

    comparable = known & np.isfinite(average)
    error, spread = (
        (np.where(comparable, outcome - against, 0.0) ** 2).sum(1, keepdims=True) for against in (predicted, average)
    )
    skill = ratio(error, spread, user)
    expected, came = np.where(known, predicted, 0.0), np.where(known, outcome, 0.0)
    slices = {"all rows": np.ones(len(user), bool)}
    for name in rows.columns:
        if name.startswith(SLICE):
            inside = rows[name].to_numpy()[some]
            if len(np.unique(user[inside])) >= min_slice_users:
                slices[name.removeprefix(SLICE)] = inside
    inside = np.stack(list(slices.values()), 1)
    above, below = (part.sum(1, keepdims=True) * inside for part in (expected, came))
    means = [estimates(ratio(part, known, user)) for part in (expected, came)]
    ratios = estimates(ratio(expected, came, user))
    return AuxiliaryTask(
        unit,
        int(some.sum()),
        len(codes),
        skill=estimates(lambda weights: 1 - skill(weights))[0],
        parts=tuple(TaskPart(*each) for each in zip(parts, *means, ratios, strict=True)),
        slices=tuple(map(TaskSlice, slices, estimates(ratio(above, below, user)))),
    )
