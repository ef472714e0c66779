"""The truth: what one exposure does to active days, and what a policy does in the long run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.columns import ITEM
from reward.data.event_log import SchemaError
from reward.simulation.policies import logging_policy
from reward.simulation.service import (
    Policy,
    Service,
    State,
    Swap,
    click_logit,
    context_logit,
    first_state,
    impulse,
    match_of,
    open_service,
    plan,
    satisfaction_of,
    simulate,
    visiting,
    visitors,
)
from reward.simulation.world import World, sigmoid


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


@dataclass(frozen=True)
class Pairs:
    """Paired runs that differ by one exposure, and what theory expects of them to first order.

    P parents are visits, each run once with nothing at one position and once with each of M items there.

    Attributes:
        user: (P,).
        weight: (P,) slates of the visit's day.
        item: (P, M).
        difference: (P, M) active days over the horizon, minus those of the run with nothing there.
        predicted: (P, M) first-order difference, given the satisfaction that the exposure gave.
        expected: (P, items) mean of ``predicted`` over what the exposure may give; NaN for items not live.
        type: (items,) content type.
    """

    user: Ints
    weight: Doubles
    item: Ints
    difference: Doubles
    predicted: Doubles
    expected: Doubles
    type: Ints


def paired_runs(
    service: Service,
    policy: Policy,
    *,
    horizon_days: int,
    days: Iterable[int],
    parents_per_day: int,
    items_per_parent: int,
    draw: int = 1,
    block: int = 400,
) -> Pairs:
    """Swaps one exposure of visits that happen under ``policy``, and lets both lives go on with the same luck.

    The outcome of a run is the sum of its visit *probabilities*, not of its visits: same mean, far less noise.

    Args:
        service: where.
        policy: what fills all other slots.
        horizon_days: days, from the one after the exposure, over which active days count.
        days: days of the exposures.
        parents_per_day: visits looked at on each of them.
        items_per_parent: items tried in each.
        draw: luck from the exposure on; the days before it are those of the log (draw 0).
        block: visits whose runs are made together.

    Raises:
        ValueError: a run would leave the calendar.
    """
    state = first_state(service)
    rng = np.random.default_rng([service.seed, draw, 3])
    found = []
    for day in sorted(days):
        state = simulate(service, policy, state, day - state.day).state
        there = np.flatnonzero(visitors(service, state, draw, visiting(service, state)[0]))
        parents = rng.permutation(there)[:parents_per_day]
        live = service.catalogue.live(day)
        rounds = -(-len(parents) * items_per_parent // len(live))
        items = rng.permuted(np.tile(live, (rounds, 1)), axis=1).ravel()[: len(parents) * items_per_parent]
        items = items.reshape(len(parents), items_per_parent)
        position = rng.integers(0, service.world.slate_size, len(parents))
        for first in range(0, len(parents), block):
            part = slice(first, first + block)
            found.append(
                _pairs(service, policy, state.of(parents[part]), items[part], position[part], horizon_days, draw)
            )
    rows = (name for name in Pairs.__dataclass_fields__ if name != "type")
    return Pairs(
        type=service.catalogue.type, **{name: np.concatenate([getattr(it, name) for it in found]) for name in rows}
    )


def effects(pairs: Pairs, segment: Ints, group: Ints) -> Effects:
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
        found = effects(pairs, segments_of(service), service.catalogue.kind)
        mean, se = found.mean, found.se
    frame = pl.DataFrame({ITEM: items, "effect": mean, "effect_se": se})
    return frame.filter(pl.col("effect").is_finite() & pl.col("effect_se").is_finite())


def segments_of(service: Service) -> Ints:
    """(users,) six segments: third of base activity (the least active first), twice, by the sign of the first taste."""
    base, taste = service.population.base, service.population.taste[:, 0]
    third = np.searchsorted(np.quantile(base, [1 / 3, 2 / 3]), base)
    return 2 * third + (taste > 0)


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


def _pairs(
    service: Service, policy: Policy, parents: State, item: Ints, position: Ints, horizon_days: int, draw: int
) -> Pairs:
    n, tried = item.shape
    world, day, live = service.world, parents.day, service.catalogue.live(parents.day)
    lives = np.repeat(np.arange(n), tried + 1)
    shown = np.concatenate([np.full((n, 1), -1), item], axis=1)
    run = simulate(
        service,
        policy,
        parents.of(lives),
        horizon_days + 1,
        draw=draw,
        swap=Swap(np.repeat(position, tried + 1), shown.ravel()),
    )
    total = run.visit[1:].sum(axis=0, dtype=np.float64).reshape(n, tried + 1)
    lasting = run.slope[1:, :: tried + 1].T.astype(np.float64) @ impulse(world, horizon_days)  # (n, types)
    kind = service.catalogue.type
    got = run.first_satisfaction.reshape(n, tried + 1)[:, 1:]
    slates, surfaces = plan(service, day, draw)
    match, seen = match_of(service, parents.users, live), parents.seen[:, live]
    context = context_logit(world, surfaces[parents.users, 0])[np.arange(n), position]
    click = sigmoid(click_logit(service, day, live, match, seen) + context[:, None])
    expected = np.full((n, len(kind)), np.nan)
    expected[:, live] = lasting[:, kind[live]] * click * satisfaction_of(service, live, match, seen)
    return Pairs(
        user=parents.users,
        weight=slates[parents.users].astype(np.float64),
        item=item,
        difference=total[:, 1:] - total[:, :1],
        predicted=np.take_along_axis(lasting, kind[item], axis=1) * got,
        expected=expected,
        type=kind,
    )


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


def _mean(values: Doubles) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
