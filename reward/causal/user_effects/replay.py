"""A log read again user by user: where users and items stood before each slot, and what is fitted to that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.effect_net import EffectNet, Exposures, by_fold
from reward.causal.user_effects.features import (
    chance_opened,
    effect_columns,
    gate_columns,
    net_inputs,
    with_learnt,
)
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.g_estimation import Moments
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.user_state import Events, ItemState, UserHistory, UserProfile

_CHUNK_EVENTS = 300_000
_NEWTON_STEPS = 12

# where users and items stand: the latter two as in `UserState.seen`
Place = tuple[UserProfile, ItemState, Tensor, Tensor]


class Exposed(NamedTuple):
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
class Replay:
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

    def places(self, exposed: Exposed, rng: np.random.Generator) -> Iterator[tuple[slice, list[Place]]]:
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
        self, exposed: Exposed, nets: Sequence[EffectNet], rng: np.random.Generator, clusters: int
    ) -> tuple[Doubles, Moments]:
        """The scale of the columns and the sums of `g_estimates`, with a column of ``nets`` where there are any."""
        folds = len(exposed.behind) - 1
        per_fold = max(clusters // folds, 1)
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

    def gated(self, place: Place, gate: Doubles, nets: Sequence[EffectNet], fold: Ints) -> Doubles:
        """(n, columns) of the effect times the probability that the gate opens."""
        columns = effect_columns(*place, self.widths)
        if nets:
            learnt = by_fold(nets[:-1], net_inputs(*place, self.widths), torch.from_numpy(fold))
            columns = with_learnt(columns, learnt)
        opened = chance_opened(torch.from_numpy(gate), *place, self.widths)
        return (opened.unsqueeze(-1) * columns).numpy()

    def exposures(self, exposed: Exposed, linear: Doubles, rng: np.random.Generator) -> Exposures:
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
