"""How a reward is judged by the true effects of a log's items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from harness import Arrays
from scipy.stats import rankdata
from worlds import correlation

from recovered.logs import LEAST_EXPOSURES, Case
from recovered.rewards import ANCHOR, BOOSTED, ESTIMATED, LEARNED, UNANSWERED
from reward.simulation.catalogue import catalogue_of


def evaluate(truth, shown, scores) -> dict[str, float]:
    """Figures of one log: of each signal its correlations, of the learned rewards whether they can be believed.

    Args:
        truth: ``mean`` and ``se``, versus nothing shown.
        shown: ``exposures``, ``base activity`` and whether the item was live ``throughout``.
        scores: name -> (items,) values, or what `learned` gives.
    """
    judged = np.isfinite(truth["mean"]) & (shown["exposures"] > LEAST_EXPOSURES)
    weight, base = shown["exposures"][judged].astype(float), shown["base activity"][judged]
    effect = _centred(truth["mean"][judged], weight)
    few, many = np.quantile(weight, [1 / 3, 2 / 3])
    groups = {
        "": np.ones(len(weight), bool),
        "items live throughout, ": shown["throughout"][judged],
        "third shown least, ": weight <= few,
        "third shown most, ": weight >= many,
    }
    out = {}
    for name, score in scores.items():
        values = _known((score["mean"] if isinstance(score, dict) else score)[judged])
        says = values.std() > 0 or effect.std() == 0  # the same of every item: no correlation with what differs
        out[f"Pearson, {name}"] = correlation(values, effect) if says else 0.0
        out[f"Spearman, {name}"] = correlation(rankdata(values), rankdata(effect)) if says else 0.0
        if not isinstance(score, dict):
            continue
        estimate = _centred(values, weight)
        error, noise = estimate - effect, np.hypot(score["std"][judged], truth["se"][judged])
        low, high = (score["slope"] + side * 1.96 * score["slope_se"] for side in (-1, 1))
        out[f"slope of truth, {name}"] = _ratio((weight * effect) @ estimate, (weight * estimate) @ estimate)
        covered = np.abs(error) <= 1.96 * noise
        for group, members in groups.items():
            if members.any():
                out[f"truth in the 95% interval, {group}{name}"] = float(covered[members].mean())
        out[f"error ~ base activity, {name}"] = correlation(error, base)
        out[f"held-out slope, {name}"] = float(score["slope"])
        out[f"held-out slope, standard error, {name}"] = float(score["slope_se"])
        out[f"held-out interval covers 0, {name}"] = float(low <= 0 <= high)
        out[f"spread of estimates (days), {name}"] = float(estimate.std())
        out[f"error (days), {name}"] = float(np.sqrt(np.mean(error**2)))
        for extra in set(score) - {"mean", "std", "anchor", "slope", "slope_se"}:
            out[f"{extra}, {name}"] = float(score[extra])
    return out


def live_throughout(case: Case) -> np.ndarray:
    """(items,) whether an item was live on every day of the log: the truth is of some of its days."""
    catalogue = catalogue_of(case.world, case.seed)
    return (catalogue.released <= 0) & (catalogue.withdrawn >= case.world.days)


def scores_of(found: Mapping[str, Arrays]) -> dict[str, np.ndarray | Arrays]:
    """All that is judged in one log, by name."""
    out = {name: found[name] for name in (LEARNED, UNANSWERED, ESTIMATED) if name in found}
    if LEARNED in found:
        out[ANCHOR] = found[LEARNED]["anchor"]
    signals = {**found.get("today", {}), **found.get(BOOSTED, {})}
    return out | {name: signals[name] for name in signals if name not in ("exposures", "base activity")}


def _centred(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return values - np.average(values, weights=weight)


def _known(values: np.ndarray) -> np.ndarray:
    """An item of which nothing is said stands at the mean."""
    return np.where(np.isfinite(values), values, np.nanmean(values))


def _ratio(one: float, other: float) -> float:
    return float(one / other) if other > 0 else np.nan
