"""Rewards, one contract each: of a log's rows and of candidates, whatever they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import Doubles
from reward.causal.protocol import EffectModel, StateOfUsers
from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.days import days_since_1970
from reward.data.event_log import slate_moment
from reward.features.events import ItemTable
from reward.outcomes.habit import Habit
from reward.rewards import Rewards, exposure_rewards
from reward.scoring.candidates import Score
from reward.scoring.forecaster import Forecaster
from reward.scoring.history import History
from reward.scoring.readout import BATCH_ROWS, LogStates, Readout, States


class Strategy(Protocol):
    """How one reward is made.

    Attributes:
        columns: names of its mean and its standard deviation in a table of scores.
    """

    columns: ClassVar[tuple[str, str]]

    def readouts(self, items: ItemTable) -> dict[str, Readout]:
        """What it wants read off the states of a log's events, which show ``items``; by names of its own."""

    def of_rows(self, reading: LogStates, found: Mapping[str, Doubles], items_table: pl.DataFrame | None) -> Doubles:
        """(events, 2) means and standard deviations in stream order.

        Args:
            reading: of the log.
            found: what its `readouts` found, (events, ·) each.
            items_table: features of items that the artefact does not hold.
        """

    def of_candidates(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> Score:
        """What scores candidates that are given as places in ``ids``, distinct and ascending."""


@dataclass(frozen=True)
class ExposureTerm:
    """V(E) − V(Q), see `reward.rewards.exposure_rewards`."""

    forecaster: Forecaster

    columns: ClassVar[tuple[str, str]] = ("reward", "reward_std")

    def readouts(self, items: ItemTable) -> dict[str, Readout]:  # noqa: ARG002
        """See `Strategy`."""
        head = self.forecaster.network.head

        def told(states: States) -> Tensor:
            return torch.stack([*exposure_rewards(states.value(head, "before"), states.value(head, "exposed"))], -1)

        return {self.columns[0]: Readout(told, 2)}

    def of_rows(self, reading: LogStates, found: Mapping[str, Doubles], items_table: pl.DataFrame | None) -> Doubles:  # noqa: ARG002
        """See `Strategy`."""
        return found[self.columns[0]]

    def of_candidates(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> Score:
        """See `Strategy`."""
        told, value = self.forecaster, self.forecaster.network.head.value
        fillings = told.fillings(ids, items_table)
        return lambda history, which: exposure_rewards(
            value(told.state(history, None)), value(told.state(history, fillings.at(which)))
        )


@dataclass(frozen=True)
class HabitReward:
    """The reward of bringing up what an item is of: P(taken up) · (V after − V without), see `Habit`."""

    forecaster: Forecaster
    habit: Habit

    columns: ClassVar[tuple[str, str]] = ("habit", "habit_std")

    @classmethod
    def of(cls, forecaster: Forecaster, known: Mapping[str, Habit], scope: str) -> HabitReward:
        """That of a scope, of the habits that are known.

        Raises:
            ValueError: it is not one of them.
        """
        if scope not in known:
            raise ValueError(
                f"habit={scope!r} expected one of the habits of this function, "
                f"{', '.join(known) or 'which has none'}: train with task=[...,habit] to have one"
            )
        return cls(forecaster, known[scope])

    def readouts(self, items: ItemTable) -> dict[str, Readout]:
        """See `Strategy`."""
        forecaster, habit = self.forecaster, self.habit
        taken, back, absent = map(forecaster.head, habit)
        scope = forecaster.scope(habit.without)

        def told(states: States) -> Tensor:
            shown = states.value(taken, "exposed"), states.value(back, "exposed")
            return torch.stack([*_formed(*shown, states.value(absent, scope))], -1)

        return {self.columns[0]: Readout(told, 2, asked=forecaster.questions(items, habit))}

    def of_rows(self, reading: LogStates, found: Mapping[str, Doubles], items_table: pl.DataFrame | None) -> Doubles:  # noqa: ARG002
        """See `Strategy`."""
        return found[self.columns[0]]

    def of_candidates(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> Score:
        """See `Strategy`."""
        told, habit = self.forecaster, self.habit
        items, absent = (told.fillings(ids, items_table, asked) for asked in (None, habit.without))

        def score(history: History, which: Tensor) -> Rewards:
            shown, without = told.state(history, items.at(which)), told.state(history, absent.at(which))
            taken, back = (told.head(name).value(shown) for name in (habit.taken_up, habit.after))
            return _formed(taken, back, told.head(habit.without).value(without))

        return score


@dataclass(frozen=True)
class CausalEffects:
    """Rewards of effects that were estimated causally from the log.

    Attributes:
        effects: what was estimated.
        forecaster: whose features read tables of items.
    """

    effects: EffectModel
    forecaster: Forecaster

    columns: ClassVar[tuple[str, str]] = ("reward", "reward_std")

    def readouts(self, items: ItemTable) -> dict[str, Readout]:  # noqa: ARG002
        """See `Strategy`: none."""
        return {}

    def of_rows(self, reading: LogStates, found: Mapping[str, Doubles], items_table: pl.DataFrame | None) -> Doubles:  # noqa: ARG002
        """See `Strategy`."""
        clean = reading.log.events
        users = clean[USER].unique().sort()
        user = users.search_sorted(clean[USER]).to_numpy().astype(np.int64)
        moment = days_since_1970(clean.select(slate_moment(clean.columns)).to_series())
        items = clean[ITEM].unique().sort()
        place = items.search_sorted(clean[ITEM]).to_numpy().astype(np.int64)
        facts = self.effects.known(items.to_numpy(), self._fitting(items_table))
        past, out = self.effects.history(clean, users), np.empty((len(clean), 2))
        for start in range(0, len(clean), BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            some = facts.of(torch.from_numpy(place[rows]))
            out[rows] = torch.stack([*self.effects.score_rows(past, user[rows], moment[rows], some)], -1).numpy()
        return out[reading.stream.events.source]

    def of_candidates(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> Score:
        """See `Strategy`."""
        facts = self.effects.known(ids, self._fitting(items_table)).to(self.forecaster.device)

        def score(history: History, which: Tensor) -> Rewards:
            if history.standing is None:
                raise ValueError("history expected one that this function encoded: its effects read more of the past")
            return self.effects.score(history.standing, facts.of(which))

        return score

    def standing(self, clean: pl.DataFrame, slots: pl.DataFrame) -> StateOfUsers:
        """What the effects read of the past of each slot's user, for `History`."""
        users = pl.concat([clean[USER], slots[USER]]).unique().sort()
        user = users.search_sorted(slots[USER]).to_numpy().astype(np.int64)
        standing = self.effects.history(clean, users).state(user, days_since_1970(slots[TIMESTAMP]))
        found: StateOfUsers = standing.map(lambda tensor: tensor.to(self.forecaster.device))
        return found

    def fingerprint(self) -> str:
        """A hash of the effects."""
        return self.effects.digest()

    def _fitting(self, items_table: pl.DataFrame | None) -> pl.DataFrame | None:
        return None if items_table is None else self.forecaster.features.fitting(items_table)


def weighted_sum(mean: Tensor, std: Tensor, weights: Tensor, covariance: Tensor) -> Rewards:
    """``Σ_j β_j · signal_j`` with ``std² = (Σ_j |β_j| · std_j)² + sᵀ V s``; see `reward.scoring.composite.Composite`.

    Args:
        mean: (..., signals) s.
        std: (..., signals) their standard deviations, whose errors are taken to go together.
        weights: (signals,) β.
        covariance: (signals, signals) V, of the weights.

    Returns:
        Rewards of shape (...).
    """
    beta, errors = weights.to(mean.dtype), covariance.to(mean.dtype)
    doubt = ((mean @ errors) * mean).sum(-1).clamp(min=0)
    return Rewards(mean @ beta, ((std @ beta.abs()) ** 2 + doubt).sqrt())


def _formed(taken: Tensor, back: Tensor, without: Tensor) -> Rewards:
    """The reward of a habit, of the values of its three outcomes by member."""
    return exposure_rewards(taken * without, taken * back)
