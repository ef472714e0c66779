"""The exposures of a log, as every estimator of effects reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.choosing import Chooser
from reward.causal.item_effects.ipw import Anchors, inverse_weights
from reward.causal.item_effects.outcome_residuals import UserDays, user_days
from reward.causal.propensity.plausibility import impossible
from reward.causal.settings import name_problems
from reward.columns import ITEM, PROPENSITY
from reward.data.event_log import EventLog, SchemaError, click_of
from reward.outcomes.protocol import DailyOutcome


@dataclass(frozen=True)
class Exposures:
    """n exposures of a log and what came after them.

    Attributes:
        events: the checked log's rows.
        table: of the items of the log and of its items table, ascending.
        features: columns of it that describe items.
        feedback: columns of ``events``.
        click: the feedback that says that an item was taken up; None: there is none.
        item: (n,) places in ``table``.
        propensity: (n,).
        days: user-days, with what their users did after them beyond what was to be expected.
        weight: (n,) from `inverse_weights`.
        folds: groups of users for cross-fitting.
    """

    events: pl.DataFrame
    table: pl.DataFrame
    features: Sequence[str]
    feedback: Sequence[str]
    click: str | None
    item: Ints
    propensity: Doubles
    days: UserDays
    weight: Doubles
    folds: int

    @property
    def user(self) -> Ints:
        """(n,) places in ``days.users``."""
        return self.days.user[self.days.row]

    @property
    def fold(self) -> Ints:
        """(n,) fold of each row's user."""
        return self.days.fold[self.user]

    @property
    def count(self) -> Doubles:
        """(items,) exposures of each item."""
        return np.bincount(self.item, minlength=len(self.table)).astype(np.float64)

    def chooser(self, anchor: Anchors) -> Chooser:
        """What chooses settings by how well they explain the anchors of the items."""
        return Chooser(self.events, self.item, self.fold, self.table, self.features, self.feedback, self.click, anchor)


def exposures_of(
    log: EventLog,
    outcome: DailyOutcome,
    propensity: Doubles | None,
    *,
    folds: int,
    seed: int,
    most_weight: float,
    forecast: pl.DataFrame | None = None,
) -> Exposures:
    """Read a checked log.

    Args:
        log: cut where it is to be known.
        outcome: what effects are on.
        propensity: (n,) probabilities to use instead of the log's.
        folds: groups of users for cross-fitting.
        seed: draws the folds.
        most_weight: clip of the inverse-propensity weights, in multiples of an item's mean.
        forecast: the baseline to use, see `user_days`.

    Raises:
        SchemaError: see `user_days`.
    """
    events = log.events.collect()
    table = _table(log, events)
    item = table[ITEM].search_sorted(events[ITEM]).to_numpy().astype(np.int64)
    shares = events[PROPENSITY].to_numpy() if propensity is None else propensity
    return Exposures(
        events=events,
        table=table,
        features=[name for name in log.item_features if name in table.columns],
        feedback=log.feedback,
        click=click_of(log),
        item=item,
        propensity=shares,
        days=user_days(log, outcome, folds=folds, seed=seed, forecast=forecast),
        weight=inverse_weights(shares, item, len(table), most=most_weight),
        folds=folds,
    )


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


def _table(log: EventLog, events: pl.DataFrame) -> pl.DataFrame:
    """Every item of the log or of its items table, ascending."""
    shown = events.select(pl.col(ITEM).unique())
    if log.items is None:
        return shown.sort(ITEM)
    return log.items.collect().join(shown, on=ITEM, how="full", coalesce=True).sort(ITEM)
