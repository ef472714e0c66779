"""The second stage: what showing an item did to the outcome, estimated causally from a log with propensities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Ints
from reward.causal.choosing import Chosen, groups_of
from reward.causal.diagnostics.calibration_slope import calibration_slope
from reward.causal.diagnostics.policy_shift import PolicyShift, policy_shifts
from reward.causal.exposures import Exposures, check_log, exposures_of
from reward.causal.item_effects.day_effects import covariances, day_effects
from reward.causal.item_effects.effect_curve import effect_curve
from reward.causal.item_effects.feedback_rates import Traits
from reward.causal.item_effects.front_door import FrontDoor
from reward.causal.item_effects.ipw import IPWEstimates, ipw_estimates
from reward.causal.item_effects.newcomers import newcomers_of
from reward.causal.item_effects.outcome_residuals import DayEffects
from reward.causal.item_effects.shrinkage import Pooled, effects_by_fold, left_out, pooled_effects
from reward.causal.protocol import EffectModel, EstimatedEffects
from reward.causal.user_effects.feedback import Answers
from reward.columns import ITEM
from reward.data.event_log import EventLog
from reward.data.prepared import PreparedLog
from reward.outcomes.protocol import DailyOutcome

# What the estimate cannot see of an effect, as a share of it: it differs between those who are shown an item and all
# users, and items fade at paces of their own. Chosen in the named worlds and in drawn worlds of even seeds.
_MISFIT = 0.25


@dataclass(frozen=True)
class ItemEffects(EstimatedEffects):
    """What one exposure of each item does over the horizon, against an average exposure of the log.

    The table of items also has ``anchor`` and ``anchor_std`` (before pooling; null where never shown), ``gate`` (how
    much of the effect once the gate is open a mean exposure has, see `Traits.share`) and ``behind`` (that effect).

    Attributes:
        curve: (H,) share of an effect that shows on each day of the horizon.
        spreads: standard deviation found between items' own parts, groups, described and answered traits.
    """

    curve: Doubles
    spreads: tuple[float, float, float, float]


def estimate_effects(
    log: EventLog | PreparedLog,
    outcome: DailyOutcome,
    *,
    gate: str | None,
    rare: Sequence[str] | str | None,
    group: str | None,
    folds: int,
    most_weight: float,
    smooth_days: float,
    curve_rounds: int,
    joint_rounds: int,
    personal: Callable[..., tuple[EffectModel, Mapping[float, PolicyShift]]] | None,
    seed: int,
    propensity: Doubles | None = None,
    forecast: pl.DataFrame | None = None,
) -> ItemEffects:
    """Estimate the effect of each item from a log.

    What is estimated are sums over users, see `reward.statistics.sums`: of a prepared log one chunk is read at a time.

    1. *Residual*: the days after each user-day minus their forecast, combined over the horizon by generalised least
       squares (`outcome_residuals`). 2. *Anchor*: inverse-propensity means of these by item (`ipw`). 3. *Front door*:
    what came after exposures that opened the gate, against the item's others (`front_door`), and how far it is to be
    read as an effect (`link`). 4. *Pooling*: both shrunk to what creators, features and feedback foretell, by
    empirical Bayes (`shrinkage`). All nuisances are cross-fitted by user.

    Args:
        log: a checked log, or one prepared, cut where it is to be known.
        outcome: what effects are on: its days are forecast, and what is left of them is explained.
        gate: feedback without which an exposure does nothing, such as the click; None: there is none; ``auto``: as
            the log's own evidence says, see `choosing`.
        rare: feedback where 0 means that nothing was asked, such as a survey; ``auto``: the same.
        group: a category of the items table to pool over, such as the creator; None: none; ``auto``: the same.
        folds: groups of users for cross-fitting.
        most_weight: clip of the inverse-propensity weights, in multiples of an item's mean.
        smooth_days: stiffness of the effect curve, see `effect_curve`.
        curve_rounds: how often the curve is estimated anew from the effects, and these from it.
        joint_rounds: how often what else was shown on a day is taken out, see `ipw_estimates`.
        personal: fits what an item does to one user rather than another, such as `fit_user_effects`; None: items alone.
        seed: draws the folds.
        propensity: (events,) probabilities to use instead of the log's.
        forecast: the baseline to use, see `user_days`.

    Raises:
        SchemaError: the log has no propensities and none are given, or they are not probabilities; ``gate``, ``rare``
            or ``group`` are not columns; or the log does not tell what items did, see `user_days` and `ipw_estimates`.

    Source:
        Kennedy, "Towards optimal doubly robust estimation of heterogeneous causal effects" (2023); Robins' structural
        nested mean models; Efron & Morris, "Stein's estimation rule and its competitors" (1973).
    """
    prepared = PreparedLog.of(log)
    check_log(prepared.log, propensity, gate=gate, rare=rare, group=group)
    shown = exposures_of(
        prepared, outcome, propensity, folds=folds, seed=seed, most_weight=most_weight, forecast=forecast
    )
    covariance = covariances(shown.days)
    curve = np.full(outcome.horizon_days, 1 / outcome.horizon_days)
    found = _Measured.of(shown, day_effects(shown.days, covariance, curve), joint_rounds)
    chooser = shown.chooser(found.anchor, shown.observed(found.effects))
    chosen = chooser.select_roles(gate, rare, group)
    traits, columns = chooser.item_traits(chosen.roles, chosen.unopened)
    groups, opened = groups_of(shown.table, chosen.roles.group), shown.mediator_open(chosen.roles.gate)
    found = found.beside(shown, opened, chosen.bias_std)
    predicted = effects_by_fold(found.left_out(traits, groups), traits, groups)[0]
    calibration = calibration_slope(shown.observed(found.effects), predicted)
    for done in range(curve_rounds):
        if done:
            predicted = effects_by_fold(found.left_out(traits, groups), traits, groups)[0]
        curve = effect_curve(shown.observed(found.effects), predicted, calibration, smooth_days=smooth_days)
        found = _Measured.of(shown, day_effects(shown.days, covariance, curve), joint_rounds)
        found = found.beside(shown, opened, chosen.bias_std)
    anchor, effects = found.anchor, found.effects
    pooled, apart = pooled_effects(anchor, traits, groups, found.front), found.left_out(traits, groups)
    frame = _frame(shown, anchor, pooled, traits, groups)
    if personal is None:
        pushed = policy_shifts(shown.count, *effects_by_fold(apart, traits, groups), anchor)
        return ItemEffects(frame, calibration, None, pushed, chosen, curve, pooled.spreads)
    model, pushed = personal(
        shown.whole.users.events,
        shown.whole.days,
        shown.whole_effects(effects),
        ids=shown.table[ITEM],
        behind=_behind(apart, pooled, traits, groups),
        variance=_variance_behind(pooled, traits, groups),
        gate_share=traits.gate[-1],
        traits=traits.described,
        group=groups,
        propensity=shown.whole.propensity,
        answers=_answers(shown, chosen),
        newcomers=newcomers_of(shown.table, columns, chosen.roles.group, groups, pooled),
        seed=seed,
    )
    return ItemEffects(frame, calibration, model, pushed, chosen, curve, pooled.spreads)


class _Measured(NamedTuple):
    """What the log says of items, before any shrinkage."""

    effects: list[DayEffects]
    anchor: IPWEstimates
    front: FrontDoor | None = None

    @classmethod
    def of(cls, shown: Exposures, effects: list[DayEffects], rounds: int) -> _Measured:
        """Inverse-propensity means of day effects."""
        return cls(effects, ipw_estimates(shown.observed(effects), len(shown.table), rounds=rounds))

    def beside(self, shown: Exposures, opened: Sequence[Bools] | None, bias_std: float | None) -> _Measured:
        """The same with what came after the mediator opened."""
        return self._replace(front=shown.front_door(self.effects, opened, bias_std))

    def left_out(self, traits: Traits, groups: Ints) -> list[Pooled]:
        """For each fold what the others' users say."""
        return left_out(self.anchor, traits, groups, self.front)


def _variance_behind(pooled: Pooled, traits: Traits, groups: Ints) -> Doubles:
    """(items,) of the effects behind the gate."""
    misfit = _MISFIT * pooled.effect_given_mediator(traits, groups)
    return np.asarray(pooled.effect_given_mediator_std(traits, groups) ** 2 + misfit**2, np.float64)


def _behind(apart: Sequence[Pooled], pooled: Pooled, traits: Traits, groups: Ints) -> Doubles:
    """(folds + 1, items) effects behind the gate, each fold's without its users, and that of all."""
    of_fold = [it.effect_given_mediator(traits, groups, fold) for fold, it in enumerate(apart)]
    return np.stack([*of_fold, pooled.effect_given_mediator(traits, groups)])


def _answers(shown: Exposures, chosen: Chosen) -> Answers:
    return Answers.fit(
        shown.whole.users.events,
        shown.whole.item,
        len(shown.table),
        feedback=shown.feedback,
        flags=shown.prepared.log.flags or (),
        gate=chosen.roles.gate,
        rare=chosen.roles.rare,
        unopened=chosen.unopened,
    )


def _frame(shown: Exposures, anchor: IPWEstimates, pooled: Pooled, traits: Traits, groups: Ints) -> pl.DataFrame:
    """What is said of each item."""
    mean, std = pooled.posterior_effects(traits, groups)
    mean = mean - shown.count @ mean / shown.count.sum()
    std = np.hypot(std, _MISFIT * mean)
    precision = (1 / anchor.variance).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = (anchor.value / anchor.variance).sum(axis=0) / precision
        return shown.table.select(ITEM).with_columns(
            pl.Series("exposures", shown.count.astype(np.int64)),
            pl.Series("mean", mean),
            pl.Series("std", std),
            pl.Series("anchor", alone).fill_nan(None),
            pl.Series("anchor_std", np.where(precision > 0, precision**-0.5, np.nan)).fill_nan(None),
            pl.Series("gate", traits.share(-1)),
            pl.Series("behind", pooled.effect_given_mediator(traits, groups)),
        )
