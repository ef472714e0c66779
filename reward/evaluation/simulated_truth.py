"""What was learned of items against what they truly do, where a simulation knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.columns import ITEM
from reward.evaluation.estimates import Estimate, estimate_of
from reward.statistics.unit_bootstrap import Statistic, interval

CLICK_RATE, REWARD, REWARD_STD, EFFECT, EFFECT_SE = "click_rate", "reward", "reward_std", "effect", "effect_se"
TRUTH = "truth.parquet"  # in a run folder, where there is one
LEAST_EXPOSURES = 200  # an item with fewer is not compared
MIN_ITEMS = 10  # items, below which a correlation says nothing
_NORMAL = 1.959964  # standard deviations to either side that hold 95%


@dataclass(frozen=True)
class TrueSpread:
    """Standard deviations over items, of learned rewards and of true effects."""

    reward: float
    effect: float


@dataclass(frozen=True)
class AgainstTruth:
    """How what was learned of items agrees with what they truly do.

    Attributes:
        items: how many were compared.
        nothing: all true effects are 0.
        correlation: with the true effects, of the click rate and of the learned reward; without a value where
            something does not vary or there are too few items.
        slope: of the true effect on the reward; None: too few items, or rewards do not vary.
        covered: the share of true effects inside the reward's 95% interval; None: there are no items.
        spread: None: there are no items.
    """

    items: int
    nothing: bool
    correlation: Mapping[str, Estimate]
    slope: float | None
    covered: float | None
    spread: TrueSpread | None


def beside_truth(true: pl.DataFrame, learned: pl.DataFrame, events: pl.LazyFrame, click: str | None) -> pl.DataFrame:
    """What is known of each item that was shown often enough, beside what it truly does.

    Args:
        true: ``item_id``, ``effect`` and ``effect_se``, as `reward.simulation.true_effects.item_effects` gives them.
        learned: ``item_id``, ``exposures``, ``mean`` and ``std``, as ``ItemEffects.items`` has them.
        events: what ``learned`` was learned from.
        click: the feedback whose rate is the click rate; None: there is none, and it is null.

    Returns:
        ``item_id``, ``exposures``, ``click_rate``, ``reward``, ``reward_std``, ``effect``, ``effect_se``.
    """
    clicked = pl.lit(None, pl.Float64) if click is None else (pl.col(click) > 0).mean()
    rates = events.group_by(ITEM).agg(clicked.alias(CLICK_RATE)).collect()
    shown = learned.select(ITEM, "exposures", pl.col("mean").alias(REWARD), pl.col("std").alias(REWARD_STD))
    joined = shown.filter(pl.col("exposures") >= LEAST_EXPOSURES).join(rates, on=ITEM).join(true, on=ITEM)
    return joined.select(ITEM, "exposures", CLICK_RATE, REWARD, REWARD_STD, EFFECT, EFFECT_SE).sort(ITEM)


def against_truth(items: pl.DataFrame, *, resamples: int, seed: int, level: float) -> AgainstTruth:
    """Correlations of items' click rate and learned reward with their true effect, and how far the reward is right.

    Rewards and effects are compared around their means: a reward is relative to what the service shows, an effect
    against nothing shown.

    Args:
        items: one row an item: ``click_rate``, ``reward``, ``reward_std``, ``effect`` and ``effect_se``.
        resamples: resamples of items for the intervals.
        seed: draws them.
        level: of the intervals.
    """
    click, reward, effect = (items[name].to_numpy().astype(np.float64) for name in (CLICK_RATE, REWARD, EFFECT))
    std, se = (items[name].to_numpy().astype(np.float64) for name in (REWARD_STD, EFFECT_SE))
    off = (reward - reward.mean()) - (effect - effect.mean()) if len(items) else reward
    covered = float((np.abs(off) <= _NORMAL * np.hypot(std, se)).mean()) if len(items) else None
    of = {"click rate": click, "learned reward": reward}
    return AgainstTruth(
        items=len(items),
        nothing=not effect.any(),
        correlation={
            name: _correlation(column, effect, resamples=resamples, seed=seed, level=level)
            for name, column in of.items()
        },
        slope=float(np.polyfit(reward, effect, 1)[0]) if len(items) >= MIN_ITEMS and reward.std() > 0 else None,
        covered=covered,
        spread=TrueSpread(float(reward.std()), float(effect.std())) if len(items) else None,
    )


def _correlation(x: Doubles, y: Doubles, *, resamples: int, seed: int, level: float) -> Estimate:
    if len(x) < MIN_ITEMS or not (x.std() > 0 and y.std() > 0):
        return Estimate()
    statistic = _weighted(x, y)
    low, high = interval(statistic, len(x), resamples=resamples, seed=seed, level=level)
    return estimate_of(statistic(np.ones(len(x)))[0], low[0], high[0])


def _weighted(x: Doubles, y: Doubles) -> Statistic:
    def correlation(weights: Doubles) -> Doubles:
        one, other = (column - np.average(column, weights=weights) for column in (x, y))
        scale = np.sqrt((weights @ one**2) * (weights @ other**2))
        return np.array([(weights * one) @ other / scale if scale > 0 else np.nan])

    return correlation
