"""The exposures of a log, as every estimator of effects reads them: chunk by chunk of whole users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Ints
from reward.causal.choosing import Chooser
from reward.causal.item_effects.feedback_rates import FeedbackRows
from reward.causal.item_effects.front_door import FrontDoor, front_door
from reward.causal.item_effects.ipw import IPWEstimates, inverse_weights
from reward.causal.item_effects.observed import Observed
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays, user_days
from reward.causal.propensity.plausibility import impossible
from reward.causal.settings import name_problems
from reward.columns import PROPENSITY
from reward.data.event_log import EventLog, SchemaError, click_of
from reward.data.prepared import PreparedLog, UserRows
from reward.outcomes.protocol import DailyOutcome


@dataclass(frozen=True)
class UserExposures:
    """n exposures of some of a log's users and what came after them.

    Attributes:
        users: their rows.
        item: (n,) codes of the log's items.
        propensity: (n,).
        weight: (n,) from `inverse_weights`.
        days: user-days, with what their users did after them beyond what was to be expected.
    """

    users: UserRows
    item: Ints
    propensity: Doubles
    weight: Doubles
    days: UserDays

    @property
    def feedback(self) -> FeedbackRows:
        """What was answered."""
        return FeedbackRows(self.users.log.events, self.item, self.days.row_fold)

    def observed(self, effect: DayEffects) -> Observed:
        """These exposures with an estimate of what each of their days did."""
        return Observed(self.days, effect, self.item, self.weight)


@dataclass(frozen=True)
class Exposures:
    """All exposures of a log.

    Attributes:
        prepared: the log.
        features: columns of its items that describe them.
        feedback: columns of its events.
        click: the feedback that says that an item was taken up; None: there is none.
        folds: groups of users for cross-fitting.
        chunks: of whole users.
    """

    prepared: PreparedLog
    features: Sequence[str]
    feedback: Sequence[str]
    click: str | None
    folds: int
    chunks: Sequence[UserExposures]

    @property
    def table(self) -> pl.DataFrame:
        """Of the items of the log and of its items table, ascending."""
        return self.prepared.items

    @property
    def days(self) -> list[UserDays]:
        """User-days of each chunk."""
        return [chunk.days for chunk in self.chunks]

    @cached_property
    def count(self) -> Doubles:
        """(items,) exposures of each item."""
        return self.prepared.exposures.astype(np.float64)

    def observed(self, effects: Sequence[DayEffects]) -> list[Observed]:
        """Each chunk with what its days did."""
        return [chunk.observed(effect) for chunk, effect in zip(self.chunks, effects, strict=True)]

    def chooser(self, anchor: IPWEstimates, observed: Sequence[Observed] = ()) -> Chooser:
        """What chooses settings by how well they explain the anchors of the items, and what came after feedback."""
        answers = [chunk.feedback for chunk in self.chunks]
        return Chooser(answers, self.table, self.features, self.feedback, self.click, anchor, observed)

    def mediator_open(self, gate: str | None) -> list[Bools] | None:
        """(n,) of each chunk, whether exposures opened a gate; None where there is none."""
        return None if gate is None else [chunk.feedback.above(gate) for chunk in self.chunks]

    def front_door(
        self, effects: Sequence[DayEffects], opened: Sequence[Bools] | None, bias_std: float | None
    ) -> FrontDoor | None:
        """What came after a gate opened; None where there is no gate, or nothing is to be read of it."""
        if opened is None or bias_std is None:
            return None
        return replace(front_door(self.observed(effects), opened, len(self.table)), bias_std=bias_std)

    @cached_property
    def whole(self) -> UserExposures:
        """The exposures of all users, in the order of the log."""
        if len(self.chunks) == 1:
            return self.chunks[0]
        return UserExposures(
            self.prepared.every_user(),
            np.concatenate([self.chunks[at].item for at in self._order]),
            self.in_order([each.propensity for each in self.chunks]),
            self.in_order([each.weight for each in self.chunks]),
            UserDays.joined([self.chunks[at].days for at in self._order]),
        )

    def whole_effects(self, effects: Sequence[DayEffects]) -> DayEffects:
        """What the days of all users did, in the order of the log, from those of each chunk."""
        value, precision = (self.in_order([getattr(it, name) for it in effects]) for name in ("value", "precision"))
        noise = [it.noise for it in effects if it.noise is not None]
        return DayEffects(value, precision, self.in_order(noise) if len(noise) == len(effects) else None)

    def in_order(self, parts: Sequence[Doubles]) -> Doubles:
        """The numbers of each chunk in one array, in the order of the log."""
        return np.concatenate([parts[at] for at in self._order])

    @property
    def _order(self) -> Ints:
        """Places of the chunks by their users."""
        return np.argsort([chunk.users.first for chunk in self.chunks])


def exposures_of(
    prepared: PreparedLog,
    outcome: DailyOutcome,
    propensity: Doubles | None,
    *,
    folds: int,
    seed: int,
    most_weight: float,
    forecast: pl.DataFrame | None = None,
) -> Exposures:
    """Read a log.

    Args:
        prepared: cut where it is to be known.
        outcome: what effects are on.
        propensity: (n,) probabilities to use instead of the log's.
        folds: groups of users for cross-fitting.
        seed: draws the folds.
        most_weight: clip of the inverse-propensity weights, in multiples of an item's mean.
        forecast: the baseline to use, see `user_days`.

    Raises:
        SchemaError: see `user_days`.
    """
    log, chunks = prepared.log, list(prepared.chunks())
    days = user_days(prepared, outcome, folds=folds, seed=seed, forecast=forecast)
    item = [users.item for users in chunks]
    share = [_propensity(users, propensity) for users in chunks]
    weight = inverse_weights(share, item, len(prepared.items), most=most_weight)
    parts = zip(chunks, item, share, weight, days, strict=True)
    return Exposures(
        prepared=prepared,
        features=[name for name in log.item_features if name in prepared.items.columns],
        feedback=log.feedback,
        click=click_of(log),
        folds=folds,
        chunks=[UserExposures(*each) for each in parts],
    )


def _propensity(users: UserRows, given: Doubles | None) -> Doubles:
    if given is not None:
        return given[users.rows]
    return users.log.events.select(PROPENSITY).collect().to_series().to_numpy()


def check_log(
    log: EventLog,
    propensity: Doubles | None,
    *,
    gate: str | None,
    rare: Sequence[str] | str | None,
    group: str | None,
) -> None:
    """See that a log has the columns that settings name, and propensities.

    Raises:
        SchemaError: it has not, or they are not probabilities.
    """
    problems = list(name_problems(log, gate=gate, rare=rare, group=group))
    if propensity is None and PROPENSITY not in log.events.collect_schema().names():
        problems.append(f"the log has no column {PROPENSITY}: give it, or estimate it with estimate_propensities")
    else:
        given = log.events.select(PROPENSITY).collect().to_series().to_numpy() if propensity is None else propensity
        wrong = impossible(given, log.events.select(pl.len()).collect().item())
        problems += [] if wrong is None else [wrong]
    if problems:
        raise SchemaError("; ".join(problems))


def day_share(day: Ints, item: Ints) -> Doubles:
    """(n,) share of each row's item among its day's exposures."""
    cell = np.unique(day * (int(item.max()) + 1) + item, return_inverse=True)[1]
    return (np.bincount(cell)[cell] / np.bincount(day)[day]).astype(np.float64)
