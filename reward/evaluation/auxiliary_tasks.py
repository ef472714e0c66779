"""How good predictions of auxiliary tasks are: their skill over the average, and whether they are calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Annotated

import polars as pl

from reward.arrays import Bools, Doubles
from reward.columns import USER
from reward.evaluation.auxiliary_sums import ALL, AuxiliaryRows, AuxiliarySums
from reward.evaluation.estimates import SLICE, Estimate, estimate_of
from reward.records import Kept
from reward.statistics.bootstrap import Resamples, percentiles
from reward.statistics.sums import total


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
    slices = {name: rows[name].to_numpy() for name in rows.columns if name.startswith(SLICE)}
    sums = AuxiliarySums(average, Resamples(resamples, seed))
    state = total([sums.partial(AuxiliaryRows(predicted, outcome, known, slices, rows[USER].to_numpy()))])
    count, users = state.slices.sizes[0].tolist()
    if users < 2:
        return AuxiliaryTask(unit, count, users, "the test days have this outcome of fewer than two users")
    table = sums.solve(state)

    def estimates(draws: Doubles) -> list[Estimate]:
        low, high = percentiles(draws[1:], level)
        return [estimate_of(*each) for each in zip(draws[0], low, high, strict=True)]

    columns = map(estimates, (table.predicted, table.observed, table.ratio))
    names = [ALL, *(name.removeprefix(SLICE) for name in slices)]
    large = [at == 0 or size >= min_slice_users for at, (_, size) in enumerate(table.slices.sizes.tolist())]
    sliced = compress(zip(names, estimates(table.slices.ratios[:, 0]), strict=True), large)
    return AuxiliaryTask(
        unit,
        count,
        users,
        skill=estimates(table.skill)[0],
        parts=tuple(TaskPart(*each) for each in zip(parts, *columns, strict=True)),
        slices=tuple(TaskSlice(*each) for each in sliced),
    )
