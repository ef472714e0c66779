"""How a value comes about: before an exposure, with it, and after its feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.columns import ITEM
from reward.evaluation.estimates import (
    PREVIOUS,
    ROUNDING,
    SCORES,
    Estimate,
    Flat,
    Sample,
    Spread,
    covariances_of,
    grouped,
    numbers_of,
    of_log,
    spread,
)
from reward.records import Kept
from reward.statistics.bootstrap import quotient, ratio

_BARS = 60  # of a histogram, which spans the middle 99% of the rows


_Spread = Annotated[Spread, Kept(flat=True)]


@dataclass(frozen=True)
class Step:
    """One of the three steps of the value.

    Attributes:
        name: arrival, exposure or surprise.
        rows: that have it.
        mean: over these.
        spread: over these.
    """

    name: Annotated[str, Kept("step")]
    rows: int
    mean: Flat
    spread: _Spread


@dataclass(frozen=True)
class ItemGroup:
    """Items of a similar click rate.

    Attributes:
        rate: their mean click rate, among users of the other half.
        rows: of these items.
        items: how many they are.
        surprise: its mean over the rows.
    """

    rate: float
    rows: int
    items: int
    surprise: Flat


@dataclass(frozen=True)
class ValueDecomposition:
    """How a value comes about, step by step.

    Attributes:
        steps: arrival, exposure and surprise.
        largest_difference: of reward and exposure step, over the rows.
        reward_is_exposure: they are the same on every row, but for rounding.
        correlation: of reward and exposure step, over rows.
        surprise_by_rate: its mean in groups of items; empty where there is no click or too few rows.
        slope: of surprise on an item's click rate.
    """

    steps: tuple[Step, ...]
    largest_difference: Annotated[float, Kept("reward_off")]
    reward_is_exposure: bool
    correlation: Annotated[Estimate, Kept("reward_and_exposure")]
    surprise_by_rate: Annotated[tuple[ItemGroup, ...], Kept("surprise")]
    slope: Estimate


@dataclass(frozen=True)
class Histogram:
    """Counts of values between edges over the middle 99% of them, and how many lie below and above."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    above: int


@dataclass(frozen=True)
class Distribution:
    """How values are distributed over rows."""

    spread: _Spread
    mean: float
    histogram: Histogram


@dataclass(frozen=True)
class ItemCorrelation:
    """A correlation over items, weighted by rows, and of how many items."""

    estimate: Flat
    items: int


@dataclass(frozen=True)
class RewardDistribution:
    """How rewards and their standard deviations are distributed.

    Attributes:
        reward: over rows.
        std: its standard deviation, over rows.
        beyond_two_std: the share of rows whose reward is more than two of its standard deviations away from zero.
        click_correlation: of an item's mean reward and its click rate.
    """

    reward: Annotated[Distribution, Kept(flat=True)]
    std: Distribution
    beyond_two_std: Estimate
    click_correlation: Annotated[ItemCorrelation, Kept("correlation")]


def value_decomposition(
    rows: pl.DataFrame, click: str | None, bins: int, min_item_rows: int, sample: Sample
) -> ValueDecomposition:
    """The three steps of the value, whether the reward is one of them, and whether surprise goes with click rate."""
    before, exposed, after, reward = (numbers_of(rows, name) for name in SCORES[:4])
    previous = numbers_of(rows, PREVIOUS)
    later = np.isfinite(previous)
    start = np.where(later, previous, before)
    exposure, surprise = exposed - before, after - exposed
    steps = []
    for name, change, taken in (
        ("arrival", before - start, later),
        ("exposure", exposure, np.ones_like(later)),
        ("surprise", surprise, np.ones_like(later)),
    ):
        mean = ratio(np.where(taken, change, 0.0)[:, None], taken[:, None], sample.user)
        [estimate] = sample.estimates(mean, f"mean {name}", "no row has a value_previous")
        steps.append(Step(name, int(taken.sum()), estimate, spread(change[taken])))
    off, together = _reward_and_exposure(reward, exposure, sample)
    groups, slope = _surprise_by_rate(surprise, rows, click, bins, min_item_rows, sample)
    return ValueDecomposition(tuple(steps), off, off <= ROUNDING, together, groups, slope)


def _reward_and_exposure(reward: Doubles, exposure: Doubles, sample: Sample) -> tuple[float, Estimate]:
    """By how much they differ at most, and their correlation over rows."""
    scale = np.array([reward.std() * exposure.std()])
    covariances = covariances_of(np.ones(len(reward), bool), exposure, reward, sample)
    [together] = sample.estimates(
        lambda weights: quotient(covariances(weights)[0], scale),
        "correlation of reward with exposure",
        "one of the two does not vary",
    )
    return float(np.abs(reward - exposure).max()), together


def _surprise_by_rate(
    surprise: Doubles, rows: pl.DataFrame, click: str | None, bins: int, min_item_rows: int, sample: Sample
) -> tuple[tuple[ItemGroup, ...], Estimate]:
    """Mean surprise in groups of items by their click rate among the other half of the users, and its slope."""
    if click is None:
        return (), Estimate()
    codes, item = np.unique(rows[ITEM].to_numpy(), return_inverse=True)
    half = (np.random.default_rng(sample.seed).permutation(sample.users) % 2)[sample.user]
    cell = 2 * item + half
    count = np.bincount(cell, minlength=2 * len(codes))
    clicks = np.bincount(cell, numbers_of(rows, of_log(click)), minlength=2 * len(codes))
    other = 2 * item + 1 - half
    there = count[other] >= min_item_rows
    if not there.any():
        sample.lack(
            f"surprise by {click}", f"no item has min_item_rows={min_item_rows} rows in either half of the users"
        )
        return (), Estimate()
    rate = clicks[other[there]] / count[other[there]]
    surprise, item = surprise[there], item[there]
    inside, sizes = grouped(rate, bins)
    statistic = sample.ratio_over(there, surprise[:, None] * inside, inside)
    means = sample.estimates(statistic, f"surprise by {click}", "no row is in the group")
    rates = rate @ inside / sizes
    groups = tuple(
        ItemGroup(float(mean_rate), int(size), len(np.unique(item[members])), mean)
        for mean_rate, size, members, mean in zip(rates, sizes, inside.T, means, strict=True)
    )
    covariances = covariances_of(there, rate, surprise, sample)

    def slope(weights: Doubles) -> Doubles:
        covariance, variance = covariances(weights)
        return quotient(covariance, variance)

    [estimate] = sample.estimates(slope, f"slope of surprise on {click}", f"all items have one mean {click}")
    return groups, estimate


def reward_distribution(
    rows: pl.DataFrame, click: str | None, min_item_rows: int, sample: Sample
) -> RewardDistribution:
    """How rewards and their standard deviations are distributed, and whether the reward is clickability."""
    reward, std = numbers_of(rows, "reward"), numbers_of(rows, "reward_std")
    clear = Estimate()
    if std.any():
        beyond = (np.abs(reward) > 2 * std)[:, None]
        [clear] = sample.estimates(ratio(beyond, np.ones_like(beyond), sample.user), "rewards beyond 2 std", "no rows")
    else:
        sample.lack("share of rewards beyond 2 reward_std", "reward_std is 0 on every row, as in an ensemble of one")
    correlation, items = _clickability(reward, rows, click, min_item_rows, sample)
    of_reward, of_std = (Distribution(spread(it), float(it.mean()), _histogram(it)) for it in (reward, std))
    return RewardDistribution(of_reward, of_std, clear, ItemCorrelation(correlation, items))


def _clickability(
    reward: Doubles, rows: pl.DataFrame, click: str | None, min_item_rows: int, sample: Sample
) -> tuple[Estimate, int]:
    """Correlation of items' mean reward with their click rate, weighted by rows, and how many items have both."""
    _, item, count = np.unique(rows[ITEM].to_numpy(), return_inverse=True, return_counts=True)
    there = count[item] >= min_item_rows
    items = int((count >= min_item_rows).sum())
    if click is None:
        return Estimate(), items
    if items < 3:
        sample.lack(
            f"correlation of reward with {click}",
            f"it needs 3 items with min_item_rows={min_item_rows} rows or more, and there are {items}",
        )
        return Estimate(), items
    reward, clicks = (
        column - column[there][0] for column in (reward, numbers_of(rows, of_log(click)))
    )  # a constant is 0
    means, rates = ((np.bincount(item, column) / count)[item][there] for column in (reward, clicks))
    scale = np.array([means.std() * rates.std()])
    covariances = covariances_of(there, rates, reward[there], sample)
    [found] = sample.estimates(
        lambda weights: quotient(covariances(weights)[0], scale),
        f"correlation of reward with {click}",
        "one of the two does not vary",
    )
    return found, items


def _histogram(values: Doubles) -> Histogram:
    """Counts between edges over the middle 99% of the values, and how many lie outside."""
    low, high = np.quantile(values, [0.005, 0.995])
    span = (low, high) if high > low else (low - abs(low) / 2, high + abs(high) / 2 or 1.0)  # all alike: one bar
    counts, edges = np.histogram(values, _BARS, range=span)
    below, above = int((values < low).sum()), int((values > high).sum())
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), below, above)
