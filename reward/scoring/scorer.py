"""The parts of a scoring function put together for one call: what reads a log, what forecasts, what makes rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl
from torch import Tensor

from reward.causal.protocol import EffectModel
from reward.outcomes.habit import Habit
from reward.outcomes.protocol import Outcome
from reward.rewards import Rewards
from reward.scoring.as_of import refuse_unless_open_days_are_forecast
from reward.scoring.candidates import Ids, scored
from reward.scoring.forecaster import Forecaster
from reward.scoring.history import History, encoded
from reward.scoring.prediction import Prediction, all_moments, distributed, predicted, predicted_of_nothing
from reward.scoring.readout import LogStates
from reward.scoring.requests import Counts, LogReader, Outputs, Request, Rows
from reward.scoring.strategies import CausalEffects, ExposureTerm, HabitReward, Strategy


@dataclass(frozen=True)
class Scorer:
    """What `reward.scoring.function.RewardFunction` asks; arguments and errors of its methods are those of the latter.

    Attributes:
        forecaster: what tells values.
        outcome: that of the values.
        timestamp_unit: of logs whose timestamps are integers.
        effects: what rewards are made of; None: they are exposure terms.
        habits: the rewards of habits, by scope.
    """

    forecaster: Forecaster
    outcome: Outcome
    timestamp_unit: str | None
    effects: EffectModel | None
    habits: Mapping[str, Habit]

    def fingerprint(self) -> str:
        """A hash of all that reads a history."""
        causal = self._causal()
        return self.forecaster.fingerprint(None if causal is None else causal.fingerprint())

    def predicted(
        self,
        events: Rows,
        request: Request,
        outputs: Outputs,
        set_aside: Callable[[Counts], None] | None = None,
    ) -> Prediction:
        """All that is asked of a log, from one reading; ``set_aside``: see `LogReader`."""
        forecaster, habit = self.forecaster, [] if request.habit is None else [request.habit]
        rewards = [self._reward(), *map(self._reward, habit)] if outputs.scores else []
        if all_moments(request, outputs):
            refuse_unless_open_days_are_forecast(self.outcome)
        forecaster.refuse_unknown([*request.tasks, *outputs.expected])
        if not len(events):
            return predicted_of_nothing(forecaster, rewards, request, outputs)
        reading = self._reading(events, request, set_aside)
        return predicted(forecaster, self.outcome, rewards, reading, request, outputs)

    def distributed(self, events: pl.DataFrame, request: Request, name: str | None) -> pl.DataFrame:
        """See `RewardFunction.distribution`."""
        self.forecaster.refuse_unknown([] if name is None else [name])
        return distributed(self.forecaster, self._reading(events, request), name)

    def encoded(
        self,
        events: pl.DataFrame,
        now: datetime | pl.DataFrame,
        items_table: pl.DataFrame | None,
        history_start: date | None,
        *,
        encoded_by: str,
    ) -> History:
        """See `RewardFunction.encode`; ``encoded_by``: its fingerprint."""
        reader, causal = self._reader(), self._causal()
        clean = reader.read(events).events
        slots = reader.slots(clean, now)
        return encoded(
            self.forecaster.network,
            self.forecaster.windows(clean, slots, items_table, history_start),
            slots,
            standing=None if causal is None else causal.standing(clean, slots),
            encoded_by=encoded_by,
        )

    def rewards(self, history: History, items: Ids, habit: str | None, items_table: pl.DataFrame | None) -> Rewards:
        """See `RewardFunction.score_candidates`."""
        reward, ids = self._reward(habit), self.forecaster.catalogue.ids_of(items)
        return scored(history, ids, lambda distinct: reward.of_candidates(distinct, items_table))

    def outcome_of_candidates(
        self, history: History, items: Ids, name: str, items_table: pl.DataFrame | None
    ) -> Tensor:
        """See `RewardFunction.predict_candidates`."""
        forecaster = self.forecaster
        forecaster.refuse_unknown([name])
        ids = forecaster.catalogue.ids_of(items)
        return scored(history, ids, lambda distinct: forecaster.of_candidates(name, distinct, items_table)).mean

    def _reading(self, events: Rows, request: Request, set_aside: Callable[[Counts], None] | None = None) -> LogStates:
        log = self._reader(set_aside).read(events)
        windows = self.forecaster.windows(log.events, None, request.items_table, request.history_start)
        return LogStates(log, windows, self.forecaster.network, request.progress)

    def _reader(self, set_aside: Callable[[Counts], None] | None = None) -> LogReader:
        return LogReader(self.forecaster.features, self.timestamp_unit, set_aside)

    def _causal(self) -> CausalEffects | None:
        return None if self.effects is None else CausalEffects(self.effects, self.forecaster)

    def _reward(self, habit: str | None = None) -> Strategy:
        """What makes the reward; or that of a habit."""
        if habit is not None:
            return HabitReward.of(self.forecaster, self.habits, habit)
        return self._causal() or ExposureTerm(self.forecaster)
