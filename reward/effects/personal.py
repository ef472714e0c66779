"""The personal part of an effect: how it depends on what the user likes and has already seen.

An exposure does what it does through its gate: reward(h, x) = p(gate | h, x) · (effect of x on h behind the gate). The
first factor is a logistic model of the gate; the second is the item's own effect with terms for how much the user has
seen of it and likes what is like it, whose coefficients are estimated causally from the days after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.effects.anchors import HeldOut
from reward.effects.answers import Answers
from reward.effects.contrasts import Moments, contrasts, held_out_contrasts
from reward.effects.exposure import Rewards
from reward.effects.past import Counts, Sums
from reward.effects.residuals import DayEffects, Doubles, Ints, UserDays
from reward.effects.taste import Taste, fit_taste
from reward.schema import ITEM, REQUEST, TIMESTAMP, USER

_FRESH_DAYS = (3.0, 10.0)
_OLD = -1e4  # first day of items that the log shows from its own first day on: nobody knows their age
_PRIOR_OPENED = 5.0  # openings expected before a user's own rate counts for half
_CHUNK_EVENTS = 300_000
_GATE_ROWS = 500_000
_NEWTON_STEPS = 12
_CLUSTERS = 2000
_BASKET = 24
_BASKET_DAYS = 7.0
_CELLS = 1 << 24


class Person(NamedTuple):
    """What the past tells of a user before a slot; every tensor starts with the slots.

    Attributes:
        taste: (n, t) posterior means of what the user likes, feedback by feedback.
        doubt: (n, t) their variances.
        rate: (n,) how much more often than expected the user opened the gate, as a share.
        shown: (n,) exposures so far.
        day: (n,) days since 1970 of the slot.
    """

    taste: Tensor
    doubt: Tensor
    rate: Tensor
    shown: Tensor
    day: Tensor


class Facts(NamedTuple):
    """What is known of items; every tensor starts with the items' shape.

    Attributes:
        behind: effect once the gate is open, in days.
        variance: of it.
        gate: logit of the share of exposures that open the gate.
        first: days since 1970 of the first exposure.
        group: code of the group, −1 where none is known.
        taste: (..., t) places in the directions in which users' tastes differ.
        code: rows of the fitted items; the last is an unknown one.
    """

    behind: Tensor
    variance: Tensor
    gate: Tensor
    first: Tensor
    group: Tensor
    taste: Tensor
    code: Tensor

    def of(self, code: Tensor) -> Facts:
        """The facts of some items."""
        return Facts(*(part[code] for part in self))

    def to(self, device: torch.device | str) -> Facts:
        """The same on ``device``."""
        return Facts(*(part.to(device) for part in self))


class Standing(NamedTuple):
    """Where users stand before slots: who they are and what they have seen; rows are padded with −1.

    Attributes:
        person: of n slots.
        items: (n, length) codes of items seen before.
        groups: (n, length) their groups.
        counts: (n, length, spans) decayed counts of their exposures.
    """

    person: Person
    items: Tensor
    groups: Tensor
    counts: Tensor

    def map(self, change: Any) -> Standing:
        """``change`` of every tensor."""
        return Standing(Person(*map(change, self.person)), *map(change, self[1:]))

    def seen(self, facts: Facts) -> tuple[Tensor, Tensor]:
        """(n, candidates, spans) counts of candidates, as in `Personal.score`, and (n, candidates) of their groups."""
        n, candidates = len(self.items), facts.code.shape[1]
        own = self.counts.new_zeros(n, candidates, self.counts.shape[2])
        group = self.counts.new_zeros(n, candidates)
        step = max(_CELLS // max(candidates * self.items.shape[1], 1), 1)
        for start in range(0, n, step):
            rows = slice(start, start + step)
            code, kin = (part if len(part) == 1 else part[rows] for part in (facts.code, facts.group))
            counts = self.counts[rows]
            same = (code[:, :, None] == self.items[rows, None]).to(counts.dtype)
            own[rows] = torch.einsum("nkl,nls->nks", same, counts)
            alike = ((kin[:, :, None] == self.groups[rows, None]) & (kin[:, :, None] >= 0)).to(counts.dtype)
            group[rows] = torch.einsum("nkl,nl->nk", alike, counts[..., _middle(counts.shape[2])])
        return own, group


@dataclass(frozen=True)
class Past:
    """What users' events tell of any later moment.

    Attributes:
        item_counts, group_counts: of pairs of user and item, of user and group.
        sums: over a user's answers.
        pairs: (pairs,) user · items + item, ascending, of all that was seen.
        groups: (items + 1,) group of each item, −1: none.
        tastes: one for each column of answers.
    """

    item_counts: Counts
    group_counts: Counts
    sums: Sums
    pairs: Ints
    groups: Ints
    tastes: tuple[Taste, ...]

    @classmethod
    def of(
        cls,
        user: Ints,
        item: Ints,
        time: Doubles,
        answer: Doubles,
        told: Doubles,
        *,
        users: int,
        answers: Answers,
        tastes: tuple[Taste, ...],
        facts: Facts,
        spans_days: Sequence[float],
    ) -> Past:
        """The past of events sorted by user and time.

        Args:
            user: (n,) from 0.
            item: (n,) from 0.
            time: (n,) days since 1970.
            answer: (n, columns) from `Answers.beyond`.
            told: the same.
            users: how many there are.
            answers: as in `Personal`.
            tastes: the same.
            facts: the same.
            spans_days: the same.
        """
        groups, vectors = facts.group.numpy(), facts.taste.numpy()
        items = len(groups)
        liked = np.repeat(answer, [len(taste.prior) for taste in tastes], axis=1) * vectors[item]
        opened = [answer[:, :1], answers.mean[item, :1]] if answers.gate is not None else [np.zeros((len(user), 2))]
        sums = Sums.of(user, time, np.concatenate([liked, told, *opened, np.ones((len(user), 1))], axis=1), users)
        pair, kin = user * items + item, user * items + groups[item]
        middle = [spans_days[_middle(len(spans_days))]]
        known = groups[item] >= 0
        return cls(
            Counts.of(pair, time, spans_days),
            Counts.of(kin[known], time[known], middle),
            sums,
            np.unique(pair),
            groups,
            tastes,
        )

    def person(self, user: Ints, time: Doubles) -> Person:
        """What is known of users before moments, (m,) each."""
        sums = self.sums.before(user, time)
        width = sum(len(taste.prior) for taste in self.tastes)
        means, doubts, at = [np.zeros((len(user), 0))], [np.zeros((len(user), 0))], 0
        for column, taste in enumerate(self.tastes):
            count = sums[:, width + column]
            means.append(taste.mean(sums[:, at : at + len(taste.prior)], count))
            doubts.append(taste.variance(count))
            at += len(taste.prior)
        more, expected, shown = sums[:, -3:].T
        told = np.concatenate(means, axis=1), np.concatenate(doubts, axis=1), more / (expected + _PRIOR_OPENED)
        return Person(*map(torch.from_numpy, (*told, shown.copy(), time)))

    def seen(self, user: Ints, item: Ints, time: Doubles) -> tuple[Tensor, Tensor]:
        """(m, spans) counts of items in the users' past and (m,) of their groups; the spelling of `Standing.seen`."""
        items, group = len(self.groups), self.groups[item]
        kin = self.group_counts.before(user * items + group, time)[:, 0]
        return torch.from_numpy(self.item_counts.before(user * items + item, time)), torch.from_numpy(
            np.where(group < 0, 0, kin)
        )

    def standing(self, user: Ints, time: Doubles) -> Standing:
        """Where users stand at moments, (m,) each."""
        items = len(self.groups)
        begin, end = (np.searchsorted(self.pairs, (user + one) * items) for one in (0, 1))
        step = np.arange(max(int((end - begin).max(initial=0)), 1))
        inside = begin[:, None] + step < end[:, None]
        key = np.zeros(inside.shape, np.int64)
        key[inside] = self.pairs[(begin[:, None] + step)[inside]]
        counts = np.zeros((*inside.shape, len(self.item_counts.spans_days)))
        counts[inside] = self.item_counts.before(key[inside], np.broadcast_to(time[:, None], key.shape)[inside])
        code = np.where(inside, key % items, -1)
        groups = np.where(inside, self.groups[code], -1)
        return Standing(self.person(user, time), *map(torch.from_numpy, (code, groups, counts)))


@dataclass(frozen=True)
class Personal:
    """A fitted personal part.

    Attributes:
        answers: how feedback is read.
        tastes: one for each of its columns.
        ids: (items,) item ids, ascending.
        facts: of these items and, last, of an unknown one, (items + 1, ...) each.
        basket: codes of items as the log's last days show them: a reward is what an exposure does beyond theirs.
        spans_days: times over which exposures are forgotten.
        gate: coefficients of the gate's logit; empty where there is no gate.
        scale: (columns,) what the columns of the effect are divided by.
        coefficients: (columns,) days.
        covariance: (columns, columns) of them.
        borne_out: how users held out bear out the rewards.
        personal_borne_out: how they bear out what the rewards add to the items' own effects.
    """

    answers: Answers
    tastes: tuple[Taste, ...]
    ids: NDArray[Any]
    facts: Facts
    basket: Ints
    spans_days: tuple[float, ...]
    gate: Doubles
    scale: Doubles
    coefficients: Doubles
    covariance: Doubles
    borne_out: HeldOut
    personal_borne_out: HeldOut

    def codes(self, ids: NDArray[Any]) -> Ints:
        """Rows of ``facts`` for item ids: the last for those not known."""
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, len(self.ids)).astype(np.int64)

    def past(self, events: pl.DataFrame, users: pl.Series) -> Past:
        """The past of ``users``, ids in ascending order, in their checked events."""
        user = users.search_sorted(events[USER]).to_numpy().astype(np.int64)
        item, time = self.codes(events[ITEM].to_numpy()), days_since_1970(events[TIMESTAMP])
        answer, told = self.answers.beyond(events, item)
        order = np.lexsort((time, user))
        return Past.of(
            *(part[order] for part in (user, item, time, answer, told)),
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
        usual, rewards = (self.of_seen(standing.person, it, *standing.seen(it)) for it in (basket, facts))
        return Rewards(rewards.mean - usual.mean.mean(-1, keepdim=True), rewards.std)

    def score_rows(self, past: Past, user: Ints, item: Ints, time: Doubles) -> Rewards:
        """Rewards of items shown to users at moments, (m,) each: the same as `score`, row by row."""
        basket = np.broadcast_to(self.basket, (len(item), len(self.basket)))
        codes = np.concatenate([item[:, None], basket], axis=1)
        who, when = (np.repeat(part, codes.shape[1]) for part in (user, time))
        own, group = past.seen(who, codes.ravel(), when)
        own, group = own.unflatten(0, codes.shape), group.unflatten(0, codes.shape)
        mean, std = self.of_seen(past.person(user, time), self.facts.of(torch.from_numpy(codes)), own, group)
        return Rewards(mean[:, 0] - mean[:, 1:].mean(-1), std[:, 0])

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
        columns = _columns(person, facts, own, group, widths) / like(self.scale)
        slope, covariance = like(self.coefficients / self.scale), like(self.covariance)
        often, kin = _often(own), group.log1p()
        doubt = (slope[1] + slope[2] * often + slope[3] * kin) ** 2 * facts.variance
        liked = _by_feedback(person.doubt * facts.taste**2, widths)
        for one, variance in enumerate(liked.unbind(-1)):
            doubt = doubt + (slope[5 + one] + slope[5 + liked.shape[-1] + one] * often) ** 2 * variance
        variance = ((columns @ covariance) * columns).sum(-1) + doubt
        return Rewards(opened * (columns @ like(self.coefficients)), opened * variance.clamp_min(0).sqrt())


def days_since_1970(moments: pl.Series) -> Doubles:
    """(n,) with the time of the day as a fraction."""
    return moments.dt.epoch("us").to_numpy() / 86_400e6


def slate_moments(events: pl.DataFrame) -> Doubles:
    """(n,) days since 1970 at which the slate of each event was about to be filled."""
    first = pl.col(TIMESTAMP).min().over(USER, REQUEST, pl.col(TIMESTAMP).dt.date())
    alone = REQUEST not in events.columns
    return days_since_1970(events[TIMESTAMP] if alone else events.select(first).to_series())


def fit_personal(
    events: pl.DataFrame,
    days: UserDays,
    effect: DayEffects,
    *,
    ids: pl.Series,
    behind: Doubles,
    variance: Doubles,
    gate_share: Doubles,
    described: Doubles,
    group: Ints,
    propensity: Doubles,
    answers: Answers,
    spans_days: Sequence[float],
    most_ratio: float,
    alternatives: int,
    seed: int,
) -> Personal:
    """Fit the personal part of effects whose items' own part is known.

    1. *Taste*: what in an item's features makes users answer differently (`taste`). 2. *Gate*: a logistic regression.
    3. *Effect behind it*: the days after are regressed on the gate times the columns, with what these are beyond the
    mean of ``alternatives`` items drawn from the same day's exposures as instruments, weighted by the share of the item
    among the day's exposures over the propensity: as if every slot had been filled by chance, in these shares.

    Args:
        events: a checked log's.
        days: their user-days.
        effect: of each user-day.
        ids: item ids, ascending.
        behind: (folds + 1, items) effects behind the gate, each fold's without its users, and that of all.
        variance: (items,) of the last.
        gate_share: (items,) share of exposures that open the gate; 1 where there is no gate.
        described: (items, columns) standardised traits.
        group: (items,) codes from 0.
        propensity: (events,).
        answers: of the log.
        spans_days: over which exposures are forgotten.
        most_ratio: clip of the weights.
        alternatives: items drawn for each exposure.
        seed: draws them.

    Source:
        Nie & Wager, "Quasi-oracle estimation of heterogeneous treatment effects" (Biometrika 2021); Li, Morgan &
        Zaslavsky, "Balancing Covariates via Propensity Score Weighting" (JASA 2018) for weights that aim at a
        population the log holds.
    """
    item = ids.search_sorted(events[ITEM]).to_numpy().astype(np.int64)
    user, time, slate = days.user[days.row], days_since_1970(events[TIMESTAMP]), slate_moments(events)
    order = np.lexsort((time, user))
    answer, told = answers.beyond(events, item)
    rows = _Rows(*(part[order] for part in (user, item, time, slate, answer, told, days.row)))
    tastes = tuple(
        fit_taste(answer[here, column], user[here], item[here], described)
        for column in range(answer.shape[1])
        for here in [told[:, column] > 0]
    )
    facts = _facts(item, time, behind[-1], variance, gate_share, described, group, tastes)
    rng = np.random.default_rng([seed, 11])
    fitting = _Fitting(rows, len(days.users), answers, tastes, facts, tuple(spans_days))
    gate = fitting.gate(min(_GATE_ROWS / len(item), 1), rng) if answers.gate is not None else np.zeros(0)
    today = days.day[rows.day]
    shares = np.unique(today, return_inverse=True)[1].astype(np.int64)
    weight = np.minimum(_day_share(shares, rows.item) / propensity[order], most_ratio) * effect.precision[rows.day]
    scale, moments = fitting.moments(gate, behind, days.fold, weight, effect.value[rows.day], shares, alternatives, rng)
    expected = np.zeros(len(scale))
    expected[1] = scale[1]
    found = contrasts(moments, expected)
    apart = np.stack([contrasts(moments, expected, without=fold).coefficients for fold in range(len(behind) - 1)])
    items_alone = np.zeros_like(apart)
    items_alone[:, :2] = apart[:, :2]
    return Personal(
        answers,
        tastes,
        ids.to_numpy(),
        facts,
        _basket(rows, behind[-1] * gate_share),
        tuple(spans_days),
        gate,
        scale,
        found.coefficients,
        found.covariance,
        held_out_contrasts(moments, apart),
        held_out_contrasts(moments, apart - items_alone),
    )


class _Rows(NamedTuple):
    """Events by user and time."""

    user: Ints
    item: Ints
    time: Doubles
    slate: Doubles
    answer: Doubles
    told: Doubles
    day: Ints  # place among the user-days


@dataclass(frozen=True)
class _Fitting:
    """A log read user by user."""

    rows: _Rows
    users: int
    answers: Answers
    tastes: tuple[Taste, ...]
    facts: Facts
    spans_days: tuple[float, ...]

    @property
    def widths(self) -> list[int]:
        return [len(taste.prior) for taste in self.tastes]

    def chunks(self) -> Iterator[tuple[slice, Past, int]]:
        """Rows of whole users, about as many at a time, their past, and the code of the first of them."""
        begin = np.searchsorted(self.rows.user, np.arange(self.users + 1))
        first = 0
        while first < self.users:
            stop = max(int(np.searchsorted(begin, begin[first] + _CHUNK_EVENTS, side="right")) - 1, first + 1)
            here = slice(int(begin[first]), int(begin[stop]))
            part = _Rows(*(column[here] for column in self.rows))
            yield (
                here,
                Past.of(
                    part.user - first,
                    part.item,
                    part.time,
                    part.answer,
                    part.told,
                    users=stop - first,
                    answers=self.answers,
                    tastes=self.tastes,
                    facts=self.facts,
                    spans_days=self.spans_days,
                ),
                first,
            )
            first = stop

    def inputs(
        self, past: Past, user: Ints, item: Ints, time: Doubles, person: Person
    ) -> tuple[Person, Facts, Tensor, Tensor]:
        """What columns are made of, row by row."""
        return person, self.facts.of(torch.from_numpy(item)), *past.seen(user, item, time)

    def gate(self, share: float, rng: np.random.Generator) -> Doubles:
        """Coefficients of the gate's logit, from a share of the rows."""
        columns, opened = [], []
        for here, past, first in self.chunks():
            some = np.flatnonzero(rng.random(here.stop - here.start) < share) + here.start
            user, item, slate = self.rows.user[some] - first, self.rows.item[some], self.rows.slate[some]
            inputs = self.inputs(past, user, item, slate, past.person(user, slate))
            columns.append(_gate_columns(*inputs, self.widths))
            opened.append(self.rows.answer[some, 0] + self.answers.mean[item, 0])
        return _logistic(torch.cat(columns), torch.from_numpy(np.concatenate(opened)))

    def moments(
        self,
        gate: Doubles,
        behind: Doubles,
        fold: Ints,
        weight: Doubles,
        value: Doubles,
        day: Ints,
        alternatives: int,
        rng: np.random.Generator,
    ) -> tuple[Doubles, Moments]:
        """The scale of the columns and the sums of `contrasts`; ``day`` (rows,) from 0."""
        by_day = np.argsort(day, kind="stable")
        shown, began = self.rows.item[by_day], np.searchsorted(day[by_day], np.arange(int(day.max()) + 2))
        folds = len(behind) - 1
        per_fold = max(_CLUSTERS // folds, 1)
        effect, scale, moments = torch.from_numpy(behind), np.zeros(0), None
        coefficients = torch.from_numpy(gate)
        for here, past, first in self.chunks():
            item, slate, today = self.rows.item[here], self.rows.slate[here], day[here]
            user, mine = self.rows.user[here] - first, fold[self.rows.user[here]]
            person = past.person(user, slate)

            def columns(item: Ints) -> Tensor:
                person_, facts, own, group = self.inputs(past, user, item, slate, person)  # noqa: B023
                facts = facts._replace(behind=effect[torch.from_numpy(mine), facts.code])  # noqa: B023
                opened = _opened(coefficients, person_, facts, own, group, self.widths)
                return opened.unsqueeze(-1) * _columns(person_, facts, own, group, self.widths)

            told, others = columns(item), 0.0
            for _ in range(alternatives):
                drawn = began[today] + (rng.random(len(item)) * (began[today + 1] - began[today])).astype(np.int64)
                others = others + columns(shown[drawn]) / alternatives
            if moments is None:
                usual = told.abs().mean(0).numpy()
                scale = np.where(usual > 0, usual, 1.0)
                moments = Moments.none(len(scale), np.arange(folds * per_fold) % folds)
            cluster = mine + folds * ((first + user) % per_fold)
            moments = moments.plus(
                told.numpy() / scale, (told - others).numpy() / scale, weight[here], value[here], cluster
            )
        assert moments is not None
        return scale, moments


def _facts(
    item: Ints,
    time: Doubles,
    behind: Doubles,
    variance: Doubles,
    gate_share: Doubles,
    described: Doubles,
    group: Ints,
    tastes: Sequence[Taste],
) -> Facts:
    """Facts of all items and of an unknown one, which is like the average exposure."""
    items = len(behind)
    first = np.full(items, np.inf)
    np.minimum.at(first, item, time)
    first = np.where(first < np.floor(time.min()) + 1, _OLD, np.where(np.isfinite(first), first, time.max()))
    shown = np.bincount(item, minlength=items) / len(item)
    vectors = np.concatenate([np.zeros((items, 0)), *(described @ taste.axes for taste in tastes)], axis=1)
    rate = np.clip(gate_share, 1e-6, 1 - 1e-6)
    mean_behind, mean_rate = shown @ behind, shown @ rate
    told = (
        np.append(behind, mean_behind),
        np.append(variance, shown @ (variance + (behind - mean_behind) ** 2)),
        np.log(np.append(rate, mean_rate) / (1 - np.append(rate, mean_rate))),
        np.append(first, time.max()),
        np.append(group, -1),
        np.concatenate([vectors, (shown @ vectors)[None]]),
        np.arange(items + 1),
    )
    return Facts(*map(torch.from_numpy, told))


def _basket(rows: _Rows, effect: Doubles) -> Ints:
    """Codes of items in the shares in which the log's last days show them, from the weakest effect to the strongest."""
    late = rows.item[rows.time >= rows.time.max() - _BASKET_DAYS]
    order = np.argsort(effect, kind="stable")
    share = np.cumsum(np.bincount(late, minlength=len(effect))[order])
    at = (np.arange(_BASKET) + 0.5) / _BASKET * share[-1]
    return order[np.searchsorted(share, at)].astype(np.int64)


def _day_share(day: Ints, item: Ints) -> Doubles:
    """(n,) share of each row's item among its day's exposures."""
    cell = np.unique(day * (int(item.max()) + 1) + item, return_inverse=True)[1]
    return (np.bincount(cell)[cell] / np.bincount(day)[day]).astype(np.float64)


def _middle(spans: int) -> int:
    return spans // 2


def _often(own: Tensor) -> Tensor:
    return own[..., _middle(own.shape[-1])].log1p()


def _by_feedback(values: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., feedback) sums over the directions of each feedback that has any."""
    parts = [part.sum(-1) for part in values.split(list(widths), dim=-1) if part.shape[-1]]
    return torch.stack(parts, dim=-1) if parts else values.new_zeros(*values.shape[:-1], 0)


def _likeness(person: Person, facts: Facts, widths: Sequence[int]) -> Tensor:
    return _by_feedback(person.taste * facts.taste, widths)


def _gate_columns(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., columns) of the gate's logit."""
    age = (person.day - facts.first).clamp_min(0)
    parts = [
        facts.gate,
        *own.log1p().unbind(-1),
        own[..., _middle(own.shape[-1])],
        group.log1p(),
        *(torch.exp(-age / span) for span in _FRESH_DAYS),
        person.rate,
        person.shown.log1p(),
        *_likeness(person, facts, widths).unbind(-1),
    ]
    return torch.stack(torch.broadcast_tensors(torch.ones_like(facts.gate), *parts), dim=-1)


def _opened(gate: Tensor, person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(...) probability that the gate opens; 1 where there is none."""
    if not len(gate):
        return torch.ones_like(group)
    return torch.sigmoid(_gate_columns(person, facts, own, group, widths) @ gate)


def _columns(person: Person, facts: Facts, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., columns) of the effect behind the gate: 1, the item's own and it again where user and item have met."""
    often, kin = _often(own), group.log1p()
    likeness = _likeness(person, facts, widths)
    parts = [
        facts.behind,
        facts.behind * often,
        facts.behind * kin,
        often,
        *likeness.unbind(-1),
        *(likeness * often.unsqueeze(-1)).unbind(-1),
    ]
    return torch.stack(torch.broadcast_tensors(torch.ones_like(often), *parts), dim=-1)


def _logistic(columns: Tensor, opened: Tensor) -> Doubles:
    """Coefficients of a logistic regression by Newton's method, with a penalty of one row."""
    out = columns.new_zeros(columns.shape[1])
    eye = torch.eye(len(out), dtype=columns.dtype)
    for _ in range(_NEWTON_STEPS):
        chance = torch.sigmoid(columns @ out)
        weight = (chance * (1 - chance)).unsqueeze(1)
        step = torch.linalg.solve(columns.T @ (weight * columns) + eye, columns.T @ (opened - chance) - out)
        out = out + step
        if float(step.abs().max()) < 1e-8:
            break
    return out.numpy()
