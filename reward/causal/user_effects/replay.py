"""A log read again, some users at a time: where users and items stood before each slot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.effect_net import EffectNet, Exposures, by_fold
from reward.causal.user_effects.exposed import DailyItems, ExposedUsers
from reward.causal.user_effects.features import effect_columns, net_inputs, share_of_effect, with_learnt
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.g_estimation import Moments
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.user_state import ItemState, UserHistory, UserProfile
from reward.statistics.gathered import Gathered
from reward.statistics.random import uniforms

# where users and items stand: the latter two as in `UserState.seen`
Place = tuple[UserProfile, ItemState, Tensor, Tensor]


@dataclass(frozen=True)
class Replay:
    """What the past of users is read with; see `PersonalizedEffect` for all of it."""

    answers: Answers
    tastes: tuple[Taste, ...]
    facts: ItemState
    spans_days: tuple[float, ...]

    @property
    def widths(self) -> list[int]:
        """Directions of taste of each column of answers."""
        return [len(taste.prior) for taste in self.tastes]

    def history(self, users: ExposedUsers) -> UserHistory:
        """The past of users, who are counted from the first of them."""
        events = users.events
        user = events.user - users.first_user
        return UserHistory.of(
            events._replace(user=user),
            users=int(user[-1]) + 1,
            answers=self.answers,
            tastes=self.tastes,
            facts=self.facts,
            spans_days=self.spans_days,
        )


@dataclass(frozen=True)
class Contrasts:
    """Exposures beside what could have been shown in their slots.

    Attributes:
        replay: reads the past.
        shown: what could have been: the exposures of the same day.
        gate: coefficients of the gate's logit; empty where there is none.
        behind: (folds + 1, items) effects behind the gate, each fold's without its users, and that of all.
        alternatives: items drawn for each exposure.
        seed: of the stream of random numbers that draws them.
        start: place in the stream from which they are drawn: first one item for each exposure of the log, and so on.
    """

    replay: Replay
    shown: DailyItems
    gate: Doubles
    behind: Doubles
    alternatives: int
    seed: tuple[int, ...]
    start: int

    @property
    def unopened(self) -> float:
        """What an exposure that does not open the gate does, as a share of one that does."""
        return self.replay.answers.unopened

    def drawn_again(self) -> Contrasts:
        """The same with other alternatives: the next in the stream."""
        return replace(self, start=self.start + self.alternatives * len(self.shown))

    def places(self, users: ExposedUsers) -> list[Place]:
        """Where users and items stand: the items shown, and each of the alternatives."""
        history, events, slate = self.replay.history(users), users.events, users.slate
        user = events.user - users.first_user
        person, places = history.person(user, slate), []
        for draw in range(1 + self.alternatives):
            item = self._drawn(users, draw - 1) if draw else events.item
            facts = self.replay.facts.of(torch.from_numpy(item))
            seen = history.seen(user, item, facts.group.numpy(), slate)
            behind = torch.from_numpy(self.behind[users.fold, item])
            places.append((person, facts._replace(behind=behind), *seen))
        return places

    def _drawn(self, users: ExposedUsers, draw: int) -> Ints:
        start = self.start + draw * len(self.shown) + users.first
        return self.shown.drawn(users.day, uniforms(self.seed, start, len(users)))


@dataclass(frozen=True)
class ColumnSums:
    """Sums over exposures; a state that adds.

    Attributes:
        size: (p,) Σ |g| of the columns g.
        rows: how many exposures.
        moments: of the columns.
    """

    size: Doubles
    rows: int
    moments: Moments

    def __add__(self, other: ColumnSums) -> ColumnSums:
        return ColumnSums(self.size + other.size, self.rows + other.rows, self.moments + other.moments)


@dataclass(frozen=True)
class EffectMoments:
    """The scale of the columns of the effect and the sums that `g_estimates` reads, as a sum over users.

    Attributes:
        contrasts: exposures and what could have been.
        nets: one for each fold made without it, and last that of all, which make one more column; none: there is none.
        clusters: of users, about how many: as many in each fold.
    """

    contrasts: Contrasts
    nets: tuple[EffectNet, ...]
    clusters: int

    def partial(self, users: ExposedUsers) -> ColumnSums:
        """Sums over some users' exposures."""
        folds = len(self.contrasts.behind) - 1
        per_fold = max(self.clusters // folds, 1)
        told, *others = (self._columns(place, users.fold) for place in self.contrasts.places(users))
        usual = np.zeros_like(told)
        for other in others:
            usual += other / self.contrasts.alternatives
        moments = Moments.of(
            told,
            told - usual,
            users.weight,
            users.value,
            users.fold + folds * (users.events.user % per_fold),
            np.arange(folds * per_fold) % folds,
        )
        return ColumnSums(np.abs(told).sum(axis=0), len(users), moments)

    def solve(self, state: ColumnSums) -> tuple[Doubles, Moments]:
        """(p,) mean sizes of the columns, 1 for one that is 0, and the moments of the columns divided by them."""
        scale = state.size / state.rows
        scale = np.where(scale > 0, scale, 1.0)
        return scale, state.moments.divided(scale)

    def _columns(self, place: Place, fold: Ints) -> Doubles:
        """(n, p) of the effect times the share of it that an exposure has."""
        widths = self.contrasts.replay.widths
        columns = effect_columns(*place, widths)
        if self.nets:
            learnt = by_fold(self.nets[:-1], net_inputs(*place, widths), torch.from_numpy(fold))
            columns = with_learnt(columns, learnt)
        share = share_of_effect(torch.from_numpy(self.contrasts.gate), self.contrasts.unopened, *place, widths)
        return (share.unsqueeze(-1) * columns).numpy()


@dataclass(frozen=True)
class NetExposures:
    """What nets learn from: the rows of all users, in the order of the log.

    Attributes:
        contrasts: exposures and what could have been.
        linear: (folds + 1, p) coefficients of the linear part.
    """

    contrasts: Contrasts
    linear: Doubles

    def partial(self, users: ExposedUsers) -> Gathered[Exposures]:
        """Those of some users."""
        gate, slope = torch.from_numpy(self.contrasts.gate), torch.from_numpy(self.linear.T)
        widths, places = self.contrasts.replay.widths, self.contrasts.places(users)
        unopened = self.contrasts.unopened
        opened = torch.stack([share_of_effect(gate, unopened, *place, widths) for place in places], dim=1)
        foretold = torch.stack([effect_columns(*place, widths) @ slope for place in places], dim=1)
        foretold = foretold * opened.unsqueeze(-1)
        value = torch.from_numpy(users.value)[:, None] - foretold[:, 0] + foretold[:, 1:].mean(1)
        inputs = torch.stack([net_inputs(*place, widths).float() for place in places], dim=1)
        weight, fold = torch.from_numpy(users.weight).float(), torch.from_numpy(users.fold)
        return Gathered.of(users.first, Exposures(inputs, opened.float(), value.float(), weight, fold))

    def solve(self, state: Gathered[Exposures]) -> Exposures:
        """Those of all users."""
        return Exposures(*map(torch.cat, zip(*state.in_order, strict=True)))
