"""How a value comes about: before an exposure, with it, and after its feedback."""

from __future__ import annotations

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.columns import ITEM
from reward.evaluation.estimates import (
    NO_CLICK,
    PREVIOUS,
    ROUNDING,
    SCORES,
    Json,
    Sample,
    covariances_of,
    estimate_of,
    grouped,
    numbers_of,
    of_log,
    spread,
)
from reward.statistics.bootstrap import quotient
from reward.text import amount, percentage, side_of_zero

_BARS = 60  # of a histogram, which spans the middle 99% of the rows


def ledger(rows: pl.DataFrame, click: str | None, unit: str, bins: int, min_item_rows: int, sample: Sample) -> Json:
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
        mean = sample.ratio(np.where(taken, change, 0.0)[:, None], taken[:, None])
        [estimate] = sample.estimates(mean, f"mean {name}", "no row has a value_previous")
        steps.append({"step": name, "rows": int(taken.sum()), **estimate, **spread(change[taken])})
    off, together = _reward_and_exposure(reward, exposure, sample)
    groups, slope = _surprise_by_rate(surprise, rows, click, bins, min_item_rows, sample)
    told, of_item = amount(slope, unit="", level=sample.level), f"an item's mean {click}"
    return {
        "steps": steps,
        "reward_off": off,
        "reward_is_exposure": off <= ROUNDING,
        "reward_and_exposure": together,
        "surprise": groups,
        "slope": slope,
        "sentences": [
            f"The reward is the exposure step on every row, within {off:.1g} {unit}."
            if off <= ROUNDING
            else "The reward is not the exposure step, which is a difference of forecasts: over rows their correlation "
            f"is {amount(together, unit='', level=sample.level)}.",
            NO_CLICK
            if click is None
            else {
                "above": f"Surprise rises with {of_item} (slope {told}): what gets much of it is underrated.",
                "open": f"Surprise does not depend on {of_item} as far as this log shows (slope {told}).",
                "below": f"Surprise falls with {of_item} (slope {told}): what gets much of it is overrated.",
                "unknown": f"Whether surprise depends on {of_item} cannot be said (slope: {told}).",
            }[side_of_zero(slope)],
        ],
    }


def _reward_and_exposure(reward: Doubles, exposure: Doubles, sample: Sample) -> tuple[float, Json]:
    """By how much they differ at most, and their correlation over rows."""
    covariance, _ = covariances_of(np.ones(len(reward), bool), exposure, reward, sample)
    [together] = sample.estimates(
        quotient(covariance, np.full_like(covariance, reward.std() * exposure.std())),
        "correlation of reward with exposure",
        "one of the two does not vary",
    )
    return float(np.abs(reward - exposure).max()), together


def _surprise_by_rate(
    surprise: Doubles, rows: pl.DataFrame, click: str | None, bins: int, min_item_rows: int, sample: Sample
) -> tuple[list[Json], Json]:
    """Mean surprise in groups of items by their click rate among the other half of the users, and its slope."""
    if click is None:
        return [], estimate_of(np.nan, np.nan, np.nan)
    codes, item = np.unique(rows[ITEM].to_numpy(), return_inverse=True)
    half = (np.random.default_rng(sample.seed).permutation(sample.users) % 2)[sample.user]
    cell = 2 * item + half
    count = np.bincount(cell, minlength=2 * len(codes))
    clicks = np.bincount(cell, numbers_of(rows, of_log(click)), minlength=2 * len(codes))
    other = 2 * item + 1 - half
    there = count[other] >= min_item_rows
    if not there.any():
        sample.notes.append(
            f"surprise by {click}: no item has min_item_rows={min_item_rows} rows in either half of the users"
        )
        return [], estimate_of(np.nan, np.nan, np.nan)
    rate = clicks[other[there]] / count[other[there]]
    surprise, item = surprise[there], item[there]
    inside, sizes = grouped(rate, bins)
    table = sample.ratio_over(there, surprise[:, None] * inside, inside)
    means = sample.estimates(table, f"surprise by {click}", "no row is in the group")
    rates = rate @ inside / sizes
    groups = [
        {"rate": float(mean_rate), "rows": int(size), "items": len(np.unique(item[members])), **mean}
        for mean_rate, size, members, mean in zip(rates, sizes, inside.T, means, strict=True)
    ]
    slope = quotient(*covariances_of(there, rate, surprise, sample))
    [estimate] = sample.estimates(slope, f"slope of surprise on {click}", f"all items have one mean {click}")
    return groups, estimate


def reward_account(rows: pl.DataFrame, click: str | None, min_item_rows: int, sample: Sample) -> Json:
    """How rewards and their standard deviations are distributed, and whether the reward is clickability."""
    reward, std = numbers_of(rows, "reward"), numbers_of(rows, "reward_std")
    clear = estimate_of(np.nan, np.nan, np.nan)
    if std.any():
        beyond = (np.abs(reward) > 2 * std)[:, None]
        [clear] = sample.estimates(sample.ratio(beyond, np.ones_like(beyond)), "rewards beyond 2 std", "no rows")
    else:
        sample.notes.append(
            "share of rewards beyond 2 reward_std: reward_std is 0 on every row, as in an ensemble of one"
        )
    correlation, items = _clickability(reward, rows, click, min_item_rows, sample)
    told, rate = amount(correlation, unit="", level=sample.level), f"its mean {click}"
    return {
        **spread(reward),
        "mean": float(reward.mean()),
        "histogram": _histogram(reward),
        "std": spread(std) | {"mean": float(std.mean()), "histogram": _histogram(std)},
        "beyond_two_std": clear,
        "correlation": correlation | {"items": items},
        "sentences": [
            "How many rewards stand out from their standard deviation cannot be said."
            if clear["value"] is None
            else f"On {percentage(clear, level=sample.level)} of the rows the reward is more than two of its standard "
            "deviations away from zero.",
            NO_CLICK
            if click is None
            else {
                "above": f"An item's mean reward rises with {rate} (correlation {told}).",
                "open": f"An item's mean reward does not go with {rate} as far as this log shows (correlation {told}).",
                "below": f"An item's mean reward falls with {rate} (correlation {told}).",
                "unknown": f"Whether an item's mean reward goes with {rate} cannot be said (correlation: {told}).",
            }[side_of_zero(correlation)],
        ],
    }


def _clickability(
    reward: Doubles, rows: pl.DataFrame, click: str | None, min_item_rows: int, sample: Sample
) -> tuple[Json, int]:
    """Correlation of items' mean reward with their click rate, weighted by rows, and how many items have both."""
    _, item, count = np.unique(rows[ITEM].to_numpy(), return_inverse=True, return_counts=True)
    there = count[item] >= min_item_rows
    items = int((count >= min_item_rows).sum())
    if click is None:
        return estimate_of(np.nan, np.nan, np.nan), items
    if items < 3:
        sample.notes.append(
            f"correlation of reward with {click}: {items} items, of 3 at least, have min_item_rows={min_item_rows} rows"
        )
        return estimate_of(np.nan, np.nan, np.nan), items
    reward, clicks = (
        column - column[there][0] for column in (reward, numbers_of(rows, of_log(click)))
    )  # a constant is 0
    means, rates = ((np.bincount(item, column) / count)[item][there] for column in (reward, clicks))
    covariance, _ = covariances_of(there, rates, reward[there], sample)
    [found] = sample.estimates(
        quotient(covariance, np.full_like(covariance, means.std() * rates.std())),
        f"correlation of reward with {click}",
        "one of the two does not vary",
    )
    return found, items


def _histogram(values: Doubles) -> Json:
    """Counts between edges over the middle 99% of the values, and how many lie outside."""
    low, high = np.quantile(values, [0.005, 0.995])
    span = (low, high) if high > low else (low - abs(low) / 2, high + abs(high) / 2 or 1.0)  # all alike: one bar
    counts, edges = np.histogram(values, _BARS, range=span)
    below, above = int((values < low).sum()), int((values > high).sum())
    return {"edges": edges.tolist(), "counts": counts.tolist(), "below": below, "above": above}
