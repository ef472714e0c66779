"""The fit of effects on one user rather than another, cross-fitted by user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.policy_shift import Push, Slots, slot_pushes
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.causal.user_effects.effect_net import EffectNet, Exposures, by_fold
from reward.causal.user_effects.features import (
    chance_opened,
    effect_columns,
    facts_of,
    gate_columns,
    net_inputs,
    with_learnt,
)
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.g_estimation import Contrasts, Moments, contrasts, held_out_contrasts
from reward.causal.user_effects.model import Newcomers, PersonalizedEffect, days_since_1970
from reward.causal.user_effects.preferences import Taste, fit_taste
from reward.causal.user_effects.user_state import Events, ItemState, UserHistory, UserProfile
from reward.columns import ITEM, TIMESTAMP
from reward.data.event_log import slate_moment
from reward.rewards import Rewards

_CHUNK_EVENTS = 300_000
_GATE_ROWS = 500_000
_NEWTON_STEPS = 12
_CLUSTERS = 2000
_BASKET = 24
_BASKET_DAYS = 7.0
_PUSHED_SLATES = 100_000  # that tell how far a ranker may be pushed
_PUSHED_DRAWS = 31  # items that each could have held beside those shown
_SLATES_AT_ONCE = 2_000

_Place = tuple[
    UserProfile, ItemState, Tensor, Tensor
]  # where users and items stand: the latter two as in `UserState.seen`


def fit_personal(
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
    net: Callable[..., tuple[EffectNet, ...]] | None,
    seed: int,
) -> tuple[PersonalizedEffect, Mapping[float, Push]]:
    """Fit the personal part of effects whose items' own part is known.

    1. *Taste*: what in an item's features makes users answer differently (`preferences`). 2. *Gate*: a logistic
    regression. 3. *Effect behind it*: the days after are regressed on the gate times the columns, with what these are
    beyond the mean of ``alternatives`` items drawn from the same day's exposures as instruments, weighted by the share
    of the item among the day's exposures over the propensity: as if every slot had been filled by chance, in these
    shares.
    4. *Net*, where asked for: what the linear part leaves is learnt by a network, which becomes one more column. Of a
    user's exposures it is made without their fold, so that its coefficient shrinks where it says nothing.
    5. *Push*: how far a ranker may lean on rewards, by those of each fold's users made without them (`slot_pushes`).

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
    tastes = tuple(
        fit_taste(log.answer[told, column], log.user[told], item[told], traits)
        for column, told in enumerate(log.told.T > 0)
    )
    facts = facts_of(log, behind[-1], variance, gate_share, traits, group, tastes)
    order = log.in_order()
    slate = days_since_1970(events.select(slate_moment(events.columns)).to_series())[order]
    fitting = _Fitting(log.take(order), slate, len(days.users), answers, tastes, facts, tuple(spans_days))
    rng = np.random.default_rng([seed, 11])
    gate = np.zeros(0) if answers.gate is None else fitting.gate(min(_GATE_ROWS / len(item), 1), rng)
    row = days.row[order]
    day = days.day[row] - days.day.min()
    weight = np.minimum(_day_share(day, item[order]) / propensity[order], most_ratio) * effect.precision[row]
    exposed = _Exposed(gate, behind, days.fold, weight, effect.value[row], day, alternatives)
    scale, moments = fitting.moments(exposed, (), rng)
    found, folds = _by_fold(moments, scale)
    apart = np.stack([fold.coefficients for fold in folds])
    nets: tuple[EffectNet, ...] = ()
    net_borne_out = None
    if net is not None:
        linear = np.concatenate([apart, found.coefficients[None]]) / scale
        nets = net(fitting.exposures(exposed, linear, rng), seed=seed)
        without = np.pad(apart, [(0, 0), (0, 1)])
        scale, moments = fitting.moments(exposed, nets, rng)
        found, folds = _by_fold(moments, scale)
        apart = np.stack([fold.coefficients for fold in folds])
        net_borne_out = held_out_contrasts(moments, apart - without, without)
    alone = np.where(np.arange(len(scale)) < 2, apart, 0)
    personal = PersonalizedEffect(
        answers=answers,
        tastes=tastes,
        ids=ids.to_numpy(),
        facts=facts,
        newcomers=newcomers,
        basket=_basket(log, behind[-1] * gate_share),
        spans_days=tuple(spans_days),
        gate=gate,
        scale=scale,
        coefficients=found.coefficients,
        covariance=found.covariance,
        net=nets[-1] if nets else None,
        borne_out=held_out_contrasts(moments, apart),
        personal_borne_out=held_out_contrasts(moments, apart - alone, alone),
        net_borne_out=net_borne_out,
    )
    made = [
        replace(
            personal,
            facts=facts._replace(behind=torch.from_numpy(np.append(behind[fold], 0.0))),
            coefficients=fit.coefficients,
            covariance=fit.covariance,
            net=nets[fold] if nets else None,
        )
        for fold, fit in enumerate(folds)
    ]
    return personal, slot_pushes(fitting.slots(exposed, made, np.random.default_rng([seed, 13])))


def _by_fold(moments: Moments, scale: Doubles) -> tuple[Contrasts, list[Contrasts]]:
    """The fit to all users, and for each fold that to the others."""
    expected = np.zeros(len(scale))
    expected[1] = scale[1]
    folds = range(int(moments.fold.max()) + 1)
    return contrasts(moments, expected), [contrasts(moments, expected, without=fold) for fold in folds]


class _Exposed(NamedTuple):
    """What is needed to compare exposures with what could have been shown.

    Attributes:
        gate: coefficients of the gate's logit.
        behind: (folds + 1, items) effects behind the gate.
        fold: (users,).
        weight: (n,) of the events in order.
        value: (n,) effect of their days.
        day: (n,) from 0.
        alternatives: items drawn from the same day's exposures for each event.
    """

    gate: Doubles
    behind: Doubles
    fold: Ints
    weight: Doubles
    value: Doubles
    day: Ints
    alternatives: int


@dataclass(frozen=True)
class _Fitting:
    """A log's events by user and time, read user by user.

    Attributes:
        events: n of them.
        slate: (n,) when the slate of each was put together, days since 1970.
        users: how many there are; the others as in `PersonalizedEffect`.
    """

    events: Events
    slate: Doubles
    users: int
    answers: Answers
    tastes: tuple[Taste, ...]
    facts: ItemState
    spans_days: tuple[float, ...]

    @property
    def widths(self) -> list[int]:
        return [len(taste.prior) for taste in self.tastes]

    def chunks(self) -> Iterator[tuple[slice, int, UserHistory]]:
        """Rows of whole users, about as many at a time; the code of the first user; their past, users from 0."""
        begin = np.searchsorted(self.events.user, np.arange(self.users + 1))
        first = 0
        while first < self.users:
            stop = max(int(np.searchsorted(begin, begin[first] + _CHUNK_EVENTS, side="right")) - 1, first + 1)
            rows = slice(int(begin[first]), int(begin[stop]))
            some = self.events.take(rows)
            past = UserHistory.of(
                some._replace(user=some.user - first),
                users=stop - first,
                answers=self.answers,
                tastes=self.tastes,
                facts=self.facts,
                spans_days=self.spans_days,
            )
            yield rows, first, past
            first = stop

    def gate(self, share: float, rng: np.random.Generator) -> Doubles:
        """Coefficients of the gate's logit, from a share of the rows."""
        columns, opened = [], []
        for rows, first, past in self.chunks():
            some = np.flatnonzero(rng.random(rows.stop - rows.start) < share) + rows.start
            user, item, slate = self.events.user[some] - first, self.events.item[some], self.slate[some]
            facts = self.facts.of(torch.from_numpy(item))
            seen = past.seen(user, item, facts.group.numpy(), slate)
            columns.append(gate_columns(past.person(user, slate), facts, *seen, self.widths))
            opened.append(self.events.answer[some, 0] + self.answers.mean[item, 0])
        return _logistic(torch.cat(columns), torch.from_numpy(np.concatenate(opened)))

    def places(self, exposed: _Exposed, rng: np.random.Generator) -> Iterator[tuple[slice, list[_Place]]]:
        """Rows of whole users, and where they and the items stand: the items shown, and each of the alternatives."""
        day, fold = exposed.day, exposed.fold
        by_day = np.argsort(day, kind="stable")
        shown, begin = self.events.item[by_day], np.searchsorted(day[by_day], np.arange(int(day.max()) + 2))
        for rows, first, past in self.chunks():
            user, slate, today = self.events.user[rows], self.slate[rows], day[rows]
            person, places = past.person(user - first, slate), []
            for draw in range(1 + exposed.alternatives):
                item = self.events.item[rows]
                if draw:
                    at = (rng.random(len(user)) * (begin[today + 1] - begin[today])).astype(np.int64)
                    item = shown[begin[today] + at]
                facts = self.facts.of(torch.from_numpy(item))
                seen = past.seen(user - first, item, facts.group.numpy(), slate)
                behind = torch.from_numpy(exposed.behind[fold[user], item])
                places.append((person, facts._replace(behind=behind), *seen))
            yield rows, places

    def moments(
        self, exposed: _Exposed, nets: Sequence[EffectNet], rng: np.random.Generator
    ) -> tuple[Doubles, Moments]:
        """The scale of the columns and the sums of `contrasts`, with a column of ``nets`` where there are any."""
        folds = len(exposed.behind) - 1
        per_fold = max(_CLUSTERS // folds, 1)
        scale, moments = np.zeros(0), None
        for rows, places in self.places(exposed, rng):
            user = self.events.user[rows]
            fold = exposed.fold[user]
            told, *others = (self.gated(place, exposed.gate, nets, fold) for place in places)
            usual = np.zeros_like(told)
            for other in others:
                usual += other / exposed.alternatives
            if moments is None:
                scale = np.abs(told).mean(axis=0)
                scale = np.where(scale > 0, scale, 1.0)
                moments = Moments.none(len(scale), np.arange(folds * per_fold) % folds)
            moments = moments.plus(
                told / scale,
                (told - usual) / scale,
                exposed.weight[rows],
                exposed.value[rows],
                fold + folds * (user % per_fold),
            )
        assert moments is not None
        return scale, moments

    def gated(self, place: _Place, gate: Doubles, nets: Sequence[EffectNet], fold: Ints) -> Doubles:
        """(n, columns) of the effect times the probability that the gate opens."""
        columns = effect_columns(*place, self.widths)
        if nets:
            learnt = by_fold(nets[:-1], net_inputs(*place, self.widths), torch.from_numpy(fold))
            columns = with_learnt(columns, learnt)
        opened = chance_opened(torch.from_numpy(gate), *place, self.widths)
        return (opened.unsqueeze(-1) * columns).numpy()

    def exposures(self, exposed: _Exposed, linear: Doubles, rng: np.random.Generator) -> Exposures:
        """What nets learn from, given (folds + 1, columns) coefficients of the linear part."""
        parts = []
        gate, slope = torch.from_numpy(exposed.gate), torch.from_numpy(linear.T)
        for rows, places in self.places(exposed, rng):
            opened = torch.stack([chance_opened(gate, *place, self.widths) for place in places], dim=1)
            foretold = torch.stack([effect_columns(*place, self.widths) @ slope for place in places], dim=1)
            foretold = foretold * opened.unsqueeze(-1)
            value = torch.from_numpy(exposed.value[rows])[:, None] - foretold[:, 0] + foretold[:, 1:].mean(1)
            inputs = torch.stack([net_inputs(*place, self.widths).float() for place in places], dim=1)
            told = (inputs, opened.float(), value.float(), torch.from_numpy(exposed.weight[rows]).float())
            parts.append((*told, torch.from_numpy(exposed.fold[self.events.user[rows]])))
        return Exposures(*map(torch.cat, zip(*parts, strict=True)))

    def slots(self, exposed: _Exposed, made: Sequence[PersonalizedEffect], rng: np.random.Generator) -> Slots:
        """Slots of some of the slates, by rewards that are ``made`` for each fold without it."""
        begin = np.flatnonzero(np.r_[True, (np.diff(self.events.user) != 0) | (np.diff(self.slate) != 0)])
        length = np.diff(np.append(begin, len(self.slate)))
        taken = np.flatnonzero(rng.random(len(begin)) < _PUSHED_SLATES / len(begin))
        fold, day = exposed.fold[self.events.user[begin]], exposed.day[begin]
        by_day = self.events.item[np.argsort(exposed.day, kind="stable")]
        since = np.searchsorted(np.sort(exposed.day), np.arange(int(day.max()) + 2))
        order: list[Ints] = []
        told: list[Rewards] = []
        others: list[Rewards] = []
        for rows, first, past in self.chunks():
            mine = taken[slice(*np.searchsorted(begin[taken], [rows.start, rows.stop]))]
            for some in _pieces(mine, fold[mine]):
                personal, today = made[fold[some[0]]], day[some, None]
                place = rng.random((len(some), _PUSHED_DRAWS)) * (since[today + 1] - since[today])
                drawn = by_day[since[today] + place.astype(np.int64)]
                row, _ = _spans(begin[some], length[some])
                for at, item, out in ((row, self.events.item[row, None], told), (begin[some], drawn, others)):
                    facts = personal.facts.of(torch.from_numpy(item))
                    out.append(personal.of_rows(past, self.events.user[at] - first, self.slate[at], facts))
                order.append(some)
        row, slate = _spans(begin[np.concatenate(order)], length[np.concatenate(order)])
        mean, std = (torch.cat(part).numpy() for part in zip(*told, strict=True))
        others_mean, others_std = (torch.cat(part).numpy() for part in zip(*others, strict=True))
        return Slots(
            mean=mean[:, 0],
            std=std[:, 0],
            others_mean=others_mean,
            others_std=others_std,
            slate=slate,
            user=self.events.user[row],
            weight=exposed.weight[row],
            value=exposed.value[row],
        )


def _pieces(slates: Ints, fold: Ints) -> Iterator[Ints]:
    """Slates of one fold, some at a time."""
    for one in np.unique(fold):
        mine = slates[fold == one]
        yield from np.array_split(mine, -(-len(mine) // _SLATES_AT_ONCE))


def _spans(begin: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Rows of spans, one span after the other, and which span each is of."""
    which = np.repeat(np.arange(len(begin)), length)
    return begin[which] + np.arange(len(which)) - (np.cumsum(length) - length)[which], which


def _basket(log: Events, effect: Doubles) -> Ints:
    """Codes of items in the shares in which the log's last days show them, from the weakest effect to the strongest."""
    late = log.item[log.time >= log.time.max() - _BASKET_DAYS]
    order = np.argsort(effect, kind="stable")
    share = np.cumsum(np.bincount(late, minlength=len(effect))[order])
    at = (np.arange(_BASKET) + 0.5) / _BASKET * share[-1]
    return order[np.searchsorted(share, at)].astype(np.int64)


def _day_share(day: Ints, item: Ints) -> Doubles:
    """(n,) share of each row's item among its day's exposures."""
    cell = np.unique(day * (int(item.max()) + 1) + item, return_inverse=True)[1]
    return (np.bincount(cell)[cell] / np.bincount(day)[day]).astype(np.float64)


def _logistic(columns: Tensor, opened: Tensor) -> Doubles:
    """Coefficients of a logistic regression by Newton's method, with a penalty of one row."""
    out = columns.new_zeros(columns.shape[1])
    eye = torch.eye(len(out), dtype=columns.dtype)

    def loss(at: Tensor) -> float:
        score = columns @ at
        return float((torch.nn.functional.softplus(score) - opened * score).sum() + at @ at / 2)

    lost = loss(out)
    for _ in range(_NEWTON_STEPS):
        chance = torch.sigmoid(columns @ out)
        weight = (chance * (1 - chance)).unsqueeze(1)
        step = torch.linalg.solve(columns.T @ (weight * columns) + eye, columns.T @ (opened - chance) - out)
        while not (now := loss(out + step)) <= lost and float(step.abs().max()) >= 1e-8:
            step = step / 2  # a step that trusts the curvature of where it begins may go too far
        if not now <= lost:
            break
        out, lost = out + step, now
        if float(step.abs().max()) < 1e-8:
            break
    return out.numpy()
