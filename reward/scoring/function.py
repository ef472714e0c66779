"""The scoring function: a trained network with everything it takes to score a log, as one folder or one module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, Unpack

import polars as pl
from torch import Tensor

from reward.arrays import Doubles
from reward.causal.protocol import EffectModel
from reward.features.events import Features
from reward.frozen import Frozen, as_trained, eager
from reward.moved import OldName, keywords_of_before
from reward.outcomes.habit import habits
from reward.outcomes.protocol import Outcome
from reward.rewards import Rewards
from reward.scoring.candidates import Catalogue, Ids
from reward.scoring.forecaster import Forecaster
from reward.scoring.history import History
from reward.scoring.prediction import Prediction
from reward.scoring.requests import Counts, Outputs, Progress, ReadOptions, Request, Rows, ScoreOptions, beside
from reward.scoring.scorer import Scorer
from reward.sequences.network import RewardNetwork

SetAside = Callable[["RewardFunction", Counts], None]


class RewardFunction(Frozen):
    """Scores what showing an item does to a user's mid-term outcome.

    Frozen and always in eval mode, also as a part of a module that is training, see `Frozen`; deterministic; a score
    depends on the user's own history alone. Make one with `reward.load`.

    In forked processes, such as a DataLoader's workers, `score_candidates` works; what reads frames (`score_events`,
    `encode`, an ``items_table``) needs workers that are spawned, because the threads of polars do not survive a fork.

    Attributes:
        features: how a log's columns become the network's inputs.
        tasks: the outcomes that are predicted, by the names of their tasks; that of the rewards first.
        reward: the name of the task whose outcome values and rewards are measured in.
        outcome: that task's.
        unit: what one point of a value or a reward means.
        horizon_days: H, the days an outcome is summed over.
        facts: training window, log fingerprint, metrics and whatever else the artefact says of itself; plain JSON.
        effects: what rewards are made of: effects estimated causally from the log. None: there are none, and rewards
            are exposure terms, differences of the network's forecasts.
        auxiliary: the outcomes of the other tasks, by name.
        units: what one point of the value of each of these means, by name.
        habits: rewards of bringing an item, creator or show up, by scope, where all three of their parts are predicted.

    Args:
        network: trained and calibrated.
        features: see above.
        tasks: see above; one for each of the heads in ``network.heads``.
        max_events: longest history a slot reads.
        timestamp_unit: of logs whose timestamps are integers.
        facts: see above.
        effects: see above.

    Raises:
        ValueError: tasks and heads have other names.
    """

    also = OldName("auxiliary")

    def __init__(
        self,
        network: RewardNetwork,
        features: Features,
        tasks: Mapping[str, Outcome],
        *,
        max_events: int,
        timestamp_unit: str | None,
        facts: Mapping[str, Any],
        effects: EffectModel | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.reward = network.reward
        self.tasks = network.one_a_head(tasks)
        self.outcome = outcome = self.tasks[self.reward]
        self.unit, self.horizon_days = outcome.unit, outcome.horizon_days
        self.max_events = max_events
        self.timestamp_unit = timestamp_unit
        self.facts = dict(facts)
        self.effects = effects
        self.auxiliary = {name: each for name, each in self.tasks.items() if name != self.reward}
        self.units = {name: each.unit for name, each in self.auxiliary.items()}
        self.habits = habits(self.tasks)
        self._catalogue = Catalogue(features)
        self._fingerprint: tuple[EffectModel | None, str] | None = None
        self.eval()

    @property
    def fingerprint(self) -> str:
        """Of how it reads a log: two loads of one artefact have the same, and histories of one fit the other.

        A hash of the weights that read, of how columns become inputs, of the items, and of the effects.
        """
        if self._fingerprint is None or self._fingerprint[0] is not self.effects:
            self._fingerprint = self.effects, self._scorer().fingerprint()
        return self._fingerprint[1]

    @keywords_of_before(also="tasks")
    def score_events(
        self,
        events: pl.DataFrame,
        *,
        tasks: Sequence[str] = (),
        habit: str | None = None,
        as_of: datetime | None = None,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
        progress: Progress = iter,
    ) -> pl.DataFrame:
        """Score every row of a log in the light of the rows before it.

        Args:
            events: the log's columns as in training. Give each user's history from the beginning: it is read in time
                order, whatever the order of the rows.
            tasks: names of tasks whose outcomes to predict as well, of those in `tasks`; ``also`` was its name before.
            habit: also tell this reward, of those in `habits`.
            as_of: also say what was known of each row's outcome at this moment (naive: UTC), in ``value_as_of``: the
                active days seen since, and for the days still open the forecast of the user's latest state, the
                lower, the longer the user has been silent. Null for rows that had not happened yet.
            items_table: features of items that the artefact does not hold.
            history_start: the first day the given histories cover; None: the training log's first day.
            progress: wraps the batches, to show how far along it is.

        Returns:
            The same rows in the same order with ``value_before`` V(Q), ``value_exposed`` V(E), ``value_after`` V(F),
            ``reward`` and ``reward_std``, all in `unit` (Float64). A row that repeats another gets the same scores.
            Rows that training would set aside are scored null, with a warning that counts them. Where the log has a
            column of such a name, it stays as it came, and the score is called ``scored_NAME``.
            Of each name in ``tasks`` the expected outcome in its own unit, ``NAME_before``, ``NAME_exposed`` and, where
            the feedback itself does not tell it, ``NAME_after``; or ``NAME_absent``, were the row's item not shown.
            With ``habit`` also ``habit`` and ``habit_std``.

        Raises:
            SchemaError: a column is missing or of the wrong type, or more rows are set aside than training allowed;
                or ``as_of`` is asked of an outcome whose scope is not the user.
            ValueError: a name in ``tasks`` is not one of the attribute `tasks`, or ``habit`` is not one of `habits`.
        """
        found = self.scores(
            events,
            tasks=tasks,
            habit=habit,
            as_of=as_of,
            items_table=items_table,
            history_start=history_start,
            progress=progress,
        )
        return beside(events, found)

    @keywords_of_before(also="tasks")
    def scores(
        self, events: pl.DataFrame, *, set_aside: SetAside | None = None, **options: Unpack[ScoreOptions]
    ) -> pl.DataFrame:
        """What `score_events` adds to a log, without the log: the scores of its rows, in their order.

        Args:
            events: see `score_events`.
            set_aside: called with this function and how many rows training would set aside for which reason, where the
                rows are a part of a log, in place of a warning.
            options: the other arguments of `score_events`; errors are its, too.
        """
        counts = None if set_aside is None else partial(set_aside, self)
        return self._predicted(events, Request(**options), Outputs(), counts).scores

    @keywords_of_before(also="tasks")
    def predict(
        self,
        events: Rows,
        *,
        forecast: bool = False,
        expected: Mapping[str, pl.Series | None] | None = None,
        moments: Sequence[datetime] = (),
        **options: Unpack[ScoreOptions],
    ) -> Prediction:
        """All that may be asked of a log's rows, from one reading: `scores`, `forecast`, `expected`, `values_as_of`.

        Args:
            events: see `score_events`; or rows of a prepared log, which were checked and are scored in its order.
            forecast: whether the forecast is asked for.
            expected: tasks whose outcomes' parts are asked for, each with what its rows are asked about; see
                `expected`.
            moments: see `values_as_of`.
            options: the other arguments of `score_events`.

        Raises:
            SchemaError: see `score_events`.
            ValueError: see `score_events`.
        """
        outputs = Outputs(forecast=forecast, expected=expected or {}, moments=moments)
        return self._predicted(events, Request(**options), outputs)

    def forecast(self, events: pl.DataFrame, **options: Unpack[ReadOptions]) -> Doubles:
        """Probability, after each row's feedback, of being active on each of the next H days: (rows, H).

        Nan for rows that training would set aside. ``options`` are arguments of `score_events`.
        """
        return self._predicted(events, Request(**options), Outputs(scores=False, forecast=True)).forecast

    def values_as_of(
        self, events: pl.DataFrame, moments: Sequence[datetime], **options: Unpack[ReadOptions]
    ) -> Doubles:
        """What was known of each row's outcome at each of several moments: (rows, moments), from one reading.

        As ``value_as_of`` of `score_events`, nan where that is null. Arguments and errors are its.
        """
        return self._predicted(events, Request(**options), Outputs(scores=False, moments=moments)).values_as_of

    def expected(
        self, events: pl.DataFrame, name: str, *, asked: pl.Series | None = None, **options: Unpack[ReadOptions]
    ) -> Doubles:
        """The parts of a task's outcome that are expected of each row, such as its days: (rows, parts).

        After the row's feedback; or before it, with the item known, where the feedback itself tells the outcome. Of an
        outcome of what is not shown that is ``asked`` of each row; None: the row's own item, creator or show.
        ``options`` are arguments of `score_events`.
        """
        return self._predicted(events, Request(**options), Outputs(scores=False, expected={name: asked})).expected[name]

    @eager
    @as_trained
    def distribution(
        self, events: pl.DataFrame, name: str | None = None, **options: Unpack[ReadOptions]
    ) -> pl.DataFrame:
        """The whole predicted distribution of an outcome, as each user's last event left it.

        Args:
            events: the log's columns as in training, each user's history from the beginning.
            name: of a task; None: of the reward's.
            options: arguments of `score_events`.

        Returns:
            A row for each user and possible outcome, in order: ``user_id``, ``outcome`` in its unit and
            ``probability``, which sums to 1 for each user. Where the feedback itself tells the outcome, it is that of
            the last exposure before its feedback came.

        Raises:
            SchemaError: a column is missing or of the wrong type, or a value cannot be used.
            ValueError: ``name`` is not one of `tasks`.
        """
        return self._scorer().distributed(events, Request(**options), name)

    def unknown_items(self, items: Ids, items_table: pl.DataFrame | None = None) -> int:
        """How many of ``items`` are not in the vocabulary: they are scored by their features alone."""
        return self._catalogue.unknown(items, items_table)

    @eager
    @as_trained
    def encode(
        self,
        events: pl.DataFrame,
        *,
        now: datetime | pl.DataFrame,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
    ) -> History:
        """Read users' histories once, up to the slots that are about to be filled.

        Args:
            events: the users' events so far, the log's columns as in training. Events at or after a slot's moment are
                not read by it.
            now: the moment of the slots (naive: UTC), one slot for each user of ``events`` in the order of their ids,
                with unknown context; or a frame with one row a slot: ``user_id``, ``timestamp`` and any of the
                context columns, for users with or without events.
            items_table: features of items in ``events`` that the artefact does not hold.
            history_start: the first day the given histories cover; None: the training log's first day.

        Returns:
            One row a slot, in the order of ``now``.

        Raises:
            SchemaError: a column is missing or of the wrong type, or a value cannot be used.
        """
        return self._scorer().encoded(events, now, items_table, history_start, encoded_by=self.fingerprint)

    @eager
    @as_trained
    def score_candidates(
        self, history: History, items: Ids, *, habit: str | None = None, items_table: pl.DataFrame | None = None
    ) -> Rewards:
        """Score the effect of showing each candidate next.

        Args:
            history: from `encode`.
            items: item ids, (candidates,) for all users alike or (users, candidates).
            habit: tell the reward of bringing up what the candidate is of, of those in `habits`, in its own unit.
            items_table: features of items that the artefact does not hold. Items known to neither are scored as an
                average new item; `unknown_items` counts them.

        Returns:
            Rewards of shape (users, candidates) in `unit`, float32.

        Raises:
            ValueError: ``items`` has another shape, or ids of another type than the vocabulary's; or ``habit`` is not
                one of `habits`.
        """
        history.refuse_unless_encoded_by(self.fingerprint)
        return self._scorer().rewards(history, items, habit, items_table)

    forward = score_candidates

    @eager
    @as_trained
    def predict_candidates(
        self, history: History, items: Ids, name: str, *, items_table: pl.DataFrame | None = None
    ) -> Tensor:
        """Predict the outcome of a task for showing each candidate next.

        Args:
            history: see `score_candidates`.
            items: see `score_candidates`.
            name: of the task, of those in `tasks`.
            items_table: see `score_candidates`.

        Returns:
            (users, candidates), float32: the expected outcome in its own unit, before the feedback; of one that asks
            about what is not shown, were what the candidate is of not shown.

        Raises:
            ValueError: see `score_candidates`; or ``name`` is not one of `tasks`.
        """
        history.refuse_unless_encoded_by(self.fingerprint)
        return self._scorer().outcome_of_candidates(history, items, name, items_table)

    @eager
    @as_trained
    def _predicted(
        self,
        events: Rows,
        request: Request,
        outputs: Outputs,
        set_aside: Callable[[Counts], None] | None = None,
    ) -> Prediction:
        return self._scorer().predicted(events, request, outputs, set_aside)

    def _scorer(self) -> Scorer:
        forecaster = Forecaster(self.network, self.features, self.tasks, self.max_events, self._catalogue)
        return Scorer(forecaster, self.outcome, self.timestamp_unit, self.effects, self.habits)
