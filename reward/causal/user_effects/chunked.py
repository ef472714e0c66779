"""Effects on one user rather than another, cross-fitted by user, as sums over users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift, Slots, slot_policy_shifts
from reward.causal.diagnostics.sampled_slots import sampled_slots
from reward.causal.item_effects.newcomers import Newcomers
from reward.causal.user_effects.effect_net import EffectNet
from reward.causal.user_effects.exposed import DailyItems, ExposedUsers
from reward.causal.user_effects.features import taste_vectors
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.g_estimation import GEstimates, Moments, g_estimates, held_out_g_estimates
from reward.causal.user_effects.item_times import ReferenceItems, TimesShown, facts_of
from reward.causal.user_effects.mediator import MediatorFit
from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.preferences import GivenFeedback, PreferenceFit
from reward.causal.user_effects.replay import Contrasts, EffectMoments, NetExposures, Replay
from reward.causal.user_effects.user_state import UserHistory
from reward.rewards import Rewards
from reward.statistics.sums import fold

Nets = Callable[..., tuple[EffectNet, ...]]


class ItemEffectsBehind(NamedTuple):
    """What is known of the items of a log before their effects on one user rather than another.

    Attributes:
        ids: (items,) ascending; strings are objects.
        behind: (folds + 1, items) effects behind the gate, each fold's without its users, and that of all.
        variance: (items,) of the last.
        gate_share: (items,) share of exposures that open the gate; 1 where there is no gate.
        traits: (items, columns) that describe them, standardised.
        group: (items,) codes from 0.
        newcomers: what is expected of others.
    """

    ids: NDArray[Any]
    behind: Doubles
    variance: Doubles
    gate_share: Doubles
    traits: Doubles
    group: Ints
    newcomers: Newcomers


class PersonalSettings(NamedTuple):
    """Settings of the fit, see `fit_user_effects`."""

    spans_days: tuple[float, ...]
    alternatives: int
    gate_rows: int
    clusters: int
    reference_items: int
    reference_days: float
    pushed_slates: int
    pushed_draws: int


def fit_of_chunks(
    chunks: Iterable[ExposedUsers],
    shown: DailyItems,
    items: ItemEffectsBehind,
    answers: Answers,
    settings: PersonalSettings,
    *,
    net: Nets | None,
    seed: int,
) -> tuple[PersonalizedEffect, Mapping[float, PolicyShift]]:
    """Fit the personal part from a log in chunks of whole users: the same for any chunks, in any order.

    1. *Taste*: what in an item's features makes users answer differently (`preferences`). 2. *Gate*: a logistic
    regression. 3. *Effect behind it*: the days after are regressed on the gate times the columns, with what these are
    beyond the mean of ``alternatives`` items drawn from the same day's exposures as instruments, weighted by the share
    of the item among the day's exposures over the propensity: as if every slot had been filled by chance, in these
    shares.
    4. *Net*, where asked for: what the linear part leaves is learnt by a network, which becomes one more column. Of a
    user's exposures it is made without their fold, so that its coefficient shrinks where it says nothing.
    5. *Policy shift*: how far a ranker may lean on rewards, by those of each fold's users made without them, see
    `slot_policy_shifts`.

    All but the net are sums over users, see `reward.statistics.sums`. Each exposure has its own places in the streams
    of random numbers, whichever chunk it is in.

    Args:
        chunks: all users of the log, some at a time; read several times.
        shown: what the log showed on each of its days.
        items: what is known of its items.
        answers: of the log.
        settings: of the fit.
        net: see `fit_user_effects`.
        seed: draws exposures, items and slates.

    Returns:
        The personal part, and by pessimism how far a ranker may be pushed on its rewards.

    Source:
        Nie & Wager, "Quasi-oracle estimation of heterogeneous treatment effects" (Biometrika 2021); Li, Morgan &
        Zaslavsky, "Balancing Covariates via Propensity Score Weighting" (JASA 2018) for weights that aim at a
        population the log holds.
    """
    replay, late = _replay(chunks, items, answers, settings)
    gated, draws = answers.gate is not None, (seed, 11)
    gate = fold(MediatorFit(replay, settings.gate_rows / len(shown), draws), chunks) if gated else np.zeros(0)
    start = len(shown) if gated else 0  # the gate has drawn a number for each exposure
    contrasts = Contrasts(replay, shown, gate, items.behind, settings.alternatives, draws, start)
    fitted = _fitted(chunks, contrasts, net, seed, settings.clusters)
    share = answers.unopened + (1 - answers.unopened) * items.gate_share
    personal = PersonalizedEffect(
        answers=answers,
        tastes=replay.tastes,
        ids=items.ids,
        facts=replay.facts,
        newcomers=items.newcomers,
        basket=fold(ReferenceItems(items.behind[-1] * share, late, settings.reference_items), chunks),
        spans_days=settings.spans_days,
        gate=gate,
        scale=fitted.scale,
        coefficients=fitted.whole.coefficients,
        covariance=fitted.whole.covariance,
        net=fitted.nets[-1] if fitted.nets else None,
        **fitted.calibrations(),
    )
    slots = _slots(chunks, contrasts, personal, fitted, (seed, 13), settings)
    return personal, slot_policy_shifts(slots)


def _replay(
    chunks: Iterable[ExposedUsers], items: ItemEffectsBehind, answers: Answers, settings: PersonalSettings
) -> tuple[Replay, float]:
    """What the past is read with, and the moment from which exposures are the last of the log."""
    tastes = fold(PreferenceFit(items.traits), map(_given, chunks))
    times = fold(TimesShown(len(items.ids)), chunks)
    taste = taste_vectors(items.traits, tastes)
    facts = facts_of(times, items.behind[-1], items.variance, items.gate_share, items.group, taste)
    return Replay(answers, tastes, facts, settings.spans_days), times.end - settings.reference_days


def _given(users: ExposedUsers) -> list[GivenFeedback]:
    """What users answered, column by column."""
    log = users.events
    return [
        GivenFeedback(log.answer[told, column], log.user[told], log.item[told])
        for column, told in enumerate(log.told.T > 0)
    ]


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
    chunks: Iterable[ExposedUsers], contrasts: Contrasts, net: Nets | None, seed: int, clusters: int
) -> _Fitted:
    """The linear part, and with a net all of it anew."""
    scale, moments = fold(EffectMoments(contrasts, (), clusters), chunks)
    linear = _Fitted(scale, moments, *_by_fold(moments, scale), ())
    if net is None:
        return linear
    without = np.concatenate([linear.apart, linear.whole.coefficients[None]]) / scale
    again = contrasts.drawn_again()
    nets = net(fold(NetExposures(again, without), chunks), seed=seed)
    scale, moments = fold(EffectMoments(again.drawn_again(), nets, clusters), chunks)
    found = _Fitted(scale, moments, *_by_fold(moments, scale), nets)
    before = np.pad(linear.apart, [(0, 0), (0, 1)])
    return found._replace(net_calibration=held_out_g_estimates(moments, found.apart - before, before))


def _slots(
    chunks: Iterable[ExposedUsers],
    contrasts: Contrasts,
    personal: PersonalizedEffect,
    fitted: _Fitted,
    seed: tuple[int, ...],
    settings: PersonalSettings,
) -> Slots:
    """Slots with rewards that are made for each fold without it."""
    made = [
        personal.replaced(
            facts=personal.facts._replace(behind=torch.from_numpy(np.append(contrasts.behind[place], 0.0))),
            coefficients=fit.coefficients,
            covariance=fit.covariance,
            net=fitted.nets[place] if fitted.nets else None,
        )
        for place, fit in enumerate(fitted.folds)
    ]

    def past(users: ExposedUsers) -> tuple[int, UserHistory]:
        return users.first_user, contrasts.replay.history(users)

    def rewards(place: int, known: tuple[int, UserHistory], user: Ints, time: Doubles, item: Ints) -> Rewards:
        facts = made[place].facts.of(torch.from_numpy(item))
        return made[place].of_rows(known[1], user - known[0], time, facts)

    size = {"slates": settings.pushed_slates, "draws": settings.pushed_draws}
    return sampled_slots(chunks, contrasts.shown, past, rewards, seed, **size)


def _by_fold(moments: Moments, scale: Doubles) -> tuple[GEstimates, list[GEstimates]]:
    """The fit to all users, and for each fold that to the others."""
    expected = np.zeros(len(scale))
    expected[1] = scale[1]
    folds = range(int(moments.fold.max()) + 1)
    return g_estimates(moments, expected), [g_estimates(moments, expected, without=fold) for fold in folds]
