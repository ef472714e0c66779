"""What was learned of items against what they truly do, where a simulation knows it."""

from __future__ import annotations

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.columns import ITEM
from reward.evaluation.estimates import Json
from reward.statistics.unit_bootstrap import Statistic, interval
from reward.text import amount, readable, side_of_zero

CLICK_RATE, REWARD, REWARD_STD, EFFECT, EFFECT_SE = "click_rate", "reward", "reward_std", "effect", "effect_se"
TRUTH = "truth.parquet"  # in a run folder, where there is one
LEAST_EXPOSURES = 200  # an item with fewer is not compared
_FEWEST = 10  # items, below which a correlation says nothing
_NORMAL = 1.959964  # standard deviations to either side that hold 95%


def beside_truth(true: pl.DataFrame, learned: pl.DataFrame, events: pl.LazyFrame, click: str | None) -> pl.DataFrame:
    """What is known of each item that was shown often enough, beside what it truly does.

    Args:
        true: ``item_id``, ``effect`` and ``effect_se``, as `reward.simulation.truth.item_effects` gives them.
        learned: ``item_id``, ``exposures``, ``mean`` and ``std``, as ``ItemEffects.items`` has them.
        events: what ``learned`` was learned from.
        click: the feedback whose rate is the click rate; None: there is none, and it is null.

    Returns:
        ``item_id``, ``exposures``, ``click_rate``, ``reward``, ``reward_std``, ``effect``, ``effect_se``.
    """
    clicked = pl.lit(None, pl.Float64) if click is None else (pl.col(click) > 0).mean()
    rates = events.group_by(ITEM).agg(clicked.alias(CLICK_RATE)).collect()
    told = learned.select(ITEM, "exposures", pl.col("mean").alias(REWARD), pl.col("std").alias(REWARD_STD))
    joined = told.filter(pl.col("exposures") >= LEAST_EXPOSURES).join(rates, on=ITEM).join(true, on=ITEM)
    return joined.select(ITEM, "exposures", CLICK_RATE, REWARD, REWARD_STD, EFFECT, EFFECT_SE).sort(ITEM)


def against_truth(
    items: pl.DataFrame, *, unit: str, feedback: str | None, resamples: int, seed: int, level: float
) -> Json:
    """Correlations of items' click rate and learned reward with their true effect, and how far the reward is right.

    Rewards and effects are compared around their means: a reward is told against what the service shows, an effect
    against nothing shown.

    Args:
        items: one row an item: ``click_rate``, ``reward``, ``reward_std``, ``effect`` and ``effect_se``.
        unit: of rewards and effects.
        feedback: what the click rate is the mean of; None: there is none.
        resamples: resamples of items for the intervals.
        seed: draws them.
        level: of the intervals.

    Returns:
        ``items`` (how many), ``nothing`` (whether all true effects are 0), ``correlation`` by name (with ``low`` and
        ``high``; null where something does not vary), ``slope`` of the effect on the reward, ``covered``: the share of
        effects inside the reward's 95% interval, ``spread`` of rewards and of effects, and ``sentences``.
    """
    click, reward, effect = (items[name].to_numpy().astype(np.float64) for name in (CLICK_RATE, REWARD, EFFECT))
    std, se = (items[name].to_numpy().astype(np.float64) for name in (REWARD_STD, EFFECT_SE))
    off = (reward - reward.mean()) - (effect - effect.mean()) if len(items) else reward
    covered = float((np.abs(off) <= _NORMAL * np.hypot(std, se)).mean()) if len(items) else None
    of = {"click rate": click, "learned reward": reward}
    found: Json = {
        "items": len(items),
        "nothing": not effect.any(),
        "correlation": {
            name: _correlation(column, effect, resamples=resamples, seed=seed, level=level)
            for name, column in of.items()
        },
        "slope": float(np.polyfit(reward, effect, 1)[0]) if len(items) >= _FEWEST and reward.std() > 0 else None,
        "covered": covered,
        "spread": {"reward": float(reward.std()), "effect": float(effect.std())} if len(items) else None,
    }
    return found | {"sentences": _sentences(found, unit, feedback, level)}


def _correlation(x: Doubles, y: Doubles, *, resamples: int, seed: int, level: float) -> Json:
    if len(x) < _FEWEST or not (x.std() > 0 and y.std() > 0):
        return {"value": None, "low": None, "high": None}
    statistic = _weighted(x, y)
    low, high = interval(statistic, len(x), resamples=resamples, seed=seed, level=level)
    ends = [float(end[0]) if np.isfinite(end[0]) else None for end in (low, high)]
    return {"value": float(statistic(np.ones(len(x)))[0]), "low": ends[0], "high": ends[1]}


def _weighted(x: Doubles, y: Doubles) -> Statistic:
    def correlation(weights: Doubles) -> Doubles:
        one, other = (column - np.average(column, weights=weights) for column in (x, y))
        scale = np.sqrt((weights @ one**2) * (weights @ other**2))
        return np.array([(weights * one) @ other / scale if scale > 0 else np.nan])

    return correlation


def _sentences(found: Json, unit: str, feedback: str | None, level: float) -> list[str]:
    if found["items"] < _FEWEST:
        return [f"{found['items']} items were shown often enough to be compared with the truth: too few."]
    if found["nothing"]:
        return [
            "Nothing that is shown in this world changes what users do: every true effect is 0. The learned rewards of "
            f"{found['items']} items spread by {found['spread']['reward']:.3f} {unit}, and {found['covered']:.0%} of "
            "their 95% intervals hold the truth."
        ]
    click, reward = (_correlates(found["correlation"][name], level) for name in ("click rate", "learned reward"))
    worth = (
        "The truth of a day of learned reward cannot be said"
        if found["slope"] is None
        else f"A day of learned reward is {readable(found['slope'], 2)} days in truth"
    )
    what = "what showing an item truly does"
    return [
        *([] if feedback is None else [f"Over {found['items']} items, mean {feedback} {click} with {what}."]),
        f"The learned reward {reward} with {'it' if feedback else what}.",
        f"{worth}; {found['covered']:.0%} of its 95% intervals hold the truth.",
    ]


def _correlates(estimate: Json, level: float) -> str:
    told = amount(estimate, unit="", level=level)
    if side_of_zero(estimate) == "open":
        return f"has no correlation that these items can show ({told})"
    return f"correlates {told},"
