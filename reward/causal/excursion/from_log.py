"""Distal causal excursion effects of items, from a recommender's log.

A decision point is an exposure, treatment is that it holds an item, and the outcome is the user's active days over the
horizon after it. All else, before and after, is as the policy does it: an effect is one of a single exposure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.causal.diagnostics.calibration_slope import calibration_slope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.excursion.arms import ArmRows, Arms, arm_effects
from reward.causal.excursion.model import ExcursionEffect
from reward.causal.excursion.shrunk import Shrunk, shrunk_effects
from reward.causal.exposures import Exposures, check_log, exposures_of
from reward.causal.item_effects.ipw import IPWEstimates
from reward.causal.item_effects.observed import fold_days_of, usual_by_day
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.causal.protocol import EstimatedEffects
from reward.columns import ITEM
from reward.data.event_log import EventLog, SchemaError
from reward.data.prepared import PreparedLog
from reward.outcomes.protocol import DailyOutcome


def estimate_excursions(
    log: EventLog | PreparedLog,
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
        log: a checked log, or one prepared, cut where it is to be known.
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
    prepared = PreparedLog.of(log)
    check_log(prepared.log, propensity, gate=None, rare=(), group=group)
    shown = exposures_of(prepared, outcome, propensity, folds=folds, seed=seed, most_weight=most_weight)
    effects = complete_days(shown.days, outcome.horizon_days)
    observed, items = shown.observed(effects), len(shown.table)
    usual = usual_by_day(observed, lambda it: (it.mass, it.value), fold_days_of(shown.days[0]))
    value = [it.value - usual[it.when] for it in observed]
    of_fold = [
        ArmRows(beyond, it.mass, it.days.row_fold * items + it.item, it.days.row_user)
        for it, beyond in zip(observed, value, strict=True)
    ]
    arms = arm_effects(of_fold, folds * items, prior_users=prior_users)
    anchor = IPWEstimates(arms.value.reshape(folds, items), arms.variance.reshape(folds, items))
    chosen = shown.chooser(anchor).select_roles(None, (), group)
    shrunk = shrunk_effects(shown, anchor, chosen.roles.group)
    calibration = calibration_slope(observed, shrunk.mean[:-1])
    of_all = [it._replace(cell=it.cell % items) for it in of_fold]
    whole = arm_effects(of_all, items, prior_users=prior_users)
    known = [it.effect.precision[it.days.row] for it in observed]
    model, pushed = moderation(shown, shrunk, shown.in_order(value), shown.in_order(known), seed=seed)
    return EstimatedEffects(_frame(shown, whole, shrunk, level), calibration, model, pushed, chosen)


def complete_days(days: Sequence[UserDays], horizon_days: int) -> list[DayEffects]:
    """What came after each user-day over the whole horizon, beyond what was expected: known where the log has it all.

    Raises:
        SchemaError: it has it of no user-day.
    """
    known = [each.known >= horizon_days for each in days]
    if not any(each.any() for each in known):
        raise SchemaError(
            f"excursion effects expected exposures with all {horizon_days} days after them in the log, found none: "
            "give a longer log, or set a shorter horizon_days"
        )
    value = [
        np.where(whole, each.residual.sum(axis=1, dtype=np.float64), 0.0)
        for whole, each in zip(known, days, strict=True)
    ]
    return [DayEffects(gained, whole.astype(np.float64)) for gained, whole in zip(value, known, strict=True)]


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
