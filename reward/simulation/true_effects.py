"""The truth: what showing an item once does to active days, pooled from paired runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.columns import ITEM
from reward.data.event_log import SchemaError
from reward.simulation.lives import Service, open_service
from reward.simulation.paired_runs import Pairs, paired_runs
from reward.simulation.slate_policies import logging_policy
from reward.simulation.world import World


@dataclass(frozen=True)
class Effects:
    """What showing an item once, rather than nothing in its place, adds to expected active days over the horizon.

    The mean is over visits as they happen under the policy, each weighted by its slates. NaN where an item was live on
    none of the days looked at.

    Attributes:
        mean: (items,) days.
        se: (items,) its standard error.
        paired_mean: (items,) the same with nothing pooled between items: unbiased and noisier.
        paired_se: (items,) its standard error.
        pairs: (items,) pairs of runs behind it.
        missed_spread: standard deviation between items of a group of what the first order misses, in days.
        by_segment: (items, segments) days.
        by_segment_se: (items, segments).
        personal_spread: standard deviation, in days, of what an exposure does to one user rather than another, over
            and above what the item does to all and the user has from all; to first order in the satisfaction.
    """

    mean: Doubles
    se: Doubles
    paired_mean: Doubles
    paired_se: Doubles
    pairs: Ints
    missed_spread: float
    by_segment: Doubles
    by_segment_se: Doubles
    personal_spread: float


def effects_from_pairs(pairs: Pairs, segment: Ints, group: Ints) -> Effects:
    """Effects of the items from paired runs.

    With d the paired difference, f its first-order prediction and f̄ the expectation of f, an item's effect is the mean
    over all visits of λ f̄, plus the mean over its pairs of d − λ f: the mean of d, whatever λ is, without the noise of
    who was asked and whether they clicked. λ is a slope a type. The second mean is small and noisy, so it is shrunk to
    its ``group``'s by its own variance and the variance it shows between items, as empirical Bayes does.

    Args:
        pairs: from `paired_runs`.
        segment: (users,) segment of each user, from 0.
        group: (items,) group of each item, from 0, within which what the first order misses is alike.
    """
    size, tried = pairs.expected.shape[1], pairs.item.shape[1]
    slope = np.array([_slope(pairs, pairs.type == one) for one in range(int(pairs.type.max()) + 1)])
    rest = (pairs.difference - slope[pairs.type[pairs.item]] * pairs.predicted).ravel()
    expected = slope[pairs.type] * pairs.expected
    item, weight, visit = (
        pairs.item.ravel(),
        np.repeat(pairs.weight, tried),
        np.repeat(np.arange(len(pairs.user)), tried),
    )
    first, first_variance = _means_over_visits(expected, pairs.weight)
    missed, missed_variance = _group_means(rest, weight, item, size)
    shrunk, shrunk_variance, spread = _shrink(missed, missed_variance, rest, weight, group, item)
    cells, cell_variances = [], []
    for one in range(int(segment.max()) + 1):
        mine = segment[pairs.user] == one
        mean, variance = _means_over_visits(expected[mine], pairs.weight[mine])
        own = mine[visit]
        shift, shift_variance = _group_means((rest - shrunk[item])[own], weight[own], np.zeros(own.sum(), np.int64), 1)
        cells.append(mean + shrunk + shift)
        cell_variances.append(variance + shrunk_variance + shift_variance)
    own = expected - first
    own = own - np.nanmean(own, axis=1, keepdims=True)
    return Effects(
        mean=first + shrunk,
        se=np.sqrt(first_variance + shrunk_variance),
        paired_mean=first + missed,
        paired_se=np.sqrt(first_variance + missed_variance),
        pairs=np.bincount(item, minlength=size),
        missed_spread=spread,
        by_segment=np.stack(cells, axis=1),
        by_segment_se=np.sqrt(np.stack(cell_variances, axis=1)),
        personal_spread=float(np.sqrt(np.nanmean(own**2))),
    )


def item_effects(
    world: World,
    *,
    seed: int,
    horizon_days: int,
    first_day: int,
    every_days: int,
    parents_per_day: int,
    items_per_parent: int,
) -> pl.DataFrame:
    """What showing each item once truly does under the logging policy, during the days of the world's log.

    Args:
        world: the world's constants.
        seed: of the log.
        horizon_days: as in `paired_runs`.
        first_day: of the log, from which exposures are looked at.
        every_days: days from one look to the next.
        parents_per_day: as in `paired_runs`.
        items_per_parent: the same.

    Returns:
        ``item_id``, ``effect`` and ``effect_se``, in active days over the horizon against nothing shown; a row for each
        item that was live on one of the days looked at.

    Raises:
        SchemaError: the log is too short for an exposure to be looked at over the horizon.
    """
    days = range(first_day, world.days - horizon_days, every_days)
    if not days:
        raise SchemaError(
            f"the truth expected a log of more than {first_day + horizon_days} days (truth.first_day and the horizon), "
            f"got {world.days}: set simulation.days higher or truth.first_day lower, or truth=null"
        )
    service = open_service(world, seed)
    items = np.arange(len(service.catalogue.kind))
    mean = se = np.zeros(len(items))
    if world.gain > 0:  # else nothing that is shown changes visiting
        pairs = paired_runs(
            service,
            logging_policy(service),
            horizon_days=horizon_days,
            days=days,
            parents_per_day=parents_per_day,
            items_per_parent=items_per_parent,
        )
        found = effects_from_pairs(pairs, segments_of(service), service.catalogue.kind)
        mean, se = found.mean, found.se
    frame = pl.DataFrame({ITEM: items, "effect": mean, "effect_se": se})
    return frame.filter(pl.col("effect").is_finite() & pl.col("effect_se").is_finite())


def segments_of(service: Service) -> Ints:
    """(users,) six segments: third of base activity (the least active first), twice, by the sign of the first taste."""
    base, taste = service.population.base, service.population.taste[:, 0]
    third = np.searchsorted(np.quantile(base, [1 / 3, 2 / 3]), base)
    return 2 * third + (taste > 0)


def _slope(pairs: Pairs, of_type: NDArray[np.bool_]) -> float:
    mine = of_type[pairs.item]
    squares = float((pairs.predicted[mine] ** 2).sum())
    return float((pairs.difference * pairs.predicted)[mine].sum()) / squares if squares > 0 else 0.0


def _means_over_visits(values: Doubles, weight: Doubles) -> tuple[Doubles, Doubles]:
    """Weighted means of the columns over rows that are not NaN, and their variances."""
    there = ~np.isnan(values)
    weights = there * weight[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=0)
        mean = np.where(there, weights * values, 0).sum(axis=0) / total
        return mean, np.where(there, (weights * (values - mean)) ** 2, 0).sum(axis=0) / total**2


def _group_means(values: Doubles, weight: Doubles, group: Ints, groups: int) -> tuple[Doubles, Doubles]:
    """Weighted means by group, and their variances."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.bincount(group, weight, groups)
        mean = np.bincount(group, weight * values, groups) / total
        return mean, np.bincount(group, (weight * (values - mean[group])) ** 2, groups) / total**2


def _shrink(
    mean: Doubles, variance: Doubles, values: Doubles, weight: Doubles, group: Ints, item: Ints
) -> tuple[Doubles, Doubles, float]:
    """Items' means shrunk to their groups': means, variances, and the standard deviation between items of a group."""
    prior, prior_variance = _group_means(values, weight, group[item], int(group.max()) + 1)
    known = np.bincount(item, minlength=len(mean)) > 1
    between = 0.0
    if known.any() and (variance[known] > 0).all():
        apart = (mean - prior[group])[known] ** 2 - variance[known]
        between = max(float(np.average(apart, weights=variance[known] ** -2.0)), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        trust = np.where(known & (between > 0), between / (between + variance), 0.0)
    shrunk = np.where(known, trust * np.nan_to_num(mean), 0.0) + (1 - trust) * prior[group]
    return shrunk, (1 - trust) * between + (1 - trust) ** 2 * prior_variance[group], between**0.5
