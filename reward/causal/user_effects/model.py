"""The personal part of an effect: how it depends on what the user likes and has already seen.

An exposure does what it does through its gate: reward(h, x) = p(gate | h, x) · (effect of x on h behind the gate). The
first factor is a logistic model of the gate; the second is the item's own effect with terms for how much the user has
seen of it and likes what is like it, whose coefficients are estimated causally from the days after.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.item_effects.newcomers import Newcomers
from reward.causal.protocol import EffectModel
from reward.causal.user_effects.effect_net import doubles
from reward.causal.user_effects.features import (
    by_feedback,
    effect_parts,
    hashed,
    how_often,
    net_inputs,
    seen,
    share_of_effect,
    stacked,
    taste_vectors,
    weighed,
)
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.restored import check_scores, checked
from reward.causal.user_effects.state_dict import arguments, table_of, values_of
from reward.causal.user_effects.user_state import Events, ItemState, UserHistory, UserProfile, UserState
from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.days import days_since_1970
from reward.features.events import Features
from reward.rewards import Rewards


class PersonalizedEffect(EffectModel):
    """What an exposure does through its gate: the item's own effect, with what the user likes and has seen.

    Args:
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
        calibration: how users held out agree with the rewards.
        personal_calibration: how they agree with what the rewards add to the items' own effects.
        net_calibration: how they agree with what the net changes in the rewards; None where there is none.
    """

    basket: Tensor
    gate: Tensor
    scale: Tensor
    coefficients: Tensor
    covariance: Tensor

    def __init__(
        self,
        *,
        answers: Answers,
        tastes: tuple[Taste, ...],
        ids: NDArray[Any],
        facts: ItemState,
        newcomers: Newcomers,
        basket: Ints | Tensor,
        spans_days: tuple[float, ...],
        gate: Doubles | Tensor,
        scale: Doubles | Tensor,
        coefficients: Doubles | Tensor,
        covariance: Doubles | Tensor,
        net: nn.Module | None,
        calibration: CalibrationSlope,
        personal_calibration: CalibrationSlope,
        net_calibration: CalibrationSlope | None,
    ) -> None:
        super().__init__()
        self.answers, self.tastes, self.ids, self.newcomers = answers, tastes, ids, newcomers
        self.spans_days, self.net = spans_days, net
        self.calibration, self.personal_calibration = calibration, personal_calibration
        self.net_calibration = net_calibration
        self.register_buffer("basket", torch.as_tensor(basket))
        for name, values in (("gate", gate), ("scale", scale), ("coefficients", coefficients)):
            self.register_buffer(name, doubles(values))
        self.register_buffer("covariance", doubles(covariance))
        for name in ItemState._fields:  # in the table
            self.register_buffer(f"item_{name}", getattr(facts, name), persistent=False)

    @property
    def facts(self) -> ItemState:
        """Of the items and, last, of an unknown one, (items + 1, ...) each."""
        return ItemState(*(self.get_buffer(f"item_{name}") for name in ItemState._fields))

    def replaced(self, **changes: Any) -> PersonalizedEffect:
        """The same with other arguments."""
        names = inspect.signature(type(self)).parameters
        return type(self)(**{name: getattr(self, name) for name in names} | changes)

    def codes(self, ids: NDArray[Any]) -> Ints:
        """What tells items apart: places in ``ids``, and beyond these a hash of each that is not there."""
        code = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1).astype(np.int64)
        new = self.ids[code] != ids
        code[new] = len(self.ids) + 1 + hashed(ids[new])
        return code

    def history(self, events: pl.DataFrame, users: pl.Series) -> UserHistory:
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
            facts=self.facts.to("cpu"),
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
        basket = self.facts.of(self.basket[None]).to(standing.items.device)
        usual = self._mean_of_seen(standing.person, basket, *standing.seen(basket)).mean(-1, keepdim=True)
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
        basket = self.facts.of(self.basket[None])
        code, group = (part.expand(len(user), -1) for part in (basket.code, basket.group))
        person, met = self._met(past, user, time, code, group)
        usual = self._mean_of_seen(person, basket, *met).mean(-1)
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
        person, met = self._met(past, user, time, facts.code, facts.group)
        return self.of_seen(person, facts, *met)

    def _met(
        self, past: UserHistory, user: Ints, time: Doubles, code: Tensor, group: Tensor
    ) -> tuple[UserProfile, list[Tensor]]:
        """What is known of users, and what they have seen of candidates, where the model is."""
        device = self.basket.device
        person = UserProfile(*(part.to(device) for part in past.person(user, time)))
        return person, [part.to(device) for part in seen(past, user, time, code.cpu(), group.cpu())]

    def known(self, ids: NDArray[Any], items_table: pl.DataFrame | None = None) -> ItemState:
        """What is known of items: estimated, foretold by ``items_table``, or as of an unknown one.

        Args:
            ids: (items,) ascending.
            items_table: features of items that the log does not hold, as in training.
        """
        code, device = self.codes(ids), self.basket.device
        facts = self.facts.of(torch.from_numpy(np.minimum(code, len(self.ids))).to(device))
        facts = facts._replace(code=torch.from_numpy(code).to(device))
        if items_table is None:
            return facts
        new = np.flatnonzero(code >= len(self.ids))
        table = items_table.filter(pl.col(ITEM).is_in(pl.Series(ids[new].tolist(), dtype=items_table.schema[ITEM])))
        at = torch.from_numpy(np.searchsorted(ids, table[ITEM].to_numpy())).to(device)
        traits, behind, group = self.newcomers.expected(table)
        expected = {"behind": behind, "group": group, "taste": taste_vectors(traits, self.tastes)}
        told = facts.of(at)._replace(**{name: torch.from_numpy(part).to(device) for name, part in expected.items()})
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
        like = person.taste
        opened = share_of_effect(self.gate.to(like), self.answers.unopened, person, facts, own, group, widths)
        columns = stacked(self._parts(person, facts, own, group, widths)) / self.scale.to(like)
        slope, covariance = (self.coefficients / self.scale).to(like), self.covariance.to(like)
        often, kin = how_often(own), group.log1p()
        doubt = (slope[1] + slope[2] * often + slope[3] * kin) ** 2 * facts.variance
        liked = by_feedback(person.doubt * facts.taste**2, widths)
        for one, variance in enumerate(liked.unbind(-1)):
            doubt = doubt + (slope[5 + one] + slope[5 + liked.shape[-1] + one] * often) ** 2 * variance
        variance = ((columns @ covariance) * columns).sum(-1) + doubt
        return Rewards(opened * (columns @ self.coefficients.to(like)), opened * variance.clamp_min(0).sqrt())

    def _mean_of_seen(self, person: UserProfile, facts: ItemState, own: Tensor, group: Tensor) -> Tensor:
        """The means of `of_seen` alone, whose standard deviations cost most of it."""
        person = UserProfile(*(part.unsqueeze(1) for part in person))
        widths = [len(taste.prior) for taste in self.tastes]
        like = person.taste
        parts = self._parts(person, facts, own, group, widths)
        opened = share_of_effect(self.gate.to(like), self.answers.unopened, person, facts, own, group, widths)
        return opened * weighed(parts, (self.coefficients / self.scale).to(like))

    def _parts(
        self, person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]
    ) -> list[Tensor]:
        parts = effect_parts(person, facts, own, group, widths)
        return parts if self.net is None else [*parts, self.net(net_inputs(person, facts, own, group, widths))]

    def to_json(self) -> dict[str, Any]:
        """All of it but what is told of items and its tensors, as JSON values."""
        return values_of(self)

    def to_table(self) -> pl.DataFrame:
        """One row an item, ascending, and last one without an id for all others."""
        return table_of(self)

    @classmethod
    def restored(
        cls, told: Any, table: pl.DataFrame | None, tensors: Mapping[str, Tensor], features: Features
    ) -> PersonalizedEffect:
        """See `EffectModel.restored`."""
        made = cls(**arguments(*checked(told, table, tensors, features)))
        check_scores(made)
        return made
