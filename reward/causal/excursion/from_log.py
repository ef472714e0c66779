"""Distal causal excursion effects of items, from a recommender's log.

A decision point is an exposure, treatment is that it holds an item, and the outcome is the user's active days over the
horizon after it. All else, before and after, is as the policy does it: an effect is one of a single exposure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.causal.diagnostics.calibration_slope import calibration_slope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.excursion.arms import Arms, arm_effects
from reward.causal.excursion.model import ExcursionEffect
from reward.causal.excursion.shrunk import Shrunk, shrunk_effects
from reward.causal.exposures import Exposures, check_log, exposures_of
from reward.causal.item_effects.ipw import Anchors
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays, centred, fold_and_day
from reward.causal.protocol import EstimatedEffects
from reward.columns import ITEM
from reward.data.event_log import EventLog, SchemaError
from reward.outcomes.protocol import DailyOutcome


def estimate_excursions(
    log: EventLog,
    outcome: DailyOutcome,
    *,
    group: str | None,
    folds: int,
    most_weight: float,
    prior_users: float,
    level: float,
    moderation: Callable[..., tuple[ExcursionEffect, Mapping[float, PolicyShift]]],
    seed: int,
    propensity: Doubles | None = None,
) -> EstimatedEffects:
    """Estimate what one exposure of each item does to the days after it, and for whom it does more.

    1. *Nuisance*: the outcome expected from the user's past and the day, by regression (`user_days`); each item's arm
       has a level of its own. 2. *Items*: inverse-propensity means of what is left, by item, against what the policy
    shows that day, with errors clustered by user and corrected for few of them (`arm_effects`). 3. *Shrinkage* to what
    features and groups foretell (`shrinkage`). 4. *Moderators*: the effects are projected on the item's own effect
    times what the user's past says, where the item is centred at what the policy shows that day. Everything is
    cross-fitted by user.

    The reference is the policy itself, and not all other items, since a log has the probability of what was shown
    alone. Decision points whose horizon ends after the log take no part.

    Args:
        log: a checked log, cut where it is to be known.
        outcome: whose days; its scope is the user.
        group: a category of the items table to shrink to, such as the creator; None: none; ``auto``: as the log's own
            evidence says.
        folds: groups of users for cross-fitting.
        most_weight: clip of the inverse-propensity weights, in multiples of an item's mean.
        prior_users: users after which an item's own variance counts for half.
        level: of the intervals in the table of items.
        moderation: makes the model of the effects of items, such as `fit_moderation`.
        seed: draws folds, slates and items.
        propensity: (events,) probabilities to use instead of the log's.

    Returns:
        Effects whose table of items also has ``unpooled`` with ``unpooled_se``, ``low`` and ``high`` (the effect of
        step 2 with its clustered error and interval; null where the item was not shown or to too few users) and
        ``users``.

    Raises:
        SchemaError: the log has no propensities and none are given, or they are not probabilities; ``group`` is no
            column; or the log does not tell what items did.

    Source:
        Qian, "Distal causal excursion effects" (arXiv 2502.13500); Boruvka et al. (JASA 2018) for centred treatment.
    """
    check_log(log, propensity, gate=None, rare=(), group=group)
    shown = exposures_of(log, outcome, propensity, folds=folds, seed=seed, most_weight=most_weight)
    effect = complete_days(shown.days, outcome.horizon_days)
    known = effect.precision[shown.days.row]
    items, weight = len(shown.table), shown.weight * known
    value = centred(effect.value[shown.days.row], weight, fold_and_day(shown.days))
    cell = shown.fold * items + shown.item
    arms = arm_effects(value, weight, cell, shown.user, folds * items, prior_users=prior_users)
    anchor = Anchors(arms.value.reshape(folds, items), arms.variance.reshape(folds, items))
    chosen = shown.chooser(anchor).choose(None, (), group)
    shrunk = shrunk_effects(shown, anchor, chosen.roles.group)
    calibration = calibration_slope(shown.days, effect, shown.item, shown.weight, shrunk.mean[:-1])
    whole = arm_effects(value, weight, shown.item, shown.user, items, prior_users=prior_users)
    model, pushed = moderation(shown, shrunk, value, known, seed=seed)
    return EstimatedEffects(_frame(shown, whole, shrunk, level), calibration, model, pushed, chosen)


def complete_days(days: UserDays, horizon_days: int) -> DayEffects:
    """What came after each user-day over the whole horizon, beyond what was expected: known where the log has it all.

    Raises:
        SchemaError: it has it of no user-day.
    """
    known = days.known >= horizon_days
    if not known.any():
        raise SchemaError(
            f"excursion effects expected exposures with all {horizon_days} days after them in the log, found none: "
            "give a longer log, or set a shorter horizon_days"
        )
    value = np.where(known, days.residual.sum(axis=1, dtype=np.float64), 0.0)
    return DayEffects(value, known.astype(np.float64))


def _frame(shown: Exposures, whole: Arms, shrunk: Shrunk, level: float) -> pl.DataFrame:
    """What is said of each item."""
    low, high = whole.intervals(level)
    there = whole.users > 0
    numbers = {
        "unpooled": np.where(there, whole.value, np.nan),
        "unpooled_se": np.where(there, np.sqrt(whole.variance), np.nan),
        "low": np.where(there, low, np.nan),
        "high": np.where(there, high, np.nan),
    }
    return shown.table.select(ITEM).with_columns(
        pl.Series("exposures", shown.count.astype(np.int64)),
        pl.Series("mean", shrunk.mean[-1]),
        pl.Series("std", shrunk.std[-1]),
        *(pl.Series(name, column).fill_nan(None) for name, column in numbers.items()),
        pl.Series("users", whole.users),
    )
