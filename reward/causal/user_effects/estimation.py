"""The fit of effects on one user rather than another, from a log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.item_effects.newcomers import Newcomers
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.causal.user_effects.chunked import ItemEffectsBehind, Nets, PersonalSettings, fit_of_chunks
from reward.causal.user_effects.exposed import DailyItems, ExposedUsers, ItemsByDay, Shown
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.user_state import Events
from reward.columns import ITEM, TIMESTAMP
from reward.data.days import days_since_1970
from reward.data.event_log import slate_moment
from reward.statistics.sums import fold

_CHUNK_ROWS = 300_000  # exposures that are held with the past of their users


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
    net: Nets | None,
    seed: int,
    chunk_rows: int = _CHUNK_ROWS,
) -> tuple[PersonalizedEffect, Mapping[float, PolicyShift]]:
    """Fit the personal part of effects whose items' own part is known, from a log in memory.

    `fit_of_chunks` says how it is fitted, from any chunks of users.

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
        chunk_rows: exposures of whole users that are held with their past at a time; the result is the same for any.

    Returns:
        The personal part, and by pessimism how far a ranker may be pushed on its rewards.
    """
    items = ItemEffectsBehind(ids.to_numpy(), behind, variance, gate_share, traits, group, newcomers)
    item = ids.search_sorted(events[ITEM]).to_numpy().astype(np.int64)
    shown = fold(ItemsByDay(len(ids)), [shown_of(events, item, days)])
    users = exposed_users(events, item, days, effect, propensity, answers, shown, most_ratio=most_ratio)
    settings = PersonalSettings(
        tuple(spans_days),
        alternatives,
        gate_rows,
        clusters,
        reference_items,
        reference_days,
        pushed_slates,
        pushed_draws,
    )
    return fit_of_chunks(list(users.chunks(chunk_rows)), shown, items, answers, settings, net=net, seed=seed)


def shown_of(events: pl.DataFrame, item: Ints, days: UserDays, *, first: int = 0) -> Shown:
    """What some of a log's users were shown, and when.

    Args:
        events: all of theirs in a checked log.
        item: (events,) codes of their items.
        days: their user-days.
        first: place of the first event among those of the log.
    """
    order = _in_order(events, days)
    return Shown(first, days.day[days.row[order]], item[order])


def exposed_users(
    events: pl.DataFrame,
    item: Ints,
    days: UserDays,
    effect: DayEffects,
    propensity: Doubles,
    answers: Answers,
    shown: DailyItems,
    *,
    most_ratio: float,
    first: int = 0,
    first_user: int = 0,
) -> ExposedUsers:
    """The exposures of some of a log's users: a chunk for `fit_of_chunks`.

    Args:
        events: all of theirs in a checked log.
        item: (events,) codes of their items.
        days: their user-days.
        effect: of each user-day.
        propensity: (events,).
        answers: of the whole log.
        shown: what the whole log showed on each of its days.
        most_ratio: clip of the weights.
        first: place of the first event among those of the log.
        first_user: code of the first user among those of the log.
    """
    order, user = _in_order(events, days), days.row_user
    log = Events(user + first_user, item, days_since_1970(events[TIMESTAMP]), *answers.beyond(events, item)).take(order)
    slate = days_since_1970(events.select(slate_moment(events.columns)).to_series())[order]
    row, day = days.row[order], days.day[days.row[order]]
    weight = np.minimum(shown.share(day, log.item) / propensity[order], most_ratio) * effect.precision[row]
    return ExposedUsers(first, log, slate, day, days.fold[user[order]], weight, effect.value[row])


def _in_order(events: pl.DataFrame, days: UserDays) -> Ints:
    """(events,) their places by user and time."""
    return np.lexsort((days_since_1970(events[TIMESTAMP]), days.row_user)).astype(np.int64)
