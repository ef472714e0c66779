"""The personal part of an effect: how it depends on what the user likes and has already seen.

An exposure does what it does through its gate: reward(h, x) = p(gate | h, x) · (effect of x on h behind the gate). The
first factor is a logistic model of the gate; the second is the item's own effect with terms for how much the user has
seen of it and likes what is like it, whose coefficients are estimated causally from the days after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.effects.anchors import HeldOut
from reward.effects.answers import Answers
from reward.effects.contrasts import Contrasts, Moments, contrasts, held_out_contrasts
from reward.effects.exposure import Rewards
from reward.effects.neural import EffectNet, Exposures, by_fold
from reward.effects.pushing import Push, Slots, slot_pushes
from reward.effects.residuals import DayEffects, Doubles, Ints, UserDays
from reward.effects.standing import NEW_CODES, Events, Facts, Past, Person, Standing, middle
from reward.effects.taste import Taste, fit_taste
from reward.effects.traits import Column, described
from reward.schema import ITEM, TIMESTAMP, USER, slate_moment

_FRESH_DAYS = (3.0, 10.0)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash, 2^64 over the golden ratio
_OLD = -1e4  # first day of items that the log shows from its own first day on: nobody knows their age
_CHUNK_EVENTS = 300_000
_GATE_ROWS = 500_000
_NEWTON_STEPS = 12
_CLUSTERS = 2000
_BASKET = 24
_BASKET_DAYS = 7.0
_PUSHED_SLATES = 100_000  # that tell how far a ranker may be pushed
_PUSHED_DRAWS = 31  # items that each could have held beside those shown
_SLATES_AT_ONCE = 2_000

_Place = tuple[Person, Facts, Tensor, Tensor]  # where users and items stand: the latter two as in `Standing.seen`


@dataclass(frozen=True)
class Newcomers:
    """What is expected of items that the log does not hold.

    Attributes:
        describing: the columns that describe items.
        group: the column of the items table that they are pooled over; None: none.
        coefficients: (1 + columns,) of the effect behind the gate, on 1 and what describes an item.
        groups: names of the groups, ascending.
        group_codes: (groups,) codes of these.
        group_effects: (groups,) what an item of a group has beyond that.
    """

    describing: tuple[Column, ...]
    group: str | None
    coefficients: Doubles
    groups: tuple[str, ...]
    group_codes: Ints
    group_effects: Doubles

    def facts(self, table: pl.DataFrame, unknown: Facts, tastes: Sequence[Taste]) -> Facts:
        """Facts of items of an items table, in its order; ``unknown`` are theirs without it."""
        traits = described(table, self.describing)
        behind = self.coefficients[0] + traits @ self.coefficients[1:]
        code = np.full(len(table), -1)
        if self.group is not None and self.groups:
            names = pl.DataFrame({"name": self.groups, "at": np.arange(len(self.groups))})
            wanted = table.select(pl.col(self.group).cast(pl.String).alias("name"))
            found = wanted.join(names, on="name", how="left", maintain_order="left")["at"]
            known, at = found.is_not_null().to_numpy(), found.fill_null(0).to_numpy()
            code = np.where(known, self.group_codes[at], -1)
            behind = behind + np.where(known, self.group_effects[at], 0)
        vectors = _vectors(traits, tastes)
        return unknown._replace(
            behind=torch.from_numpy(behind), group=torch.from_numpy(code), taste=torch.from_numpy(vectors)
        )


@dataclass(frozen=True)
class Personal:
    """A fitted personal part.

    Attributes:
        answers: how feedback is read.
        tastes: one for each of its columns.
        ids: (items,) item ids, ascending; strings are objects.
        facts: of these items and, last, of an unknown one, (items + 1, ...) each.
        newcomers: what is expected of others.
        basket: codes of items as the log's last days show them: a reward is what an exposure does beyond theirs.
        spans_days: times over which exposures are forgotten.
        gate: coefficients of the gate's logit; empty where there is no gate.
        scale: (columns,) what the columns of the effect are divided by.
        coefficients: (columns,) days.
        covariance: (columns, columns) of them.
        net: makes the last of the columns; None: there is none.
        borne_out: how users held out bear out the rewards.
        personal_borne_out: how they bear out what the rewards add to the items' own effects.
        net_borne_out: how they bear out what the net changes in the rewards; None where there is none.
    """

    answers: Answers
    tastes: tuple[Taste, ...]
    ids: NDArray[Any]
    facts: Facts
    newcomers: Newcomers
    basket: Ints
    spans_days: tuple[float, ...]
    gate: Doubles
    scale: Doubles
    coefficients: Doubles
    covariance: Doubles
    net: EffectNet | None
    borne_out: HeldOut
    personal_borne_out: HeldOut
    net_borne_out: HeldOut | None

    def codes(self, ids: NDArray[Any]) -> Ints:
        """What tells items apart: places in ``ids``, and beyond these a hash of each that is not there."""
        code = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1).astype(np.int64)
        new = self.ids[code] != ids
        code[new] = len(self.ids) + 1 + _hashed(ids[new])
        return code

    def past(self, events: pl.DataFrame, users: pl.Series) -> Past:
        """The past of ``users``, ids in ascending order, in their checked events."""
        user = users.search_sorted(events[USER]).to_numpy().astype(np.int64)
        distinct = events[ITEM].unique().sort()
        item = self.codes(distinct.to_numpy())[distinct.search_sorted(events[ITEM]).to_numpy()]
        read = Events(
            user,
            item,
            days_since_1970(events[TIMESTAMP]),
            *self.answers.beyond(events, np.minimum(item, len(self.ids))),
        )
        return Past.of(
            read.take(read.in_order()),
            users=len(users),
            answers=self.answers,
            tastes=self.tastes,
            facts=self.facts,
            spans_days=self.spans_days,
        )

    def score(self, standing: Standing, facts: Facts) -> Rewards:
        """Rewards of candidates.

        Args:
            standing: of n slots.
            facts: of items, (n, candidates, ...) or (1, candidates, ...).

        Returns:
            (n, candidates), days more than showing an item of the basket.
        """
        basket = self.facts.of(torch.from_numpy(self.basket)[None]).to(standing.items.device)
        usual = self.mean_of_seen(standing.person, basket, *standing.seen(basket)).mean(-1, keepdim=True)
        rewards = self.of_seen(standing.person, facts, *standing.seen(facts))
        return Rewards(rewards.mean - usual, rewards.std)

    def score_rows(self, past: Past, user: Ints, time: Doubles, facts: Facts) -> Rewards:
        """Rewards of one item in each of m slots, as `score` has them.

        Args:
            past: of the users.
            user: (m,) users of the slots.
            time: (m,) their moments, days since 1970.
            facts: (m, ...) of the items.
        """
        basket = self.facts.of(torch.from_numpy(self.basket)[None])
        code, group = (part.expand(len(user), -1) for part in (basket.code, basket.group))
        usual = self.mean_of_seen(past.person(user, time), basket, *_seen(past, user, time, code, group)).mean(-1)
        mean, std = self.of_rows(past, user, time, Facts(*(part[:, None] for part in facts)))
        return Rewards(mean[:, 0] - usual, std[:, 0])

    def of_rows(self, past: Past, user: Ints, time: Doubles, facts: Facts) -> Rewards:
        """Rewards of candidates of m slots that are not yet measured against the basket, (m, candidates).

        Args:
            past: of the users.
            user: (m,) users of the slots.
            time: (m,) their moments, days since 1970.
            facts: (m, candidates, ...) of the items.
        """
        return self.of_seen(past.person(user, time), facts, *_seen(past, user, time, facts.code, facts.group))

    def known(self, ids: NDArray[Any], items_table: pl.DataFrame | None = None) -> Facts:
        """What is known of items: estimated, foretold by ``items_table``, or as of an unknown one.

        Args:
            ids: (items,) ascending.
            items_table: features of items that the log does not hold, as in training.
        """
        code = self.codes(ids)
        facts = self.facts.of(torch.from_numpy(np.minimum(code, len(self.ids))))._replace(code=torch.from_numpy(code))
        if items_table is None:
            return facts
        new = np.flatnonzero(code >= len(self.ids))
        table = items_table.filter(pl.col(ITEM).is_in(pl.Series(ids[new].tolist(), dtype=items_table.schema[ITEM])))
        at = torch.from_numpy(np.searchsorted(ids, table[ITEM].to_numpy()))
        told = self.newcomers.facts(table, facts.of(at), self.tastes)
        return Facts(*(part.index_put((at,), fresh) for part, fresh in zip(facts, told, strict=True)))

    def of_seen(self, person: Person, facts: Facts, own: Tensor, group: Tensor) -> Rewards:
        """Rewards of candidates that are not yet measured against the basket, (n, candidates).

        Args:
            person: of n slots.
            facts: of items, (n or 1, candidates, ...).
            own: (n, candidates, spans) counts of the item in the user's past.
            group: (n, candidates) count of its group.
        """
        person = Person(*(part.unsqueeze(1) for part in person))
        widths = [len(taste.prior) for taste in self.tastes]
        like = person.taste.new_tensor
        opened = _opened(like(self.gate), person, facts, own, group, widths)
        columns = _stacked(self._effect_parts(person, facts, own, group, widths)) / like(self.scale)
        slope, covariance = like(self.coefficients / self.scale), like(self.covariance)
        often, kin = _often(own), group.log1p()
        doubt = (slope[1] + slope[2] * often + slope[3] * kin) ** 2 * facts.variance
        liked = _by_feedback(person.doubt * facts.taste**2, widths)
        for one, variance in enumerate(liked.unbind(-1)):
            doubt = doubt + (slope[5 + one] + slope[5 + liked.shape[-1] + one] * often) ** 2 * variance
        variance = ((columns @ covariance) * columns).sum(-1) + doubt
        return Rewards(opened * (columns @ like(self.coefficients)), opened * variance.clamp_min(0).sqrt())

    def mean_of_seen(self, person: Person, facts: Facts, own: Tensor, group: Tensor) -> Tensor:
        """The means of `of_seen` alone, whose standard deviations cost most of it."""
        person = Person(*(part.unsqueeze(1) for part in person))
        widths = [len(taste.prior) for taste in self.tastes]
        like = person.taste.new_tensor
        parts = self._effect_parts(person, facts, own, group, widths)
        opened = _opened(like(self.gate), person, facts, own, group, widths)
        return opened * _weighed(parts, like(self.coefficients / self.scale))

    def _effect_parts(
        self, person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]
    ) -> list[Tensor]:
        parts = _effect_parts(person, facts, own, group, widths)
        return parts if self.net is None else [*parts, self.net(_net_inputs(person, facts, own, group, widths))]


def days_since_1970(moments: pl.Series) -> Doubles:
    """(n,) with the time of the day as a fraction."""
    return moments.dt.epoch("us").to_numpy() / 86_400e6


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
) -> tuple[Personal, Mapping[float, Push]]:
    """Fit the personal part of effects whose items' own part is known.

    1. *Taste*: what in an item's features makes users answer differently (`taste`). 2. *Gate*: a logistic regression.
    3. *Effect behind it*: the days after are regressed on the gate times the columns, with what these are beyond the
    mean of ``alternatives`` items drawn from the same day's exposures as instruments, weighted by the share of the item
    among the day's exposures over the propensity: as if every slot had been filled by chance, in these shares.
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
    facts = _facts(log, behind[-1], variance, gate_share, traits, group, tastes)
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
    personal = Personal(
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
        users: how many there are; the others as in `Personal`.
    """

    events: Events
    slate: Doubles
    users: int
    answers: Answers
    tastes: tuple[Taste, ...]
    facts: Facts
    spans_days: tuple[float, ...]

    @property
    def widths(self) -> list[int]:
        return [len(taste.prior) for taste in self.tastes]

    def chunks(self) -> Iterator[tuple[slice, int, Past]]:
        """Rows of whole users, about as many at a time; the code of the first user; their past, users from 0."""
        begin = np.searchsorted(self.events.user, np.arange(self.users + 1))
        first = 0
        while first < self.users:
            stop = max(int(np.searchsorted(begin, begin[first] + _CHUNK_EVENTS, side="right")) - 1, first + 1)
            rows = slice(int(begin[first]), int(begin[stop]))
            some = self.events.take(rows)
            past = Past.of(
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
            columns.append(_gate_columns(past.person(user, slate), facts, *seen, self.widths))
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
        columns = _columns(*place, self.widths)
        if nets:
            learnt = by_fold(nets[:-1], _net_inputs(*place, self.widths), torch.from_numpy(fold))
            columns = _with(columns, learnt)
        opened = _opened(torch.from_numpy(gate), *place, self.widths)
        return (opened.unsqueeze(-1) * columns).numpy()

    def exposures(self, exposed: _Exposed, linear: Doubles, rng: np.random.Generator) -> Exposures:
        """What nets learn from, given (folds + 1, columns) coefficients of the linear part."""
        parts = []
        gate, slope = torch.from_numpy(exposed.gate), torch.from_numpy(linear.T)
        for rows, places in self.places(exposed, rng):
            opened = torch.stack([_opened(gate, *place, self.widths) for place in places], dim=1)
            foretold = torch.stack([_columns(*place, self.widths) @ slope for place in places], dim=1)
            foretold = foretold * opened.unsqueeze(-1)
            value = torch.from_numpy(exposed.value[rows])[:, None] - foretold[:, 0] + foretold[:, 1:].mean(1)
            inputs = torch.stack([_net_inputs(*place, self.widths).float() for place in places], dim=1)
            told = (inputs, opened.float(), value.float(), torch.from_numpy(exposed.weight[rows]).float())
            parts.append((*told, torch.from_numpy(exposed.fold[self.events.user[rows]])))
        return Exposures(*map(torch.cat, zip(*parts, strict=True)))

    def slots(self, exposed: _Exposed, made: Sequence[Personal], rng: np.random.Generator) -> Slots:
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


def _hashed(ids: NDArray[Any]) -> Ints:
    """(n,) numbers below `NEW_CODES` that depend on the ids alone."""
    if ids.dtype == object:
        length = np.fromiter(map(len, ids), np.int64, len(ids))
        letters = np.frombuffer("".join(ids).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        end = np.cumsum(length)
        place = np.arange(1, len(letters) + 1) - np.repeat(end - length, length)
        total = np.append(np.uint64(0), np.cumsum((letters + np.uint64(1)) * _MIX ** place.astype(np.uint64)))
        number = total[end] - total[end - length]  # exact: sums are modulo 2^64
    else:
        number = ids.astype(np.uint64)
    return ((number * _MIX) >> np.uint64(64 - NEW_CODES.bit_length() + 1)).astype(np.int64)


def _vectors(traits: Doubles, tastes: Sequence[Taste]) -> Doubles:
    """(items, t) places of items in the directions of taste, feedback by feedback."""
    return np.concatenate([np.zeros((len(traits), 0)), *(traits @ taste.axes for taste in tastes)], axis=1)


def _facts(
    log: Events,
    behind: Doubles,
    variance: Doubles,
    gate_share: Doubles,
    traits: Doubles,
    group: Ints,
    tastes: Sequence[Taste],
) -> Facts:
    """Facts of all items and of an unknown one, which is new and otherwise like the average exposure."""
    items, now = len(behind), log.time.max()
    first = np.full(items, np.inf)
    np.minimum.at(first, log.item, log.time)
    first = np.where(first < np.floor(log.time.min()) + 1, _OLD, np.minimum(first, now))
    share = np.bincount(log.item, minlength=items) / len(log.item)
    vectors = _vectors(traits, tastes)
    level = share @ behind
    rate = np.clip(np.append(gate_share, share @ gate_share), 1e-6, 1 - 1e-6)
    told = (
        np.append(behind, level),
        np.append(variance, share @ (variance + (behind - level) ** 2)),
        np.log(rate / (1 - rate)),
        np.append(first, now),
        np.append(group, -1),
        np.concatenate([vectors, (share @ vectors)[None]]),
        np.arange(items + 1),
    )
    return Facts(*map(torch.from_numpy, told))


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


def _seen(past: Past, user: Ints, time: Doubles, code: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """`Past.seen` of candidates of m slots, (m, candidates) each."""
    each = code.shape[1]
    found = past.seen(np.repeat(user, each), code.flatten().numpy(), group.flatten().numpy(), np.repeat(time, each))
    return found[0].unflatten(0, code.shape), found[1].unflatten(0, code.shape)


def _often(own: Tensor) -> Tensor:
    return own[..., middle(own.shape[-1])].log1p()


def _by_feedback(values: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., feedback) sums over the directions of each feedback that has any."""
    parts = [part.sum(-1) for part in values.split(list(widths), dim=-1) if part.shape[-1]]
    return torch.stack(parts, dim=-1) if parts else values.new_zeros(*values.shape[:-1], 0)


def _likeness(person: Person, facts: Facts, widths: Sequence[int]) -> Tensor:
    if facts.taste.ndim == 3 and len(facts.taste) == 1:  # the same items for all: (n, candidates) in one product
        parts = zip(
            person.taste.squeeze(1).split(list(widths), -1), facts.taste[0].split(list(widths), -1), strict=True
        )
        found = [taste @ items.T for taste, items in parts if taste.shape[-1]]
        return torch.stack(found, -1) if found else person.taste.new_zeros(len(person.taste), facts.taste.shape[1], 0)
    return _by_feedback(person.taste * facts.taste, widths)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """(..., columns) of parts that broadcast to (...)."""
    return torch.stack(torch.broadcast_tensors(*parts), dim=-1)


def _weighed(parts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """(...) their sum, each times its weight: without the columns of `_stacked`."""
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + part * weight
    return total


def _gate_parts(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The columns of the gate's logit, each of which broadcasts to (...)."""
    age = (person.day - facts.first).clamp_min(0)
    return [
        torch.ones_like(facts.gate),
        facts.gate,
        *own.log1p().unbind(-1),
        own[..., middle(own.shape[-1])],
        group.log1p(),
        *(torch.exp(-age / span) for span in _FRESH_DAYS),
        person.rate,
        person.shown.log1p(),
        *_likeness(person, facts, widths).unbind(-1),
    ]


def _gate_columns(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., columns) of the gate's logit."""
    return _stacked(_gate_parts(person, facts, own, group, widths))


def _opened(gate: Tensor, person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(...) probability that the gate opens; 1 where there is none."""
    if not len(gate):
        return torch.ones_like(group)
    return torch.sigmoid(_weighed(_gate_parts(person, facts, own, group, widths), gate))


def _columns(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., columns) of the effect behind the gate."""
    return _stacked(_effect_parts(person, facts, own, group, widths))


def _effect_parts(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The columns of the effect behind the gate: 1, the item's own and it again where user and item have met."""
    often, kin = _often(own), group.log1p()
    likeness = _likeness(person, facts, widths)
    return [
        torch.ones_like(often),
        facts.behind,
        facts.behind * often,
        facts.behind * kin,
        often,
        *likeness.unbind(-1),
        *(likeness * often.unsqueeze(-1)).unbind(-1),
    ]


def _net_inputs(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., inputs) of a net: all that the gate and the linear part read, and likeness direction by direction."""
    gate = _gate_columns(person, facts, own, group, widths)
    liked = person.taste * facts.taste
    behind = facts.behind.unsqueeze(-1)
    shape = gate.shape[:-1]
    return torch.cat([gate, behind.expand(*shape, 1), liked.expand(*shape, liked.shape[-1])], dim=-1)


def _with(columns: Tensor, learnt: Tensor) -> Tensor:
    """(..., p) and (...) → (..., p + 1)."""
    return torch.cat([columns, learnt.unsqueeze(-1)], dim=-1)


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
