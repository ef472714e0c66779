"""The reward of showing each item to users of each segment, before it is shown, and how it agrees with the truth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
import torch
from scipy.stats import rankdata
from worlds import correlation

from reward.causal.item_effects.ipw import inverse_weights
from reward.causal.user_effects.model import PersonalizedEffect
from reward.columns import ITEM, PROPENSITY, TIMESTAMP, USER
from reward.data.days import days_since_1970
from reward.data.event_log import slate_moment
from reward.simulation.lives import Service

AT_ONCE = 1000
LEAST_EXPOSURES = 200  # a cell of item and segment with fewer is not judged
CELLS = "prospective reward by item and segment"
BY_ITEM = "prospective reward by item"
LOGGED = "reward of logged exposures by item and segment"
WEIGHTED = "reward of logged exposures, weighted, by item and segment"
OWN = "items' own effects, by item and segment"
THIRDS = ("least active third", "middle third", "most active third")


def rewards_by_cell(
    service: Service,
    events: pl.DataFrame,
    personal: PersonalizedEffect,
    segment: np.ndarray,
    days: Iterable[int],
    *,
    slots: int = 8_000,
    rows: int = 100_000,
    seed: int,
) -> dict[str, np.ndarray]:
    """Mean rewards, (items, segments), of what could be shown and of what was.

    ``mean`` and ``std`` are of every live item in sampled first slots of the visits of ``days``, a visit counting by
    its slates: the visits and days that the truth is of. ``logged`` is of exposures in the second half of the log,
    ``weighted`` the same by inverse propensity. Where a user stands is always told by what came before the slate.
    """
    rng = np.random.default_rng([seed, 12])
    items, segments = len(service.catalogue.kind), int(segment.max()) + 1
    user, item = (events[name].to_numpy() for name in (USER, ITEM))
    day = np.floor(days_since_1970(events[TIMESTAMP])).astype(np.int64)
    day -= day.min()
    visits = events.select(USER, TIMESTAMP, pl.Series("day", day))
    first = days_since_1970(visits.select(pl.col(TIMESTAMP).min().over(USER, "day")).to_series())
    slate = days_since_1970(events.select(slate_moment(events.columns)).to_series())
    users = events[USER].unique().sort()
    past, known = personal.history(events, users), personal.known(np.arange(items))
    row_of = users.search_sorted(events[USER]).to_numpy().astype(np.int64)
    out = {"exposures": _counts(item, segment[user], items, segments)}

    told = {name: np.zeros((items, segments)) for name in ("mean", "std", "slots")}
    wanted = np.flatnonzero(np.isin(day, list(days)))
    wanted = rng.choice(wanted, min(slots, len(wanted)), replace=False)
    for one in np.unique(day[wanted]):
        live, today = service.catalogue.live(int(one)), wanted[day[wanted] == one]
        facts = known.of(torch.from_numpy(live)[None])
        for some in np.array_split(today, -(-len(today) // AT_ONCE)):
            rewards = personal.score(past.state(row_of[some], first[some]), facts)
            for group in range(segments):
                mine = torch.from_numpy(segment[user[some]] == group)
                told["mean"][live, group] += rewards.mean[mine].sum(0).numpy()
                told["std"][live, group] += rewards.std[mine].sum(0).numpy()
                told["slots"][live, group] += int(mine.sum())
    with np.errstate(invalid="ignore"):
        out |= told | {name: told[name] / told["slots"] for name in ("mean", "std")}

    late = np.flatnonzero(day >= service.world.days // 2)
    late = np.sort(rng.choice(late, min(rows, len(late)), replace=False))
    reward = np.concatenate(
        [
            personal.score_rows(past, row_of[some], slate[some], known.of(torch.from_numpy(item[some]))).mean.numpy()
            for some in np.array_split(late, -(-len(late) // (10 * AT_ONCE)))
        ]
    )
    (weight,) = inverse_weights([events[PROPENSITY].to_numpy()], [item], items, most=50)
    weight = weight[late]
    cell = item[late], segment[user[late]], items, segments
    out["logged rows"] = _counts(*cell)
    with np.errstate(invalid="ignore"):
        out["logged"] = _counts(*cell, reward) / out["logged rows"]
        out["weighted"] = _counts(*cell, weight * reward) / _counts(*cell, weight)
    return out


def judge_cells(truth, told) -> dict[str, float]:
    """How rewards by item and segment agree with the truth; both are compared within a segment.

    From either the mean over the log's exposures is taken off segment by segment, for a reward is against what else is
    shown and the truth against nothing. Segments are thirds of base activity, each cut in two by taste.

    Args:
        truth: ``by_segment`` and ``by_segment_se``, (items, segments), versus nothing shown.
        told: what `rewards_by_cell` gives, and ``own``, (items,) effects of the items.
    """
    effect, se = truth["by_segment"], truth["by_segment_se"]
    many = told["exposures"].astype(float)
    judged = np.isfinite(effect) & np.isfinite(told["mean"]) & (many > LEAST_EXPOSURES)
    item, group = np.nonzero(judged)
    weight = many[judged]
    everywhere = np.broadcast_to(many.sum(axis=1, keepdims=True), many.shape)[judged]  # one mix of items for all

    def relative(values):
        values = np.where(np.isfinite(values), values, 0.0)
        level = np.bincount(group, everywhere * values) / np.maximum(np.bincount(group, everywhere), 1e-300)
        return values - level[group]

    def within(values):
        """What differs between segments, with the item's mean over them taken off."""
        return values - (np.bincount(item, values) / np.maximum(np.bincount(item), 1))[item]

    true, noise = relative(effect[judged]), se[judged]
    own = relative(np.broadcast_to(told["own"][:, None], effect.shape)[judged])
    scores = {CELLS: relative(told["mean"][judged]), LOGGED: relative(told["logged"][judged])}
    scores |= {WEIGHTED: relative(told["weighted"][judged]), OWN: own}
    out = {f"judged, {CELLS}": float(judged.sum())}
    if not judged.any():
        return out
    logged = np.isfinite(told["logged"][judged])
    for name, score in scores.items():
        there = logged if name in (LOGGED, WEIGHTED) else np.ones_like(logged)
        if not there.any():
            continue
        one, other = score[there], true[there]
        out[f"Pearson, {name}"] = correlation(one, other)
        out[f"Spearman, {name}"] = correlation(rankdata(one), rankdata(other))
        out[f"slope of truth, {name}"] = _slope(other, one, weight[there])
    score = scores[CELLS]
    error = score - true
    out[f"Pearson, corrected for noise of the truth, {CELLS}"] = _without_noise(score, true, noise)
    out[f"truth in the 95% interval, {CELLS}"] = float(
        np.mean(np.abs(error) <= 1.96 * np.hypot(told["std"][judged], noise))
    )
    out[f"error (days), {CELLS}"] = float(np.sqrt(np.mean(error**2)))
    out[f"standard error of the truth (days), {CELLS}"] = float(np.sqrt(np.mean(noise**2)))
    out[f"spread of the truth (days), {CELLS}"] = float(np.sqrt(max(true.var() - np.mean(noise**2), 0)))
    for third, label in enumerate(THIRDS):
        mine = group // 2 == third
        if mine.any():
            out[f"Pearson, {label}, {CELLS}"] = correlation(score[mine], true[mine])
            out[f"slope of truth, {label}, {CELLS}"] = _slope(true[mine], score[mine], weight[mine])
            out[f"mean error of what is shown (days), {label}, {CELLS}"] = float(
                np.average(error[mine], weights=weight[mine])
            )
    out[f"error ~ third of base activity, {CELLS}"] = correlation(error, group // 2)
    apart, differs = within(score), within(true)
    out[f"Pearson, between segments of an item, {CELLS}"] = correlation(apart, differs)
    out[f"Pearson, between segments of an item, corrected for noise of the truth, {CELLS}"] = _without_noise(
        apart, differs, noise * np.sqrt(1 - 1 / np.bincount(item)[item])
    )
    out[f"slope of truth, between segments of an item, {CELLS}"] = _slope(differs, apart, weight)
    for name in ("held-out slope", "held-out slope, personal"):
        out[f"{name}, {CELLS}"] = float(told[name][0])
    return out | _by_item(truth, told)


def _by_item(truth, told) -> dict[str, float]:
    """The same of what the rewards of all slots come to item by item."""
    with np.errstate(invalid="ignore"):
        mean = np.nansum(told["mean"] * told["slots"], axis=1) / told["slots"].sum(axis=1)
    weight = told["exposures"].sum(axis=1).astype(float)
    judged = np.isfinite(truth["mean"]) & np.isfinite(mean) & (weight > LEAST_EXPOSURES)
    score, true, weight = mean[judged], truth["mean"][judged], weight[judged]
    score, true = (it - np.average(it, weights=weight) for it in (score, true))
    return {
        f"Pearson, {BY_ITEM}": correlation(score, true),
        f"Spearman, {BY_ITEM}": correlation(rankdata(score), rankdata(true)),
        f"slope of truth, {BY_ITEM}": _slope(true, score, weight),
    }


def _counts(item, group, items, groups, weights=None):
    return np.bincount(item * groups + group, weights, items * groups).reshape(items, groups)


def _slope(true, score, weight):
    score, true = (it - np.average(it, weights=weight) for it in (score, true))
    squares = float((weight * score) @ score)
    return float((weight * true) @ score) / squares if squares > 0 else np.nan


def _without_noise(score, true, noise):
    """The correlation that a truth without its sampling noise would show."""
    real = 1 - np.mean(noise**2) / true.var() if true.var() > 0 else 0.0
    return correlation(score, true) / np.sqrt(real) if real > 0 else np.nan
