"""The personal part of an effect: how it depends on what the user likes and has already seen.

An exposure does what it does through its gate: reward(h, x) = p(gate | h, x) · (effect of x on h behind the gate). The
first factor is a logistic model of the gate; the second is the item's own effect with terms for how much the user has
seen of it and likes what is like it, whose coefficients are estimated causally from the days after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import Column, described
from reward.causal.item_effects.ipw import HeldOut
from reward.causal.user_effects.effect_net import EffectNet
from reward.causal.user_effects.features import (
    by_feedback,
    chance_opened,
    effect_parts,
    hashed,
    how_often,
    net_inputs,
    seen,
    stacked,
    taste_vectors,
    weighed,
)
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.user_state import Events, ItemState, UserHistory, UserProfile, UserState
from reward.columns import ITEM, TIMESTAMP, USER
from reward.rewards import Rewards


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

    def facts(self, table: pl.DataFrame, unknown: ItemState, tastes: Sequence[Taste]) -> ItemState:
        """ItemState of items of an items table, in its order; ``unknown`` are theirs without it."""
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
        vectors = taste_vectors(traits, tastes)
        return unknown._replace(
            behind=torch.from_numpy(behind), group=torch.from_numpy(code), taste=torch.from_numpy(vectors)
        )


@dataclass(frozen=True)
class PersonalizedEffect:
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
    facts: ItemState
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
        code[new] = len(self.ids) + 1 + hashed(ids[new])
        return code

    def past(self, events: pl.DataFrame, users: pl.Series) -> UserHistory:
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
        return UserHistory.of(
            read.take(read.in_order()),
            users=len(users),
            answers=self.answers,
            tastes=self.tastes,
            facts=self.facts,
            spans_days=self.spans_days,
        )

    def score(self, standing: UserState, facts: ItemState) -> Rewards:
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

    def score_rows(self, past: UserHistory, user: Ints, time: Doubles, facts: ItemState) -> Rewards:
        """Rewards of one item in each of m slots, as `score` has them.

        Args:
            past: of the users.
            user: (m,) users of the slots.
            time: (m,) their moments, days since 1970.
            facts: (m, ...) of the items.
        """
        basket = self.facts.of(torch.from_numpy(self.basket)[None])
        code, group = (part.expand(len(user), -1) for part in (basket.code, basket.group))
        usual = self.mean_of_seen(past.person(user, time), basket, *seen(past, user, time, code, group)).mean(-1)
        mean, std = self.of_rows(past, user, time, ItemState(*(part[:, None] for part in facts)))
        return Rewards(mean[:, 0] - usual, std[:, 0])

    def of_rows(self, past: UserHistory, user: Ints, time: Doubles, facts: ItemState) -> Rewards:
        """Rewards of candidates of m slots that are not yet measured against the basket, (m, candidates).

        Args:
            past: of the users.
            user: (m,) users of the slots.
            time: (m,) their moments, days since 1970.
            facts: (m, candidates, ...) of the items.
        """
        return self.of_seen(past.person(user, time), facts, *seen(past, user, time, facts.code, facts.group))

    def known(self, ids: NDArray[Any], items_table: pl.DataFrame | None = None) -> ItemState:
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
        return ItemState(*(part.index_put((at,), fresh) for part, fresh in zip(facts, told, strict=True)))

    def of_seen(self, person: UserProfile, facts: ItemState, own: Tensor, group: Tensor) -> Rewards:
        """Rewards of candidates that are not yet measured against the basket, (n, candidates).

        Args:
            person: of n slots.
            facts: of items, (n or 1, candidates, ...).
            own: (n, candidates, spans) counts of the item in the user's past.
            group: (n, candidates) count of its group.
        """
        person = UserProfile(*(part.unsqueeze(1) for part in person))
        widths = [len(taste.prior) for taste in self.tastes]
        like = person.taste.new_tensor
        opened = chance_opened(like(self.gate), person, facts, own, group, widths)
        columns = stacked(self.effect_parts(person, facts, own, group, widths)) / like(self.scale)
        slope, covariance = like(self.coefficients / self.scale), like(self.covariance)
        often, kin = how_often(own), group.log1p()
        doubt = (slope[1] + slope[2] * often + slope[3] * kin) ** 2 * facts.variance
        liked = by_feedback(person.doubt * facts.taste**2, widths)
        for one, variance in enumerate(liked.unbind(-1)):
            doubt = doubt + (slope[5 + one] + slope[5 + liked.shape[-1] + one] * often) ** 2 * variance
        variance = ((columns @ covariance) * columns).sum(-1) + doubt
        return Rewards(opened * (columns @ like(self.coefficients)), opened * variance.clamp_min(0).sqrt())

    def mean_of_seen(self, person: UserProfile, facts: ItemState, own: Tensor, group: Tensor) -> Tensor:
        """The means of `of_seen` alone, whose standard deviations cost most of it."""
        person = UserProfile(*(part.unsqueeze(1) for part in person))
        widths = [len(taste.prior) for taste in self.tastes]
        like = person.taste.new_tensor
        parts = self.effect_parts(person, facts, own, group, widths)
        opened = chance_opened(like(self.gate), person, facts, own, group, widths)
        return opened * weighed(parts, like(self.coefficients / self.scale))

    def effect_parts(
        self, person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]
    ) -> list[Tensor]:
        parts = effect_parts(person, facts, own, group, widths)
        return parts if self.net is None else [*parts, self.net(net_inputs(person, facts, own, group, widths))]


def days_since_1970(moments: pl.Series) -> Doubles:
    """(n,) with the time of the day as a fraction."""
    return moments.dt.epoch("us").to_numpy() / 86_400e6
