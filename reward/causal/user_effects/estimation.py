"""The fit of effects on one user rather than another, cross-fitted by user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift, Slots, slot_policy_shifts
from reward.causal.diagnostics.sampled_slots import OrderedExposures, sampled_slots
from reward.causal.exposures import day_share
from reward.causal.item_effects.newcomers import Newcomers
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.causal.user_effects.effect_net import EffectNet
from reward.causal.user_effects.features import facts_of
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.g_estimation import GEstimates, Moments, g_estimates, held_out_g_estimates
from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.preferences import Taste, fit_taste
from reward.causal.user_effects.replay import Exposed, Replay
from reward.causal.user_effects.user_state import Events, UserHistory
from reward.columns import ITEM, TIMESTAMP
from reward.data.days import days_since_1970
from reward.data.event_log import slate_moment
from reward.rewards import Rewards


def fit_user_effects(
    events: pl.DataFrame,
    days: UserDays,
    effect: DayEffects,
    *,
    ids: pl.Series,
    behind: Doubles,
    variance: Doubles,
    gate_share: Doubles,
    traits: Doubles,
    group: Ints,
    propensity: Doubles,
    answers: Answers,
    newcomers: Newcomers,
    spans_days: Sequence[float],
    most_ratio: float,
    alternatives: int,
    gate_rows: int,
    clusters: int,
    reference_items: int,
    reference_days: float,
    pushed_slates: int,
    pushed_draws: int,
    net: Callable[..., tuple[EffectNet, ...]] | None,
    seed: int,
) -> tuple[PersonalizedEffect, Mapping[float, PolicyShift]]:
    """Fit the personal part of effects whose items' own part is known.

    1. *Taste*: what in an item's features makes users answer differently (`preferences`). 2. *Gate*: a logistic
    regression. 3. *Effect behind it*: the days after are regressed on the gate times the columns, with what these are
    beyond the mean of ``alternatives`` items drawn from the same day's exposures as instruments, weighted by the share
    of the item among the day's exposures over the propensity: as if every slot had been filled by chance, in these
    shares.
    4. *Net*, where asked for: what the linear part leaves is learnt by a network, which becomes one more column. Of a
    user's exposures it is made without their fold, so that its coefficient shrinks where it says nothing.
    5. *Policy shift*: how far a ranker may lean on rewards, by those of each fold's users made without them, see
    `slot_policy_shifts`.

    Args:
        events: a checked log's.
        days: their user-days.
        effect: of each user-day.
        ids: item ids, ascending.
        behind: (folds + 1, items) effects behind the gate, each fold's without its users, and that of all.
        variance: (items,) of the last.
        gate_share: (items,) share of exposures that open the gate; 1 where there is no gate.
        traits: (items, columns) that describe them, standardised.
        group: (items,) codes from 0.
        propensity: (events,).
        answers: of the log.
        newcomers: for the artefact.
        spans_days: over which exposures are forgotten.
        most_ratio: clip of the weights.
        alternatives: items drawn for each exposure.
        gate_rows: exposures that the model of the gate is fitted to, about.
        clusters: of users, whose contributions to the coefficients are kept apart.
        reference_items: items that a reward is measured against.
        reference_days: last days of the log, in whose shares they are drawn.
        pushed_slates: slates that tell how far a ranker may be pushed, about.
        pushed_draws: items that each could have held beside those shown.
        net: fits nets to what the linear part leaves, such as `fit_effect_nets`; None: the linear part alone.
        seed: draws them.

    Returns:
        The personal part, and by pessimism how far a ranker may be pushed on its rewards.

    Source:
        Nie & Wager, "Quasi-oracle estimation of heterogeneous treatment effects" (Biometrika 2021); Li, Morgan &
        Zaslavsky, "Balancing Covariates via Propensity Score Weighting" (JASA 2018) for weights that aim at a
        population the log holds.
    """
    item = ids.search_sorted(events[ITEM]).to_numpy().astype(np.int64)
    log = Events(days.user[days.row], item, days_since_1970(events[TIMESTAMP]), *answers.beyond(events, item))
    tastes = _tastes(log, traits)
    facts = facts_of(log, behind[-1], variance, gate_share, traits, group, tastes)
    order = log.in_order()
    slate = days_since_1970(events.select(slate_moment(events.columns)).to_series())[order]
    replay = Replay(log.take(order), slate, len(days.users), answers, tastes, facts, tuple(spans_days))
    rng = np.random.default_rng([seed, 11])
    gate = np.zeros(0) if answers.gate is None else replay.gate(min(gate_rows / len(item), 1), rng)
    row, share = days.row[order], propensity[order]
    day = days.day[row] - days.day.min()
    weight = np.minimum(day_share(day, item[order]) / share, most_ratio) * effect.precision[row]
    exposed = Exposed(gate, behind, days.fold, weight, effect.value[row], day, alternatives)
    fitted = _fitted(replay, exposed, net, rng, seed, clusters)
    personal = PersonalizedEffect(
        answers=answers,
        tastes=tastes,
        ids=ids.to_numpy(),
        facts=facts,
        newcomers=newcomers,
        basket=_basket(log, behind[-1] * gate_share, reference_items, reference_days),
        spans_days=tuple(spans_days),
        gate=gate,
        scale=fitted.scale,
        coefficients=fitted.whole.coefficients,
        covariance=fitted.whole.covariance,
        net=fitted.nets[-1] if fitted.nets else None,
        **fitted.calibrations(),
    )
    rng = np.random.default_rng([seed, 13])
    return personal, slot_policy_shifts(
        _slots(replay, exposed, personal, fitted, rng, slates=pushed_slates, draws=pushed_draws)
    )


def _tastes(log: Events, traits: Doubles) -> tuple[Taste, ...]:
    """One for each column of answers."""
    return tuple(
        fit_taste(log.answer[told, column], log.user[told], log.item[told], traits)
        for column, told in enumerate(log.told.T > 0)
    )


class _Fitted(NamedTuple):
    """Coefficients of the effect behind the gate.

    Attributes:
        scale: (p,) what the columns are divided by.
        moments: what they were fitted to.
        whole: the fit to all users.
        folds: for each fold that to the others' users.
        nets: for each fold one made without it, and last that of all; none where there is no net.
    """

    scale: Doubles
    moments: Moments
    whole: GEstimates
    folds: list[GEstimates]
    nets: tuple[EffectNet, ...]
    net_calibration: CalibrationSlope | None = None

    @property
    def apart(self) -> Doubles:
        """(folds, p) coefficients."""
        return np.stack([fold.coefficients for fold in self.folds])

    def calibrations(self) -> dict[str, Any]:
        """How users held out agree with the rewards, and with each part of them."""
        alone = np.where(np.arange(len(self.scale)) < 2, self.apart, 0)
        return {
            "calibration": held_out_g_estimates(self.moments, self.apart),
            "personal_calibration": held_out_g_estimates(self.moments, self.apart - alone, alone),
            "net_calibration": self.net_calibration,
        }


def _fitted(
    replay: Replay,
    exposed: Exposed,
    net: Callable[..., tuple[EffectNet, ...]] | None,
    rng: np.random.Generator,
    seed: int,
    clusters: int,
) -> _Fitted:
    """The linear part, and with a net all of it anew."""
    scale, moments = replay.moments(exposed, (), rng, clusters)
    linear = _Fitted(scale, moments, *_by_fold(moments, scale), ())
    if net is None:
        return linear
    without = np.concatenate([linear.apart, linear.whole.coefficients[None]]) / scale
    nets = net(replay.exposures(exposed, without, rng), seed=seed)
    scale, moments = replay.moments(exposed, nets, rng, clusters)
    found = _Fitted(scale, moments, *_by_fold(moments, scale), nets)
    before = np.pad(linear.apart, [(0, 0), (0, 1)])
    return found._replace(net_calibration=held_out_g_estimates(moments, found.apart - before, before))


def _slots(
    replay: Replay,
    exposed: Exposed,
    personal: PersonalizedEffect,
    fitted: _Fitted,
    rng: np.random.Generator,
    *,
    slates: int,
    draws: int,
) -> Slots:
    """Slots with rewards that are made for each fold without it."""
    made = [
        personal.replaced(
            facts=personal.facts._replace(behind=torch.from_numpy(np.append(exposed.behind[fold], 0.0))),
            coefficients=fit.coefficients,
            covariance=fit.covariance,
            net=fitted.nets[fold] if fitted.nets else None,
        )
        for fold, fit in enumerate(fitted.folds)
    ]

    def rewards(fold: int, past: tuple[int, UserHistory], user: Ints, time: Doubles, item: Ints) -> Rewards:
        facts = made[fold].facts.of(torch.from_numpy(item))
        return made[fold].of_rows(past[1], user - past[0], time, facts)

    events = replay.events
    shown = OrderedExposures(
        events.user, events.item, replay.slate, exposed.day, exposed.fold, exposed.weight, exposed.value
    )
    pieces = ((rows, (first, past)) for rows, first, past in replay.chunks())
    return sampled_slots(shown, pieces, rewards, rng, slates=slates, draws=draws)


def _by_fold(moments: Moments, scale: Doubles) -> tuple[GEstimates, list[GEstimates]]:
    """The fit to all users, and for each fold that to the others."""
    expected = np.zeros(len(scale))
    expected[1] = scale[1]
    folds = range(int(moments.fold.max()) + 1)
    return g_estimates(moments, expected), [g_estimates(moments, expected, without=fold) for fold in folds]


def _basket(log: Events, effect: Doubles, items: int, days: float) -> Ints:
    """Codes of items in the shares in which the log's last days show them, from the weakest effect to the strongest."""
    late = log.item[log.time >= log.time.max() - days]
    order = np.argsort(effect, kind="stable")
    share = np.cumsum(np.bincount(late, minlength=len(effect))[order])
    at = (np.arange(items) + 0.5) / items * share[-1]
    return order[np.searchsorted(share, at)].astype(np.int64)
