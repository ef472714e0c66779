"""The second stage: what showing an item did to the outcome, estimated causally from a log with propensities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.choosing import Chooser, Chosen, groups_of
from reward.causal.diagnostics.policy_shift import Push, pushes
from reward.causal.item_effects.feedback_rates import Column, Traits, described, describing, rates
from reward.causal.item_effects.ipw import Anchors, HeldOut, anchors, effect_curve, held_out, inverse_weights
from reward.causal.item_effects.outcome_residuals import covariances, day_effects, user_days
from reward.causal.item_effects.shrinkage import Pooled, pooled_effects
from reward.causal.propensity.plausibility import impossible
from reward.causal.settings import name_problems
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.model import Newcomers, Personal
from reward.columns import ITEM, PROPENSITY
from reward.data.event_log import EventLog, SchemaError, click_of
from reward.outcomes.protocol import DailyOutcome


@dataclass(frozen=True)
class ItemEffects:
    """What one exposure of each item does over the horizon, against an average exposure of the log.

    Attributes:
        items: one row an item of the log or of its items table: ``item_id``, ``exposures``, ``mean`` and ``std`` (the
            estimate and its standard deviation, in days), ``anchor`` and ``anchor_std`` (before pooling; null where
            never shown), ``gate`` (the share of exposures that open the gate) and ``behind`` (the effect once open).
        curve: (H,) share of an effect that shows on each day of the horizon.
        spreads: standard deviation found between items' own parts, groups, described and answered traits.
        borne_out: how the log's own users bear out effects estimated without them.
        personal: how effects depend on what a user likes and has seen; None where not asked for.
        pushed: how far a ranker may be pushed, by how pessimistic it is: on rewards (`slot_pushes`) where there is a
            personal part, else on the effects of items (`pushes`).
        chosen: what opens an effect, which answers are rare and what items are pooled over, and why.
    """

    items: pl.DataFrame
    curve: Doubles
    spreads: tuple[float, float, float, float]
    borne_out: HeldOut
    personal: Personal | None
    pushed: Mapping[float, Push]
    chosen: Chosen

    def reward(self, items: pl.Series, *, pessimism: float = 0.0) -> pl.Series:
        """Mean − ``pessimism`` · std for each of ``items``; 0, an average exposure, for those not known."""
        found = items.to_frame(ITEM).join(self.items, on=ITEM, how="left", maintain_order="left")
        return (found["mean"] - pessimism * found["std"]).fill_null(0.0).alias("reward")


def fit_effects(
    log: EventLog,
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
    personal: Callable[..., tuple[Personal, Mapping[float, Push]]] | None,
    seed: int,
    propensity: Doubles | None = None,
    forecast: pl.DataFrame | None = None,
) -> ItemEffects:
    """Estimate the effect of each item from a log.

    1. *Residual*: the days after each user-day minus their forecast, combined over the horizon by generalised least
       squares (`outcome_residuals`). 2. *Anchor*: inverse-propensity means of these by item (`ipw`). 3. *Pooling*:
    anchors shrunk to what creators, features and feedback foretell, by empirical Bayes (`shrinkage`). All nuisances are
    cross-fitted by user.

    Args:
        log: a checked log, cut where it is to be known.
        outcome: what effects are on: its days are forecast, and what is left of them is explained.
        gate: feedback without which an exposure does nothing, such as the click; None: there is none; ``auto``: as
            the log's own evidence says, see `choosing`.
        rare: feedback where 0 means that nothing was asked, such as a survey; ``auto``: the same.
        group: a category of the items table to pool over, such as the creator; None: none; ``auto``: the same.
        folds: groups of users for cross-fitting.
        most_weight: clip of the inverse-propensity weights, in multiples of an item's mean.
        smooth_days: stiffness of the effect curve, see `effect_curve`.
        curve_rounds: how often the curve is estimated anew from the effects, and these from it.
        joint_rounds: how often what else was shown on a day is taken out, see `anchors`.
        personal: fits what an item does to one user rather than another, such as `fit_personal`; None: items alone.
        seed: draws the folds.
        propensity: (events,) probabilities to use instead of the log's.
        forecast: the baseline to use, see `user_days`.

    Raises:
        SchemaError: the log has no propensities and none are given, or they are not probabilities; ``gate``, ``rare``
            or ``group`` are not columns; or the log does not tell what items did, see `user_days` and `anchors`.

    Source:
        Kennedy, "Towards optimal doubly robust estimation of heterogeneous causal effects" (2023); Robins' structural
        nested mean models; Efron & Morris, "Stein's estimation rule and its competitors" (1973).
    """
    events = log.events.collect()
    _check(log, events, gate, rare, group, propensity)
    table = _table(log, events)
    item = table[ITEM].search_sorted(events[ITEM]).to_numpy().astype(np.int64)
    size = len(table)
    days = user_days(log, outcome, folds=folds, seed=seed, forecast=forecast)
    covariance = covariances(days)
    shares = events[PROPENSITY].to_numpy() if propensity is None else propensity
    weight = inverse_weights(shares, item, size, most=most_weight)
    curve = np.full(outcome.horizon_days, 1 / outcome.horizon_days)
    effect = day_effects(days, covariance, curve)
    anchor = anchors(days, effect, item, weight, size, rounds=joint_rounds)
    fold = days.fold[days.user[days.row]]
    features = [name for name in log.item_features if name in table.columns]
    chosen = Chooser(events, item, fold, table, features, log.feedback, click_of(log), anchor).choose(gate, rare, group)
    roles = chosen.roles
    answered, opened, doubt, _ = rates(
        events, item, fold, size, folds, feedback=log.feedback, gate=roles.gate, rare=roles.rare
    )
    columns = describing(table, features, roles.group)
    traits = Traits(described(table, columns), answered, opened, doubt)
    groups = groups_of(table, roles.group)
    predicted, _ = _effects(_left_out(anchor, traits, groups), traits, groups)
    borne_out = held_out(days, effect, item, weight, predicted)
    for done in range(curve_rounds):
        if done:
            predicted, _ = _effects(_left_out(anchor, traits, groups), traits, groups)
        curve = effect_curve(days, item, weight, predicted, borne_out, smooth_days=smooth_days)
        effect = day_effects(days, covariance, curve)
        anchor = anchors(days, effect, item, weight, size, rounds=joint_rounds)
    pooled = pooled_effects(anchor, traits, groups)
    mean, std = pooled.effects(traits, groups)
    shown = np.bincount(item, minlength=size)
    mean = mean - shown @ mean / shown.sum()
    precision = (1 / anchor.variance).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = (anchor.value / anchor.variance).sum(axis=0) / precision
        frame = table.select(ITEM).with_columns(
            pl.Series("exposures", shown),
            pl.Series("mean", mean),
            pl.Series("std", std),
            pl.Series("anchor", alone).fill_nan(None),
            pl.Series("anchor_std", np.where(precision > 0, precision**-0.5, np.nan)).fill_nan(None),
            pl.Series("gate", traits.gate[-1]),
            pl.Series("behind", pooled.behind(traits, groups)),
        )
    apart = _left_out(anchor, traits, groups)
    if personal is None:
        pushed = pushes(shown.astype(np.float64), *_effects(apart, traits, groups), anchor)
        return ItemEffects(frame, curve, pooled.spreads, borne_out, None, pushed, chosen)
    found, pushed = personal(
        events,
        days,
        effect,
        ids=table[ITEM],
        behind=np.stack(
            [*(it.behind(traits, groups, fold) for fold, it in enumerate(apart)), pooled.behind(traits, groups)]
        ),
        variance=pooled.behind_std(traits, groups) ** 2,
        gate_share=traits.gate[-1],
        traits=traits.described,
        group=groups,
        propensity=shares,
        answers=Answers.fit(
            events, item, size, feedback=log.feedback, flags=log.flags or (), gate=roles.gate, rare=roles.rare
        ),
        newcomers=_newcomers(table, columns, roles.group, groups, pooled),
        seed=seed,
    )
    return ItemEffects(frame, curve, pooled.spreads, borne_out, found, pushed, chosen)


def _check(
    log: EventLog,
    events: pl.DataFrame,
    gate: str | None,
    rare: Sequence[str] | str | None,
    group: str | None,
    propensity: Doubles | None,
) -> None:
    problems = list(name_problems(log, gate=gate, rare=rare, group=group))
    if propensity is None and PROPENSITY not in events.columns:
        problems.append(f"the log has no column {PROPENSITY}: give it, or estimate it with estimate_propensities")
    else:
        shares = events[PROPENSITY].to_numpy() if propensity is None else propensity
        wrong = impossible(shares, len(events))
        problems += [] if wrong is None else [wrong]
    if problems:
        raise SchemaError("; ".join(problems))


def _table(log: EventLog, events: pl.DataFrame) -> pl.DataFrame:
    """Every item of the log or of its items table, ascending."""
    shown = events.select(pl.col(ITEM).unique())
    if log.items is None:
        return shown.sort(ITEM)
    return log.items.collect().join(shown, on=ITEM, how="full", coalesce=True).sort(ITEM)


def _newcomers(
    table: pl.DataFrame, columns: tuple[Column, ...], group: str | None, groups: Ints, pooled: Pooled
) -> Newcomers:
    names = (
        pl.Series([], dtype=pl.String) if group is None else table[group].cast(pl.String).drop_nulls().unique().sort()
    )
    codes = np.zeros(0, np.int64)
    if group is not None:
        known = table.select(pl.col(group).cast(pl.String).alias("name"), pl.Series("code", groups)).unique("name")
        codes = names.to_frame("name").join(known, on="name", how="left", maintain_order="left")["code"].to_numpy()
    coefficients = pooled.coefficients[1 : 2 + len(columns)]
    return Newcomers(columns, group, coefficients, tuple(names), codes, pooled.group[codes])


def _left_out(anchor: Anchors, traits: Traits, groups: Ints) -> list[Pooled]:
    """For each fold the fit to the other folds' users."""
    return [pooled_effects(anchor, traits, groups, without=fold) for fold in range(len(anchor.value))]


def _effects(apart: Sequence[Pooled], traits: Traits, groups: Ints) -> tuple[Doubles, Doubles]:
    """(folds, items) effects and their standard deviations, each fold's from its own fit."""
    mean, std = zip(*(each.effects(traits, groups, fold) for fold, each in enumerate(apart)), strict=True)
    return np.stack(mean), np.stack(std)
