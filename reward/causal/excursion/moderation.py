"""For whom an item does more: excursion effects projected on what the users' past says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.policy_shift import PolicyShift, Slots, slot_policy_shifts
from reward.causal.diagnostics.sampled_slots import sampled_slots
from reward.causal.excursion.model import ExcursionEffect
from reward.causal.excursion.moderators import ModeratorHistory, Moderators
from reward.causal.excursion.shrunk import Shrunk
from reward.causal.exposures import Exposures, day_share
from reward.causal.user_effects.exposed import ExposedUsers, ItemsByDay, Shown
from reward.causal.user_effects.g_estimation import GEstimates, Moments, g_estimates, held_out_g_estimates
from reward.causal.user_effects.user_state import Events
from reward.columns import ITEM, TIMESTAMP
from reward.data.days import days_since_1970
from reward.data.event_log import slate_moment
from reward.rewards import Rewards


class _Projection(NamedTuple):
    """Coefficients on (e − ē) (1, z), see `projected`.

    Attributes:
        moments: what they were fitted to.
        whole: the fit to all users.
        apart: for each fold that to the others' users.
    """

    moments: Moments
    whole: GEstimates
    apart: list[GEstimates]


def fit_moderation(
    shown: Exposures,
    shrunk: Shrunk,
    value: Doubles,
    known: Doubles,
    *,
    most_ratio: float,
    memory_days: float,
    prior_answers: float,
    reference_days: float,
    clusters: int,
    pushed_slates: int,
    pushed_draws: int,
    seed: int,
) -> tuple[ExcursionEffect, Mapping[float, PolicyShift]]:
    """Project effects on the item's own effect times what the user's past says, where the policy draws the item.

    Args:
        shown: n exposures.
        shrunk: effects of items.
        value: (n,) what came after each exposure beyond what was expected and what the policy gains that day.
        known: (n,) 1 where the log has all of it, else 0.
        most_ratio: clip of the weights, the item's share that day over the propensity.
        memory_days: time in which an exposure is forgotten to 1/e, see `Moderators`.
        prior_answers: exposures before a user's own mean counts for half.
        reference_days: last days of the log, whose exposures a reward is measured against.
        clusters: of users, whose contributions are kept apart.
        pushed_slates: slates that tell how far a ranker may be pushed.
        pushed_draws: items drawn beside each of them.
        seed: draws these.

    Returns:
        The model, and by pessimism how far a ranker may be pushed on its rewards.
    """
    whole, events = shown.whole, shown.whole.users.events
    days, item = whole.days, whole.item
    user = days.row_user
    time = days_since_1970(events[TIMESTAMP])
    moment = days_since_1970(events.select(slate_moment(events.columns)).to_series())
    read = Moderators.fit(
        events,
        days.users,
        user,
        moment,
        feedback=shown.feedback,
        prior_answers=prior_answers,
        memory_days=memory_days,
    )
    history = read.history(events, days.users)
    today = days.since[days.row]
    weight = np.minimum(day_share(today, item) / whole.propensity, most_ratio) * known
    z = history.state(user, moment).moderators.numpy()
    moments = projected(shown, shrunk, z, weight, value, today, clusters)
    found = _Projection(moments, *_fits(moments))
    late = np.bincount(item[time >= time.max() - reference_days], minlength=len(shown.table))
    models = [_model(shown, shrunk, read, found, fold, late) for fold in (*range(shown.folds), -1)]
    order = np.lexsort((time, user)).astype(np.int64)
    none = np.zeros((len(order), 0))  # answers, which the history has read
    exposures = ExposedUsers(
        0,
        Events(user[order], item[order], time[order], none, none),
        moment[order],
        today[order],
        days.row_fold[order],
        weight[order],
        value[order],
    )
    slots = _slots(exposures, history, models[:-1], (seed, 17), slates=pushed_slates, draws=pushed_draws)
    return models[-1], slot_policy_shifts(slots)


def projected(
    shown: Exposures,
    shrunk: Shrunk,
    moderators: Doubles,
    weight: Doubles,
    value: Doubles,
    today: Ints,
    clusters: int,
) -> Moments:
    """Sums of the estimating equation Σ w x (v − x'β), x = (e − ē) (1, z), by cluster of users.

    e is the effect of the item that was shown, made without the user's fold, and ē its mean over what the policy showed
    that day: given the user's past, x has mean 0 under the weights.
    """
    whole, spans = shown.whole, int(today.max()) + 1
    fold, item = whole.days.row_fold, whole.item
    own = shrunk.mean[fold, item]
    shares = np.stack([np.bincount(today, mean[item], spans) for mean in shrunk.mean[:-1]])
    usual = shares / np.maximum(np.bincount(today, minlength=spans), 1)
    beyond = (own - usual[fold, today])[:, None] * np.column_stack([np.ones(len(own)), moderators])
    per_fold = max(clusters // shown.folds, 1)
    cluster = fold + shown.folds * (whole.days.row_user % per_fold)
    return Moments.of(beyond, beyond, weight, value, cluster, np.arange(shown.folds * per_fold) % shown.folds)


def _fits(moments: Moments) -> tuple[GEstimates, list[GEstimates]]:
    """Coefficients of all users, and for each fold of the others: drawn to items' own effects, alike for all users."""
    expected = np.zeros(moments.gram.shape[1])
    expected[0] = 1.0
    folds = range(int(moments.fold.max()) + 1)
    return g_estimates(moments, expected), [g_estimates(moments, expected, without=fold) for fold in folds]


def _model(
    shown: Exposures, shrunk: Shrunk, read: Moderators, found: _Projection, row: int, late: Ints
) -> ExcursionEffect:
    """The model made without the users of a fold, or for −1 with all."""
    fit = found.whole if row < 0 else found.apart[row]
    mean, variance = shrunk.mean[row], shrunk.std[row] ** 2
    share = shown.count / shown.count.sum()
    apart = np.stack([each.coefficients for each in found.apart])
    alone = np.where(np.arange(apart.shape[1]) < 1, apart, 0)
    return ExcursionEffect(
        ids=shown.table[ITEM].to_numpy(),
        mean=np.append(mean, share @ mean),
        variance=np.append(variance, share @ (variance + mean**2)),
        newcomers=shrunk.newcomers,
        moderators=read,
        coefficients=fit.coefficients,
        covariance=fit.covariance,
        level=float(late @ mean / late.sum()),
        calibration=held_out_g_estimates(found.moments, apart),
        personal_calibration=held_out_g_estimates(found.moments, apart - alone, alone),
    )


def _slots(
    exposures: ExposedUsers,
    history: ModeratorHistory,
    apart: list[ExcursionEffect],
    seed: tuple[int, ...],
    *,
    slates: int,
    draws: int,
) -> Slots:
    """Slots with rewards of models that are made for each fold without it."""

    def rewards(fold: int, past: ModeratorHistory, user: Ints, time: Doubles, item: Ints) -> Rewards:
        return apart[fold].score(past.state(user, time), apart[fold].item_effects.of(torch.from_numpy(item)))

    by_day = ItemsByDay(len(apart[0].ids))
    shown = by_day.solve(by_day.partial(Shown(exposures.first, exposures.day, exposures.events.item)))
    return sampled_slots([exposures], shown, lambda _: history, rewards, seed, slates=slates, draws=draws)
