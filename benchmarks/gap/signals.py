"""Reward signals: what the log says each item is worth, ``study -> (items,) or (views, candidates)``.

A signal is NaN where it says nothing: there an item takes no part in the list that trains the ranker. Only what begins
with ``truth`` may look beneath the log.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from worlds import HORIZON_DAYS, clustered

from gap.learned import reward, reward_by_item
from gap.study import Study, column
from reward.arrays import Doubles, Floats
from reward.columns import ITEM, PROPENSITY, TIMESTAMP, USER
from reward.simulation.rankers import true_effects

Signal = Callable[[Study], NDArray[np.floating]]

PAST_DAYS = (1, 3, 7, 14, 28)
FEWEST = 50  # exposures below which a mean by item says nothing


def truth(study: Study) -> Floats:
    """What showing the item does to the user's active days over the horizon, to first order."""
    return true_effects(study.service, study.views, study.slope, HORIZON_DAYS)


def truth_by_item(study: Study) -> Doubles:
    """Mean of `truth` over the views in which the item stands by chance."""
    chance = slice(study.service.world.slate_size, None)
    return _means(study.views.items[:, chance].ravel(), truth(study)[:, chance].ravel(), _items(study), fewest=2)


def clicks_in_slates(study: Study) -> Floats:
    """Whether each item of the slate was clicked."""
    return _in_slates(study, column(study, "click"))


def minutes_in_slates(study: Study) -> Floats:
    """Minutes that each item of the slate was played."""
    return _in_slates(study, column(study, "listen_ms") / 60_000)


def click_rate(study: Study) -> Doubles:
    """Clicks an exposure."""
    return _by_item(study, "click")


def mean_minutes(study: Study) -> Doubles:
    """Minutes an exposure."""
    return _by_item(study, "listen_ms") / 60_000


def like_rate(study: Study) -> Doubles:
    """Likes an exposure."""
    return _by_item(study, "like")


def survey_mean(study: Study) -> Doubles:
    """The item's mean answer, from -2 to 2; NaN without one."""
    survey = column(study, "survey")
    told = survey > 0
    return _means(column(study, ITEM)[told], survey[told] - 3.0, _items(study), fewest=1)


def survey_times_clicks(study: Study) -> Doubles:
    """The item's mean answer, from -2 to 2, times its click rate."""
    return survey_mean(study) * click_rate(study)


def survey_times_clicks_in_slates(study: Study) -> Floats:
    """The item's mean answer, from -2 to 2, for those items of the slate that were clicked."""
    clicked = _in_slates(study, column(study, "click"))
    return np.where(clicked > 0, survey_mean(study)[study.views.items], clicked)


def activity_after(study: Study) -> tuple[NDArray[np.int64], Doubles, Doubles]:
    """Rows of the log whose horizon and last two weeks are inside it; active days ahead; shares of past days active."""
    world = study.service.world
    day = study.events.select((pl.col(TIMESTAMP) - pl.col(TIMESTAMP).dt.date().min()).dt.total_days())
    day, user = day.to_series().to_numpy(), column(study, USER)
    active = np.zeros((world.users, world.days))
    active[user, day] = 1
    total = np.concatenate([np.zeros((world.users, 1)), np.cumsum(active, axis=1)], axis=1)
    rows = np.flatnonzero((day >= HORIZON_DAYS) & (day < world.days - HORIZON_DAYS))
    user, day = user[rows], day[rows]
    ahead = total[user, day + HORIZON_DAYS + 1] - total[user, day + 1]
    spans = (np.minimum(span, day) for span in PAST_DAYS)
    return rows, ahead, np.stack([(total[user, day] - total[user, day - span]) / span for span in spans], axis=1)


def mean_activity(study: Study) -> Doubles:
    """Mean active days over the horizon after an exposure."""
    rows, ahead, _ = activity_after(study)
    return _means(column(study, ITEM)[rows], ahead, _items(study))


def adjusted_activity(study: Study) -> Doubles:
    """The same, of what past activity does not foretell."""
    rows, ahead, past = activity_after(study)
    return _means(column(study, ITEM)[rows], _unforetold(ahead, past), _items(study))


def shrunk_activity(study: Study) -> Doubles:
    """The same, each item's mean shrunk to that of all by empirical Bayes."""
    return _shrunk(study, lambda rows: np.ones(len(rows)))


def weighted_activity(study: Study) -> Doubles:
    """The same, weighted by inverse propensity and shrunk."""

    def weights(rows: NDArray[np.int64]) -> Doubles:
        weight = 1 / column(study, PROPENSITY)[rows]
        return np.minimum(weight, np.quantile(weight, 0.99))

    return _shrunk(study, weights)


SIGNALS: dict[str, Signal] = {
    "truth": truth,
    "truth, by item": truth_by_item,
    "reward": reward,
    "reward, by item": reward_by_item,
    "clicks in slates": clicks_in_slates,
    "click rate": click_rate,
    "minutes in slates": minutes_in_slates,
    "minutes": mean_minutes,
    "like rate": like_rate,
    "survey x click rate": survey_times_clicks,
    "survey x clicks in slates": survey_times_clicks_in_slates,
    "mean activity": mean_activity,
    "mean activity, adjusted": adjusted_activity,
    "mean activity, adjusted, weighted, shrunk": weighted_activity,
}


def rewards_of(study: Study, signal: Signal) -> Floats:
    """The signal of every candidate of every view: (views, candidates)."""
    told = np.asarray(signal(study), np.float32)
    shapes = (_items(study),), study.views.items.shape
    if told.shape not in shapes:
        raise ValueError(f"expected a signal of the shape {shapes[0]} or {shapes[1]}, got {told.shape}")
    return told[study.views.items] if told.ndim == 1 else told


def _items(study: Study) -> int:
    return len(study.service.catalogue.kind)


def _in_slates(study: Study, values: NDArray[np.generic]) -> Floats:
    out = np.full(study.views.items.shape, np.nan, np.float32)
    out[:, : study.service.world.slate_size] = values[study.views.row]
    return out


def _by_item(study: Study, name: str) -> Doubles:
    return _means(column(study, ITEM), column(study, name), _items(study))


def _means(item: NDArray[np.int64], values: NDArray[np.generic], items: int, fewest: int = FEWEST) -> Doubles:
    count = np.bincount(item, minlength=items)
    return np.where(count >= fewest, np.bincount(item, values, items) / np.maximum(count, 1), np.nan)


def _unforetold(ahead: Doubles, past: Doubles) -> Doubles:
    """Residuals of the linear regression of what follows on what went before."""
    known = np.column_stack([np.ones(len(past)), past])
    return ahead - known @ np.linalg.solve(known.T @ known, known.T @ ahead)


def _shrunk(study: Study, weights: Callable[[NDArray[np.int64]], Doubles]) -> Doubles:
    rows, ahead, past = activity_after(study)
    rest, item, user = _unforetold(ahead, past), column(study, ITEM)[rows], column(study, USER)[rows]
    weight, items, users = weights(rows), _items(study), study.service.world.users
    heavy = np.maximum(np.bincount(item, weight, items), 1e-12)
    mean = np.bincount(item, weight * rest, items) / heavy
    variance = clustered(rest, weight, user, item, items, users) ** 2
    known = np.bincount(item, minlength=items) >= FEWEST
    level = np.average(mean[known], weights=1 / variance[known])
    between = max(float(np.average((mean[known] - level) ** 2 - variance[known], weights=variance[known] ** -2.0)), 0)
    return np.where(known, level + between / (between + variance + 1e-12) * (mean - level), np.nan)
